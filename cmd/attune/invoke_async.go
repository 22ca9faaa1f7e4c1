package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"attune/gateway/execution"
)

// asyncFlags are those of a call that is not waited for, or not to the end.
type asyncFlags struct {
	Async    bool          `help:"Leave the call to the gateway, and print the execution's ID; with --wait the result, if it comes in time."`
	Delay    time.Duration `help:"With --async: start after so long." placeholder:"DURATION"`
	Priority string        `enum:",high,normal,low" default:"" help:"With --async: high, normal or low."`
}

// query adds what is for asynchronous calls.
func (f asyncFlags) query(query url.Values) error {
	if !f.Async && (f.Delay != 0 || f.Priority != "") {
		return errors.New("--delay and --priority are for calls with --async")
	}
	if f.Delay < 0 {
		return fmt.Errorf("--delay %s is negative: give a duration like 30s", f.Delay)
	}
	if f.Delay > 0 {
		query.Set("delay", f.Delay.String())
	}
	if f.Priority != "" {
		query.Set("priority", f.Priority)
	}
	return nil
}

// prefer is the preference that says so; the wait counts in whole seconds.
func (f asyncFlags) prefer(wait *time.Duration) string {
	if wait == nil || *wait <= 0 {
		return "respond-async"
	}
	return "respond-async, wait=" + strconv.Itoa(int(math.Ceil(wait.Seconds())))
}

// callAsync leaves the call to the gateway.
func (c *InvokeCmd) callAsync(ctx context.Context, gateway *client, path string, body []byte, p *program) error {
	gateway.prefer = c.prefer(c.Wait)
	answer, err := gateway.do(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	if answer.Status != http.StatusAccepted {
		return c.print(answer, p)
	}
	var x execution.Execution
	if err := json.Unmarshal(answer.Body, &x); err != nil {
		return exitError{exitGateway, fmt.Errorf("%s is not the API of a gateway: %w", gateway.base, err)}
	}
	_, err = fmt.Fprintln(p.Stdout, plain(x.ID))
	return err
}
