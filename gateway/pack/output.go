package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"attune/runtimes/strictyaml"
)

// ErrBadOutput is what every error of ParseOutput wraps.
var ErrBadOutput = errors.New("bad output")

// MaxYAMLOutput is how much YAML is read.
const MaxYAMLOutput = 8 << 20

// ParseOutput reads what an action has printed, in the format that it has
// promised. The result is JSON: of text a string, of jsonl an array. What comes
// before it, so many bytes of chatter, is no part of it.
func ParseOutput(format Format, stdout []byte) (result json.RawMessage, chatter int, err error) {
	switch format {
	case FormatText:
		result, err = compact(string(bytes.ToValidUTF8(stdout, []byte("\ufffd"))))
		return result, 0, err
	case FormatJSONL:
		result, err = parseLines(stdout)
		return result, 0, err
	}
	if len(bytes.TrimSpace(stdout)) == 0 {
		return nil, 0, fmt.Errorf("%w: stdout is empty, where a %s document was promised", ErrBadOutput, format)
	}
	switch format {
	case FormatJSON:
		return parseJSON(stdout)
	case FormatYAML:
		result, err = parseYAML(stdout)
		return result, 0, err
	}
	return nil, 0, fmt.Errorf("%w: there is no output format %s", ErrBadOutput, quote(string(format)))
}

// Write writes a result in a structured output format: YAML, or jsonl of a list.
func Write(result json.RawMessage, format Format) ([]byte, error) {
	value, err := parseDocument(result)
	if err != nil {
		return nil, err
	}
	switch format {
	case FormatYAML:
		return writeYAML(value), nil
	case FormatJSONL:
		return writeLines(value)
	}
	return nil, fmt.Errorf("%w: %s", ErrUnencodable, format)
}

func writeLines(value any) ([]byte, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("%w: jsonl is a list", ErrUnencodable)
	}
	var lines []byte
	for _, item := range list {
		line, err := compact(item)
		if err != nil {
			return nil, err
		}
		lines = append(append(lines, line...), '\n')
	}
	return lines, nil
}

// parseJSON takes all of stdout or else its last line that isn't blank: a script
// whose libraries chat on stdout still has a result.
func parseJSON(stdout []byte) (result json.RawMessage, chatter int, err error) {
	document, err := oneDocument(stdout)
	if err == nil {
		return document, 0, nil
	}
	printed := bytes.TrimRight(stdout, " \t\r\n")
	if chatter := bytes.LastIndexByte(printed, '\n') + 1; chatter > 0 {
		if document, lastErr := oneDocument(printed[chatter:]); lastErr == nil {
			return document, chatter, nil
		}
	}
	return nil, 0, fmt.Errorf("%w: stdout isn't one JSON document, and neither is its last line: %w", ErrBadOutput, err)
}

// oneDocument checks a document, and leaves it in the script's own order of keys.
func oneDocument(data []byte) (json.RawMessage, error) {
	if _, err := parseDocument(data); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func parseLines(stdout []byte) (json.RawMessage, error) {
	array := json.RawMessage{'['}
	number := 0
	for line := range bytes.Lines(stdout) {
		number++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		document, err := oneDocument(line)
		if err != nil {
			return nil, fmt.Errorf("%w: line %d of stdout isn't a JSON document: %w", ErrBadOutput, number, err)
		}
		if len(array) > 1 {
			array = append(array, ',')
		}
		array = append(array, document...)
	}
	return append(array, ']'), nil
}

func parseYAML(stdout []byte) (json.RawMessage, error) {
	value, empty, err := strictyaml.Parse(stdout, MaxYAMLOutput)
	if err != nil {
		return nil, fmt.Errorf("%w: stdout can't be read as YAML: %w", ErrBadOutput, err)
	}
	if empty {
		return nil, fmt.Errorf("%w: stdout holds no YAML document", ErrBadOutput)
	}
	document, err := compact(value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadOutput, err)
	}
	if _, err := parseDocument(document); err != nil { // numbers that nothing should compute with
		return nil, fmt.Errorf("%w: %w", ErrBadOutput, err)
	}
	return document, nil
}
