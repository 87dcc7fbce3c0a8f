// Command tool is what the conformance tests run in containers that have little else: a server, a client and a glutton.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

const timeout = 3 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("tool echo PORT | tool dial ADDRESS | tool send ADDRESS BYTES | tool udp ADDRESS | tool eat BYTES")
	}
	switch args[0] {
	case "echo":
		return echo(args[1])
	case "dial":
		return dial(args[1])
	case "send":
		return send(args[1], args[2])
	case "eat":
		return eat(args[1])
	default:
		return fmt.Errorf("what is %s", args[0])
	}
}

// echo answers with what it is sent, on all addresses, for ever.
func echo(port string) error {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp4", net.JoinHostPort("", port))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}()
	}
}

// dial succeeds when a word comes back from an echo.
func dial(address string) error {
	conn, err := net.DialTimeout("tcp4", address, timeout)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	const word = "ping"
	if _, err := io.WriteString(conn, word); err != nil {
		return err
	}
	answer := make([]byte, len(word))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != word {
		return fmt.Errorf("%q came back: %w", answer, err)
	}
	return nil
}

// send sends bytes to an echo, reads them back, and says how many milliseconds that took.
func send(address, bytes string) error {
	n, err := strconv.Atoi(bytes)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp4", address, timeout)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, n))
		sent <- err
	}()
	if _, err := io.CopyN(io.Discard, conn, int64(n)); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	fmt.Println(time.Since(start).Milliseconds())
	return nil
}

// eat uses memory, and keeps it.
func eat(bytes string) error {
	n, err := strconv.Atoi(bytes)
	if err != nil {
		return err
	}
	food := make([]byte, n)
	for i := 0; i < n; i += os.Getpagesize() {
		food[i] = 1
	}
	fmt.Println("full")
	time.Sleep(time.Hour)
	return fmt.Errorf("still %d", food[0])
}
