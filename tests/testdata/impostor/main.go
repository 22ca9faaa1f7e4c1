// Command impostor stands in for the agent and breaks the protocol as the called
// action's name says. Called as "impostor uid" it tells its effective user.
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"attune/runtimes/agent/supervisor"
	"attune/runtimes/agent/wire"
)

func main() {
	log.SetFlags(0)
	switch {
	case len(os.Args) == 2 && os.Args[1] == "uid":
		fmt.Println(os.Geteuid())
		return
	case len(os.Args) == 2 && os.Args[1] == "build": // the gateway's self-test
		os.Exit(supervisor.Build(os.Environ(), os.Stdout, os.Stderr))
	}
	socket, err := net.Dial("unix", argument("--socket"))
	if err != nil {
		log.Fatal(err)
	}
	in := wire.NewReader(socket, wire.ToAgent)
	say(socket, wire.TypeHello, 0, string(wire.Encode(wire.Hello{Version: wire.Version, Isolated: true})))
	for {
		f, err := in.Next()
		if err != nil {
			log.Fatal(err)
		}
		if f.Type != wire.TypeStart {
			continue
		}
		start, err := wire.DecodeStart(f.Payload)
		if err != nil {
			log.Fatal(err)
		}
		answer(socket, f.Stream, action(start.Env))
	}
}

// answer does to an execution what its action is named after.
func answer(socket net.Conn, stream uint32, action string) {
	if action == "unread" {
		os.Exit(1)
	}
	if action == "early" {
		say(socket, wire.TypeStdout, stream, "x")
	}
	say(socket, wire.TypeStarted, stream, "")
	switch action {
	case "gone":
		os.Exit(1)
	case "unknown":
		say(socket, 99, stream, "x")
	case "huge": // a frame of 4 GiB, begun
		head := binary.BigEndian.AppendUint32(nil, 1<<32-1)
		head = binary.BigEndian.AppendUint32(append(head, byte(wire.TypeStdout)), stream)
		socket.Write(head)
	case "endless":
		for chunk := strings.Repeat("x", wire.MaxChunk); ; {
			say(socket, wire.TypeStderr, stream, chunk)
		}
	case "lying":
		say(socket, wire.TypeExit, stream, `{"code":-1,"reusable":true}`)
	case "foreign": // of an execution that does not run
		say(socket, wire.TypeExit, stream+1, `{"code":0,"reusable":true}`)
	case "fine":
		say(socket, wire.TypeExit, stream, `{"code":0,"reusable":true}`)
	}
	if action != "fine" {
		time.Sleep(time.Hour) // what comes next is the gateway's move
	}
}

func say(socket net.Conn, t wire.Type, stream uint32, payload string) {
	if err := wire.Write(socket, t, stream, []byte(payload)); err != nil {
		log.Fatal(err)
	}
}

func argument(name string) string {
	for i, a := range os.Args[:len(os.Args)-1] {
		if a == name {
			return os.Args[i+1]
		}
	}
	log.Fatalf("%s is missing", name)
	return ""
}

// action is the name of the action without its pack.
func action(env []string) string {
	for _, v := range env {
		if ref, ok := strings.CutPrefix(v, "ATTUNE_ACTION="); ok {
			_, name, _ := strings.Cut(ref, ".")
			return name
		}
	}
	return ""
}
