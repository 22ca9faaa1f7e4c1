package mcp

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Errors of ReadMessage, whose texts are for the sender.
var (
	ErrNotMessage = errors.New("the body is not one JSON-RPC message")
	ErrBatch      = errors.New("messages are sent one by one: the protocol has no batches since 2025-06-18")
	// ErrListen refuses a stream of changes, which the gateway says that it does
	// not have: it would stay open without ever saying anything.
	ErrListen = errors.New("the gateway announces no changes: list the tools again")
	ErrAnswer = errors.New("the gateway asks its clients nothing, so that there is nothing to answer")
	ErrParams = errors.New("the params of a message are an object")
)

// Errors of the protocol that are ours.
var (
	errInternal = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the gateway has a fault; its log has the cause"}
	errNoTool   = &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "there is no such tool"}
)

// Message is what has to be known of a message before it is answered.
type Message struct {
	Method   string
	Progress bool // it asks to be told of progress, which takes events
}

// ReadMessage looks at a message. That it is a valid one is for Serve to say.
func ReadMessage(body []byte) (Message, error) {
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
		return Message{}, ErrBatch
	}
	var envelope struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return Message{}, ErrNotMessage
	}
	message := Message{Method: envelope.Method}
	params := bytes.TrimLeft(envelope.Params, " \t\r\n")
	switch {
	case message.Method == "":
		return message, ErrAnswer
	case message.Method == "subscriptions/listen":
		return message, ErrListen
	case len(params) > 0 && params[0] != '{':
		return message, ErrParams
	case message.Method == "tools/call":
		var call struct {
			Name string `json:"name"`
			Meta struct {
				ProgressToken json.RawMessage `json:"progressToken"`
			} `json:"_meta"`
		}
		// What does not fit here is refused as what it is later, in JSON.
		if json.Unmarshal(params, &call) == nil {
			token := call.Meta.ProgressToken
			message.Progress = len(token) > 0 && string(token) != "null"
		}
	}
	return message, nil
}

// refusals are what is said of messages that the SDK refuses: its own texts
// quote them.
var refusals = map[int64]string{
	jsonrpc.CodeParseError:             "the message is not valid JSON-RPC",
	jsonrpc.CodeInvalidRequest:         "the message is not a valid request",
	jsonrpc.CodeMethodNotFound:         "there is no such method, or not in this version of the protocol",
	jsonrpc.CodeInvalidParams:          "the params are not those of the method",
	sdk.CodeHeaderMismatch:             "a header of the protocol is missing, or does not say what the message says",
	sdk.CodeUnsupportedProtocolVersion: "the gateway does not speak this version of the protocol",
}

// Quiet is an answer without the SDK's text about a message that it refuses.
func Quiet(answer []byte) []byte {
	var refused struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id,omitempty"`
		Error   *struct {
			Code    int64           `json:"code"`
			Message string          `json:"message"`
			Data    json.RawMessage `json:"data,omitempty"`
		} `json:"error"`
	}
	if !bytes.Contains(answer, []byte(`"error"`)) || json.Unmarshal(answer, &refused) != nil || refused.Error == nil {
		return answer
	}
	text, known := refusals[refused.Error.Code]
	switch {
	case refused.Error.Message == errNoTool.Message || refused.Error.Message == errInternal.Message:
		return answer
	case !known:
		text = errInternal.Message
	}
	refused.Error.Message = text
	encoded, err := json.Marshal(refused)
	if err != nil { // what was decoded can be encoded
		return answer
	}
	return encoded
}
