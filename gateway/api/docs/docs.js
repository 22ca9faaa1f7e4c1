// The page at /docs: what /openapi.json lists, each with a form that calls it.
// The key stays in this page's memory, and is gone with it.
import { make, resolve, sample, show } from '/docs/schema.js';

const $ = (id) => document.getElementById(id);
const methods = ['get', 'post', 'put', 'delete', 'patch'];
let api = null;
let operations = [];
let running = null; // the AbortController of the call under way

function credentials() {
  const key = $('key').value.trim();
  return key ? { Authorization: 'Bearer ' + key } : {};
}

async function load() {
  const answer = await fetch('/openapi.json', { headers: credentials() });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.title ?? answer.status}: ${body.detail ?? ''}`);
  api = body;
  operations = [];
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of methods) {
      if (item[method]) operations.push({ path, method: method.toUpperCase(), ...item[method] });
    }
  }
  $('version').textContent = api.info.version;
  $('told').textContent = `${operations.filter((one) => one['x-action']).length} actions`;
  list();
  open();
}

function reload() {
  load().catch((error) => { $('told').textContent = error.message; });
}

// What is called most stands first.
function groups() {
  const names = api.tags.map((tag) => tag.name);
  return [...names.filter((name) => name.startsWith('pack ')), ...names.filter((name) => !name.startsWith('pack '))];
}

function list() {
  const words = $('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (one) => words.every((word) => `${one.method} ${one.path} ${one.summary} ${one.tags}`.toLowerCase().includes(word));
  $('list').replaceChildren(...groups().flatMap((group) => {
    const found = operations.filter((one) => one.tags.includes(group) && fits(one));
    if (!found.length) return [];
    return [make('h2', { textContent: group }), ...found.map((one) => make('a', { href: '#' + one.operationId, title: one.summary },
      make('span', { className: 'method ' + one.method, textContent: one.method }), ' ', one['x-action']?.ref ?? one.path))];
  }));
  mark();
}

function mark() {
  for (const link of $('list').querySelectorAll('a')) {
    if (link.hash === location.hash) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function open() {
  running?.abort();
  const id = decodeURIComponent(location.hash.slice(1));
  const one = operations.find((each) => each.operationId === id) ?? operations.find((each) => each['x-action']) ?? operations[0];
  if (one) $('main').replaceChildren(...page(one));
  mark();
}

function page(one) {
  const body = one.requestBody?.content['application/json'];
  const parts = [
    make('h2', {}, make('span', { className: 'method ' + one.method, textContent: one.method }), ' ', make('code', { textContent: one.path })),
    make('p', {}, make('strong', { textContent: one.summary })),
  ];
  if (one.description && one.description !== one.summary) parts.push(make('p', { textContent: one.description }));
  const about = one['x-action'];
  if (about) parts.push(make('p', { className: 'kind', textContent: `at most ${about.timeout_seconds} s, output ${about.output_format}` }));
  if (body) parts.push(make('h3', { textContent: 'Body' }), show(api, body.schema));
  parts.push(...form(one, body), make('h3', { textContent: 'Answers' }), answers(one));
  return parts;
}

function answers(one) {
  const table = make('table');
  for (const [status, given] of Object.entries(one.responses)) {
    const response = resolve(api, given);
    const media = Object.keys(response.content ?? {});
    const schema = response.content?.['application/json']?.schema;
    table.append(make('tr', {}, make('th', { scope: 'row', textContent: status }), make('td', {},
      make('div', { textContent: response.description.replaceAll('\n', ' ') }),
      make('div', { className: 'kind', textContent: media.join(', ') }),
      schema ? show(api, schema, 3) : null)));
  }
  return table;
}

function field(parameter) {
  const schema = resolve(api, parameter.schema);
  const input = schema.enum
    ? make('select', {}, make('option', { value: '', textContent: '' }), ...schema.enum.map((value) => make('option', { value, textContent: value })))
    : make('input', { value: parameter.required ? String(parameter.example ?? '') : '', placeholder: String(parameter.example ?? ''), spellcheck: false });
  const row = make('tr', {},
    make('td', {}, make('code', { textContent: parameter.name }), parameter.required ? ' *' : ''),
    make('td', {}, input), make('td', { className: 'kind', textContent: `${parameter.in}. ${parameter.description}` }));
  input.setAttribute('aria-label', parameter.name);
  return { parameter, input, row };
}

function form(one, body) {
  const fields = (one.parameters ?? []).map(field);
  const text = body ? make('textarea', { spellcheck: false, id: 'body' }) : null;
  text?.setAttribute('aria-label', 'Body');
  const set = (value) => { text.value = JSON.stringify(value, null, 2); };
  const picks = make('div', { className: 'row' });
  if (body) {
    const examples = Object.values(body.examples ?? {});
    set(examples[0]?.value ?? sample(api, body.schema));
    for (const [i, example] of examples.entries()) {
      picks.append(make('button', { className: 'plain', textContent: example.summary ?? `example ${i + 1}`, onclick: () => set(example.value) }));
    }
  }
  const usual = (name) => (name === one['x-action']?.media_type ? 0 : /event-stream|ndjson/.test(name) ? 2 : 1);
  const media = [...new Set(Object.values(one.responses).flatMap((given) => Object.keys(resolve(api, given).content ?? {})))]
    .filter((name) => !name.includes('problem')).sort((a, b) => usual(a) - usual(b));
  const accept = make('select', { id: 'accept' }, ...(media.length ? media : ['*/*']).map((name) => make('option', { textContent: name })));
  accept.setAttribute('aria-label', 'Accept');
  const send = make('button', { id: 'send', textContent: 'Send' });
  const stop = make('button', { className: 'plain', textContent: 'Stop', disabled: true });
  const status = make('div', { id: 'status' });
  const output = make('pre', { id: 'output', hidden: true });
  const command = make('pre');
  const request = () => prepare(one, fields, text, accept.value);
  const preview = () => { command.textContent = curl(request()); };
  for (const input of [...fields.map((each) => each.input), text, accept].filter(Boolean)) input.addEventListener('input', preview);
  picks.addEventListener('click', preview);
  preview();
  stop.onclick = () => running?.abort();
  send.onclick = () => call(request(), { send, stop, status, output });
  return [
    make('h3', { textContent: 'Try it' }),
    fields.length ? make('table', {}, ...fields.map((each) => each.row)) : null,
    text, picks.children.length > 1 ? picks : null,
    make('div', { className: 'row' }, send, stop, make('label', {}, 'Accept ', accept)),
    status, output, make('details', {}, make('summary', { textContent: 'curl' }), command),
  ].filter(Boolean);
}

function prepare(one, fields, text, accept) {
  let path = one.path;
  const query = new URLSearchParams();
  const headers = { Accept: accept };
  for (const { parameter, input } of fields) {
    if (parameter.in === 'path') path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value && parameter.in === 'query') query.set(parameter.name, input.value);
    else if (input.value) headers[parameter.name] = input.value;
  }
  if (text) headers['Content-Type'] = 'application/json';
  return { method: one.method, url: path + (query.size ? '?' + query : ''), headers, body: text?.value };
}

function curl({ method, url, headers, body }) {
  const quote = (value) => "'" + value.replaceAll("'", "'\\''") + "'";
  const parts = ['curl', '-X', method];
  for (const [name, value] of Object.entries(headers)) parts.push('-H', quote(`${name}: ${value}`));
  if ($('key').value.trim()) parts.push('-H', '"Authorization: Bearer $ATTUNE_KEY"');
  if (body !== undefined) parts.push('-d', quote(body));
  return [...parts, quote(location.origin + url)].join(' ');
}

async function call({ method, url, headers, body }, { send, stop, status, output }) {
  running?.abort();
  const mine = running = new AbortController();
  send.disabled = true;
  stop.disabled = false;
  status.textContent = '…';
  output.hidden = true;
  output.textContent = '';
  const started = performance.now();
  try {
    const answer = await fetch(url, { method, headers: { ...headers, ...credentials() }, body, signal: mine.signal });
    status.className = answer.ok ? 'good' : 'bad';
    const id = answer.headers.get('Attune-Execution-Id');
    status.textContent = [answer.status, answer.headers.get('Content-Type'), id && `execution ${id}`].filter(Boolean).join(' · ');
    output.hidden = false;
    await print(answer, output);
    status.textContent += ` · ${Math.round(performance.now() - started)} ms`;
  } catch (error) {
    status.className = 'bad';
    status.textContent = mine.signal.aborted ? 'stopped' : String(error.message ?? error);
  }
  send.disabled = false;
  stop.disabled = true;
}

// Prints an answer while it comes; JSON that is whole is indented.
async function print(answer, output) {
  const decoder = new TextDecoder();
  const whole = /json/.test(answer.headers.get('Content-Type') ?? '') && !/ndjson/.test(answer.headers.get('Content-Type'));
  if (!answer.body) return;
  let text = '';
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
    if (text.length < 1 << 20) output.textContent = text;
  }
  if (!whole) return;
  try {
    output.textContent = JSON.stringify(JSON.parse(text), null, 2);
  } catch { /* it stays as it came */ }
}

$('key').addEventListener('change', reload);
$('filter').addEventListener('input', () => api && list());
addEventListener('hashchange', () => { open(); $('main').focus(); scrollTo(0, 0); });
reload();
