package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"attune/gateway/pack"
	"attune/gateway/secret"
)

// SecretCmd stores the secrets of packs. No command shows one.
type SecretCmd struct {
	Set    SecretSetCmd    `cmd:"" help:"Store a secret, read from stdin or asked for."`
	List   SecretListCmd   `cmd:"" help:"List the names of a pack's secrets."`
	Rm     SecretRmCmd     `cmd:"" help:"Delete a secret."`
	Keygen SecretKeygenCmd `cmd:"" help:"Make a key for secrets."`
}

// secretName is a pack and a name, as arguments.
type secretName struct {
	Pack string `arg:"" help:"Ref of the pack."`
	Name string `arg:"" help:"Name of the secret, which is that of the parameter."`
}

// path is the secret's resource.
func (n secretName) path() (string, error) {
	if !pack.ValidSecretName(n.Name) {
		return "", exitError{exitUsage, errors.New("a secret's name is a letter or _, and up to 63 letters, digits and _ . -")}
	}
	return secretsPath(n.Pack) + "/" + n.Name, nil
}

func secretsPath(ref string) string { return "/api/v1/packs/" + url.PathEscape(ref) + "/secrets" }

// SecretSetCmd stores a secret.
type SecretSetCmd struct {
	clientFlags
	secretName
}

// Help tells where the value comes from.
func (c *SecretSetCmd) Help() string {
	return `The value is what stdin holds, without one line break at its end; on a
terminal it is asked for and not shown. It is never an argument, which everybody
on the machine could read:

  attune secret set shop api_token < token.txt`
}

// Run sends the value to the gateway.
func (c *SecretSetCmd) Run(ctx context.Context, p *program) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	value, err := p.readSecret(c.Name)
	if err != nil {
		return exitError{exitUsage, err}
	}
	if err := gateway.call(ctx, "PUT", path, map[string]string{"value": value}, nil); err != nil {
		return err
	}
	fmt.Fprintf(p.Stdout, "%s is stored for %s\n", c.Name, c.Pack)
	return nil
}

// readSecret reads a value. Its errors show nothing of it.
func (p *program) readSecret(name string) (string, error) {
	var value []byte
	var err error
	if p.Password != nil {
		fmt.Fprintf(p.Stderr, "Value of %s (not shown): ", name)
		value, err = p.Password()
		fmt.Fprintln(p.Stderr)
	} else {
		value, err = io.ReadAll(io.LimitReader(p.Stdin, secret.MaxValue+3))
	}
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(value), "\n"), "\r")
	switch {
	case text == "":
		return "", errors.New("the value is empty: give it on stdin")
	case len(text) > secret.MaxValue:
		return "", fmt.Errorf("the value has more than %d bytes", secret.MaxValue)
	}
	return text, nil
}

// SecretListCmd lists names.
type SecretListCmd struct {
	clientFlags
	outputFlag
	Pack string `arg:"" help:"Ref of the pack."`
}

// Run prints what there is, without values.
func (c *SecretListCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := gateway.call(ctx, "GET", secretsPath(c.Pack), nil, &raw); err != nil {
		return err
	}
	var list struct{ Items []secret.Entry }
	if err := json.Unmarshal(raw, &list); err != nil {
		return exitError{exitGateway, fmt.Errorf("the gateway's list of secrets: %w", err)}
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, raw)
	}
	t := table{header: []string{"NAME", "SET", "KEY", "STATE"}, colours: map[string]colour{"unreadable": red}}
	for _, entry := range list.Items {
		state := map[bool]string{true: "readable", false: "unreadable"}[entry.Readable]
		t.rows = append(t.rows, []string{plain(entry.Name), entry.UpdatedAt.Format(time.RFC3339), plain(entry.Key), state})
	}
	t.write(p.Stdout, p.colours())
	return nil
}

// SecretRmCmd deletes a secret.
type SecretRmCmd struct {
	clientFlags
	secretName
}

// Run deletes it.
func (c *SecretRmCmd) Run(ctx context.Context, p *program) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	return c.ask(ctx, p, "DELETE", path, nil, nil)
}

// SecretKeygenCmd makes a key.
type SecretKeygenCmd struct {
	File string `arg:"" optional:"" help:"File to make, or to put the new key into, before those that are there. Without it the key is printed."`
}

// Help tells how keys are exchanged.
func (c *SecretKeygenCmd) Help() string {
	return `Name the file in secrets.key_file. To exchange a key: run this on the file
again and restart the gateway, which then seals every secret with the new key, and
says so in its log; then take the old line away. Of several gateways each must know
the new key, as a second line, before it becomes the first of any.`
}

// Run prints a key, or writes the file anew, so that no reader sees half of it.
func (c *SecretKeygenCmd) Run(p *program) error {
	key := secret.NewKey() + "\n"
	if c.File == "" {
		_, err := io.WriteString(p.Stdout, key)
		return err
	}
	before, err := os.ReadFile(c.File)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(before) > 0 {
		if _, err := secret.ReadKeys(c.File); err != nil { // not a file of keys, or everybody's
			return err
		}
	}
	file, err := os.CreateTemp(filepath.Dir(c.File), "."+filepath.Base(c.File)+"-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone already, unless something failed
	_, err = file.Write(append([]byte(key), before...))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), c.File); err != nil {
		return err
	}
	fmt.Fprintf(p.Stdout, "%s holds %s\n", c.File, map[bool]string{true: "a key", false: "a new key, before the others"}[len(before) == 0])
	return nil
}
