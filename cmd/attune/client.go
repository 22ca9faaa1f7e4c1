package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// clientFlags are the flags of the commands that talk to a running gateway.
type clientFlags struct {
	configFlag
	URL     string `help:"Address of the gateway (default: server.host and server.port of the configuration)." placeholder:"URL"`
	KeyFile string `help:"File that holds the API key (default: the variable ATTUNE_KEY)." placeholder:"FILE"`
}

// client calls a gateway.
type client struct {
	base    string // without a slash at the end
	key     string // API key; empty = none
	http    *http.Client
	prefer  string        // preferences of RFC 7240; empty = none
	silence time.Duration // after which a stream of events is taken for dead
}

// client makes a client of the gateway that the flags or the configuration name.
func (f clientFlags) client(p *program) (*client, error) {
	base := f.URL
	if base == "" {
		config, err := f.load(p)
		if err != nil {
			return nil, err
		}
		base = config.URL()
	}
	parsed, err := url.Parse(base)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return nil, exitError{exitUsage, fmt.Errorf("--url %q is no address of a gateway: write http://host:port", f.URL)}
	}
	key, err := f.key(p)
	if err != nil {
		return nil, exitError{exitUsage, err}
	}
	return &client{key: key, base: strings.TrimRight(base, "/"), http: &http.Client{}, silence: maxSilence}, nil
}

// ask makes one call of that gateway; see client.call.
func (f clientFlags) ask(ctx context.Context, p *program, method, path string, body, v any) error {
	gateway, err := f.client(p)
	if err != nil {
		return err
	}
	return gateway.call(ctx, method, path, body, v)
}

// KeyVariable names the variable that holds the API key of commands.
const KeyVariable = "ATTUNE_KEY"

// key is the API key to send; empty = none. Its errors show nothing of it.
func (f clientFlags) key(p *program) (string, error) {
	text, from := "", "--key-file"
	if f.KeyFile == "" {
		text, _ = lookup(p.Environ, KeyVariable)
		from = KeyVariable
	} else {
		info, err := os.Stat(f.KeyFile)
		if err != nil {
			return "", fmt.Errorf("--key-file: %w", err)
		}
		if info.Mode().Perm()&0o007 != 0 {
			return "", fmt.Errorf("--key-file: everybody may read %s: chmod o= it", f.KeyFile)
		}
		content, err := os.ReadFile(f.KeyFile)
		if err != nil {
			return "", fmt.Errorf("--key-file: %w", err)
		}
		if text = strings.TrimSpace(string(content)); text == "" {
			return "", fmt.Errorf("--key-file: %s is empty", f.KeyFile)
		}
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s does not hold an API key, which is attune_… on one line", from)
	}
	return text, nil
}

// URL is where clients on this machine find the gateway.
func (c Config) URL() string {
	host := c.Server.Host
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.To4() == nil {
			host = "::1"
		}
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(c.Server.Port))
}

// isLoopback tells whether only this machine can reach an address.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// reply is an answer of the gateway, read to its end.
type reply struct {
	Status int
	Header http.Header
	Body   []byte
	logged bool // what the action printed on stderr was shown already
}

// maxReply bounds what is read of an answer: far above every limit of a gateway.
const maxReply = 2 << 30

// do sends a request and reads the answer. An error means that no gateway
// answered.
func (c *client) do(ctx context.Context, method, path string, body []byte) (reply, error) {
	response, err := c.send(ctx, method, path, "", body)
	if err != nil {
		return reply{}, err
	}
	return c.read(response)
}

// send sends a request; accept may be empty. The caller closes the body.
func (c *client) send(ctx context.Context, method, path, accept string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, exitError{exitUsage, err}
	}
	req.Header.Set("User-Agent", "attune/"+version)
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	if c.prefer != "" {
		req.Header.Set("Prefer", c.prefer)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return response, nil
}

// read reads an answer to its end and closes it.
func (c *client) read(response *http.Response) (reply, error) {
	defer response.Body.Close() // nothing is lost: the body was read or the call has failed
	data, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return reply{}, exitError{exitGateway, fmt.Errorf("the answer of %s broke off: %w", c.base, err)}
	}
	return reply{Status: response.StatusCode, Header: response.Header, Body: data}, nil
}

// unreachable explains why there was no answer.
func (c *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return exitError{exitGateway, fmt.Errorf("gave up on %s: %w", c.base, context.Cause(ctx))}
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	return exitError{exitGateway, fmt.Errorf("no gateway answers at %s (%w): start one with attune serve, or name another with --url", c.base, err)}
}

// get reads a JSON document of the gateway's API; problems are errors.
func (c *client) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	answer, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if answer.Status != http.StatusOK {
		return exitError{exitGateway, errors.New(readProblem(answer).summary())}
	}
	if err := json.Unmarshal(answer.Body, v); err != nil {
		return exitError{exitGateway, fmt.Errorf("%s%s is not the API of a gateway: %w", c.base, path, err)}
	}
	return nil
}

// refused is a call of the gateway's API that it has answered with a problem.
type refused struct{ problem problem }

// Error implements error.
func (r refused) Error() string { return r.problem.summary() }

// call asks the gateway to do something and reads what it says; body and v may
// be nil. A problem comes back as refused. How long it may take is the
// gateway's business: looking at a large environment takes a while.
func (c *client) call(ctx context.Context, method, path string, body, v any) error {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return err
		}
	}
	answer, err := c.do(ctx, method, path, encoded)
	if err != nil {
		return err
	}
	if answer.Status/100 != 2 {
		return refused{readProblem(answer)}
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Body, v); err != nil {
		return exitError{exitGateway, fmt.Errorf("%s%s is not the API of a gateway: %w", c.base, path, err)}
	}
	return nil
}
