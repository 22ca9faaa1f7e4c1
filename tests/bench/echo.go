package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// echoArg makes this program the plain server.
const echoArg = "echo"

// echo serves what any gateway is compared with: Fiber, which answers with the
// body that it got. It says where it listens, and ends with its stdin.
func echo() error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Post("/echo", func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(c.Body())
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		bufio.NewReader(os.Stdin).ReadByte() // its end is the signal
		os.Exit(0)
	}()
	fmt.Printf("http://%s/echo\n", l.Addr())
	return app.Listener(l)
}

// startEcho runs the plain server as a program of its own, as the gateway is.
func startEcho() (url string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, echoArg)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	url, err = bufio.NewReader(out).ReadString('\n')
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	if err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return strings.TrimSpace(url), stop, nil
}
