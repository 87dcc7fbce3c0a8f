package initproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// forward passes TCP connections on, for as long as the init lives. Asked a second time for the same it does nothing.
func (s *server) forward(spec ForwardSpec) error {
	if s.contained {
		return errors.New("the container has a network of its own")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forwards[spec.Listen] != nil {
		return nil
	}
	listener, err := net.Listen("tcp", spec.Listen)
	if err != nil {
		return fmt.Errorf("forward %s: %w", spec.Listen, err)
	}
	s.forwards[spec.Listen] = listener
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go pass(in, spec.Target)
		}
	}()
	return nil
}

func pass(in net.Conn, target string) {
	defer func() { _ = in.Close() }()
	var dialer net.Dialer
	out, err := dialer.DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	var both sync.WaitGroup
	both.Go(func() { copyHalf(out, in) })
	both.Go(func() { copyHalf(in, out) })
	both.Wait()
}

func copyHalf(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(*net.TCPConn)
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
	}
}
