package strictyaml

import "encoding/json"

// Any is a node as encoding/json would have decoded it, numbers as json.Number.
func (n *Node) Any() (any, *Fault) {
	switch n.Kind {
	case Bool:
		return n.Text == "true", nil
	case Number:
		if n.JSON == "" {
			return nil, &Fault{Line: n.Line, Text: "infinity and NaN can't be written in JSON"}
		}
		return json.Number(n.JSON), nil
	case String:
		return n.Text, nil
	case Sequence:
		return n.items()
	case Mapping:
		return n.entries()
	}
	return nil, nil
}

func (n *Node) items() (any, *Fault) {
	list := make([]any, len(n.Items))
	for i, item := range n.Items {
		value, fault := item.Any()
		if fault != nil {
			return nil, fault
		}
		list[i] = value
	}
	return list, nil
}

func (n *Node) entries() (any, *Fault) {
	table := make(map[string]any, len(n.Entries))
	for _, entry := range n.Entries {
		value, fault := entry.Value.Any()
		if fault != nil {
			return nil, fault
		}
		table[entry.Key] = value
	}
	return table, nil
}

// Parse reads a document of any shape, of up to limit bytes, as encoding/json
// would have decoded it: what a program has printed, for example.
func Parse(data []byte, limit int) (value any, empty bool, err error) {
	node, fault := Tree(data, limit)
	if fault != nil {
		return nil, false, fault
	}
	if node == nil {
		return nil, true, nil
	}
	if value, fault = node.Any(); fault != nil {
		return nil, false, fault
	}
	return value, false, nil
}
