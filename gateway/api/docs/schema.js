// How a schema is shown, and what a first body for it looks like.

/** Makes an element; what is text stays text, whatever is in it. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Follows a reference within the document; anything else is itself. */
export function resolve(api, schema) {
  for (let steps = 0; steps < 20 && schema && typeof schema.$ref === 'string' && schema.$ref.startsWith('#/'); steps++) {
    const path = schema.$ref.slice(2).split('/');
    schema = path.reduce((at, step) => at?.[decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')], api);
  }
  return schema ?? {};
}

const limits = ['format', 'pattern', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'minLength', 'maxLength',
  'minItems', 'maxItems', 'multipleOf'];

function kind(schema) {
  let text = [schema.type ?? (schema.anyOf || schema.oneOf ? 'one of several' : 'any')].flat().join(' or ');
  if (schema.enum) text += ': ' + schema.enum.map((value) => JSON.stringify(value)).join(', ');
  if (schema.const !== undefined) text += ': ' + JSON.stringify(schema.const);
  for (const limit of limits) if (schema[limit] !== undefined) text += `, ${limit} ${schema[limit]}`;
  if (schema.default !== undefined) text += `, default ${JSON.stringify(schema.default)}`;
  if (schema.writeOnly) text += ', never shown again';
  return text;
}

/** Shows a schema as a list of its properties. */
export function show(api, schema, depth = 0) {
  schema = resolve(api, schema);
  if (depth > 6) return make('span', { className: 'kind', textContent: '…' });
  const list = make('ul', { className: 'schema' });
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    const property = resolve(api, inner);
    const must = (schema.required ?? []).includes(name);
    const item = make('li', {},
      make('code', { textContent: name }), must ? ' * ' : ' ',
      make('span', { className: 'kind', textContent: kind(property) }));
    if (property.description) item.append(make('div', { textContent: property.description }));
    const below = property.items ? resolve(api, property.items) : property;
    if (below.properties) item.append(show(api, below, depth + 1));
    list.append(item);
  }
  for (const choice of [...(schema.anyOf ?? []), ...(schema.oneOf ?? []), ...(schema.allOf ?? [])]) {
    const below = resolve(api, choice);
    list.append(make('li', {}, make('span', { className: 'kind', textContent: kind(below) }), below.properties ? show(api, below, depth + 1) : null));
  }
  if (schema.items && !schema.properties) {
    list.append(make('li', {}, make('span', { className: 'kind', textContent: 'each item: ' + kind(resolve(api, schema.items)) }), show(api, schema.items, depth + 1)));
  }
  if (!list.children.length) return make('p', { className: 'kind', textContent: kind(schema) });
  return list;
}

/** Makes a first value that has what is required. */
export function sample(api, schema, depth = 0) {
  schema = resolve(api, schema);
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.enum?.length) return schema.enum[0];
  if (depth > 6) return null;
  switch ([schema.type].flat()[0]) {
    case 'object': {
      const value = {};
      for (const name of schema.required ?? []) value[name] = sample(api, schema.properties?.[name], depth + 1);
      return value;
    }
    case 'array': return [];
    case 'integer':
    case 'number': return schema.minimum ?? 0;
    case 'boolean': return false;
    case 'string': return '';
  }
  return schema.properties ? sample(api, { ...schema, type: 'object' }, depth) : null;
}
