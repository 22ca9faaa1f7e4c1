package mcp

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// Errors of ReadMessage, whose texts are for the sender.
var (
	ErrNotMessage = errors.New("the body is not one JSON-RPC message")
	ErrBatch      = errors.New("messages are sent one by one: the protocol has no batches since 2025-06-18")
	// ErrListen refuses a stream of changes, which the gateway says that it does
	// not have: it would stay open without ever saying anything.
	ErrListen = errors.New("the gateway announces no changes: list the tools again")
)

var errInternal = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the gateway has a fault; its log has the cause"}

// Message is what has to be known of a message before it is answered.
type Message struct {
	Method   string // empty = it is an answer
	Progress bool   // it asks to be told of progress, which takes events
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
	switch envelope.Method {
	case "subscriptions/listen":
		return message, ErrListen
	case "tools/call":
		var params struct {
			Meta struct {
				ProgressToken json.RawMessage `json:"progressToken"`
			} `json:"_meta"`
		}
		// What does not fit here is refused as what it is later.
		if json.Unmarshal(envelope.Params, &params) == nil {
			token := params.Meta.ProgressToken
			message.Progress = len(token) > 0 && string(token) != "null"
		}
	}
	return message, nil
}
