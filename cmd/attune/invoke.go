package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"attune/gateway/pack"
)

// InvokeCmd calls an action.
type InvokeCmd struct {
	clientFlags
	Ref     string         `arg:"" help:"The action, pack.action."`
	Params  []string       `arg:"" optional:"" name:"param" help:"A parameter: key=text, or key:=JSON."`
	Data    string         `short:"d" help:"All parameters as one JSON object: itself, @FILE, or - for stdin." placeholder:"JSON"`
	Timeout time.Duration  `help:"The most the call may take (default: the action's own timeout)." placeholder:"DURATION"`
	Wait    *time.Duration `help:"How long to come back while the environment is being built (default: 15m); with --async, how long to wait for the result (default: not at all)." placeholder:"DURATION"`
	Stream  bool           `help:"Print stderr while the action runs, as is done on a terminal."`
	asyncFlags
}

// Run prints the result of the action to stdout, or the problem to stderr.
func (c *InvokeCmd) Run(ctx context.Context, p *program) error {
	path, body, err := c.request(p.Stdin)
	if err != nil {
		return exitError{exitUsage, err}
	}
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	if c.Async {
		return c.callAsync(ctx, gateway, path, body, p)
	}
	answer, err := c.call(ctx, gateway, path, body, p)
	if err != nil {
		return err
	}
	return c.print(answer, p)
}

// print prints the answer to a call that has ended.
func (c *InvokeCmd) print(answer reply, p *program) error {
	if answer.Status/100 != 2 {
		failure := readProblem(answer)
		if answer.logged {
			failure.Log = ""
		}
		failure.print(p.Stderr)
		return exitError{code: failure.exitCode()}
	}
	if p.StdoutTerminal && len(answer.Body) > 0 && !bytes.HasSuffix(answer.Body, []byte("\n")) {
		answer.Body = append(answer.Body, '\n')
	}
	if _, err := p.Stdout.Write(answer.Body); err != nil {
		return exitError{exitGateway, fmt.Errorf("write the result: %w", err)}
	}
	return nil
}

// request compiles the arguments into a path and a body.
func (c *InvokeCmd) request(stdin io.Reader) (path string, body []byte, err error) {
	if _, err := pack.ParseActionRef(c.Ref); err != nil {
		return "", nil, err
	}
	if c.Timeout < 0 {
		return "", nil, fmt.Errorf("--timeout %s is negative: give a duration like 30s", c.Timeout)
	}
	query := url.Values{}
	if c.Timeout > 0 {
		query.Set("timeout", c.Timeout.String())
	}
	if err := c.query(query); err != nil {
		return "", nil, err
	}
	path = "/invoke/" + c.Ref
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	if c.Data != "" {
		if len(c.Params) > 0 {
			return "", nil, errors.New("give parameters by --data or as key=value, not both")
		}
		body, err = readData(c.Data, stdin)
		return path, body, err
	}
	body, err = encodeParams(c.Params)
	return path, body, err
}

// readData returns the document that --data gives: itself, @FILE, or stdin.
func readData(data string, stdin io.Reader) ([]byte, error) {
	body := []byte(data)
	var err error
	if data == "-" {
		body, err = io.ReadAll(stdin)
	} else if file, ok := strings.CutPrefix(data, "@"); ok {
		body, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	if !json.Valid(body) {
		return nil, errors.New(`--data is not JSON: write {"key": "value"}, @FILE, or - for stdin`)
	}
	return body, nil
}

// encodeParams makes one JSON object of key=text and key:=JSON.
func encodeParams(params []string) ([]byte, error) {
	object := make(map[string]json.RawMessage, len(params))
	for _, param := range params {
		key, text, ok := strings.Cut(param, "=")
		key, isJSON := strings.CutSuffix(key, ":")
		if !ok || key == "" {
			return nil, fmt.Errorf("parameter %q is neither key=text nor key:=JSON", param)
		}
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("parameter %q is given twice: keep one", key)
		}
		value := json.RawMessage(text)
		if !isJSON {
			value, _ = json.Marshal(text) // a string can always be encoded
		} else if !json.Valid(value) {
			return nil, fmt.Errorf("parameter %q: %q is not JSON; for text write %s=…", key, text, key)
		}
		object[key] = value
	}
	return json.Marshal(object)
}

// buildWait is how long an environment is waited for where nobody says.
const buildWait = 15 * time.Minute

// call sends the request, and comes back as long as the gateway says that the
// environment is being built: nothing has run then. On a terminal it shows the
// build meanwhile, and what the action prints on stderr.
func (c *InvokeCmd) call(ctx context.Context, gateway *client, path string, body []byte, p *program) (reply, error) {
	once := gateway.do
	if p.StderrWidth != nil || c.Stream {
		display := newDisplay(p.Stderr, p.StderrWidth)
		defer display.Close()
		once = func(ctx context.Context, method, path string, body []byte) (reply, error) {
			return gateway.watched(ctx, method, path, body, display)
		}
	}
	giveUp := time.Now().Add(buildWait)
	if c.Wait != nil {
		giveUp = time.Now().Add(*c.Wait)
	}
	for {
		answer, err := once(ctx, http.MethodPost, path, body)
		if err != nil || answer.Status != http.StatusServiceUnavailable || readProblem(answer).slug() != "environment-building" {
			return answer, err
		}
		pause := retryAfter(answer.Header)
		if time.Now().Add(pause).After(giveUp) {
			return answer, nil
		}
		fmt.Fprintf(p.Stderr, "attune: the environment of %s is being built; asking again in %s\n", c.Ref, pause)
		select {
		case <-ctx.Done():
			return reply{}, exitError{exitGateway, errors.New("interrupted while the environment was being built")}
		case <-time.After(pause):
		}
	}
}

// retryAfter is the pause that an answer asks for, within reason.
func retryAfter(header http.Header) time.Duration {
	n, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || n < 1 {
		n = 1
	}
	return time.Duration(min(n, 60)) * time.Second
}
