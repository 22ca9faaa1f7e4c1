package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	"attune/runtimes/agent"
)

const getSecretUsage = `usage: get_secret NAME
Prints a secret of this execution, without a line break; nothing where there is none of that name.
`

// maxSecrets bounds the document of all secrets, in bytes: no request is larger.
const maxSecrets = 16 << 20

// getSecret prints one secret. The descriptor with all of them is inherited
// from the action's program, and is read at a position of its own: any number
// of processes may ask, any number of times, and at once.
func getSecret(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprint(stderr, getSecretUsage)
		return 2
	}
	number := os.Getenv(agent.SecretsFD)
	if number == "" {
		return 0 // the action has no secrets
	}
	value, err := readSecret(number, args[0])
	if err == nil {
		_, err = io.WriteString(stdout, value)
	}
	if err != nil {
		fmt.Fprintf(stderr, "get_secret: %v\n", err)
		return 1
	}
	return 0
}

// readSecret finds a secret on the descriptor of a number; empty = there is
// none. The errors show nothing of what is there.
func readSecret(number, name string) (string, error) {
	fd, err := strconv.ParseUint(number, 10, 16)
	if err != nil || fd < 3 {
		return "", fmt.Errorf("%s is not the number of a descriptor", agent.SecretsFD)
	}
	file := os.NewFile(uintptr(fd), "secrets")
	var secrets map[string]string
	if err := json.NewDecoder(io.NewSectionReader(file, 0, maxSecrets)).Decode(&secrets); err != nil {
		return "", fmt.Errorf("descriptor %d no longer holds the secrets: it was closed, or used for something else", fd)
	}
	return secrets[name], nil
}
