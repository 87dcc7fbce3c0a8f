package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Restart starts a devserver again that was killed, on the same data and the same ports: the test's own nodes know these.
func (s *Stack) Restart(ctx context.Context) error {
	devserver, err := Bin("devserver")
	if err != nil {
		return err
	}
	s.ended = make(chan struct{})
	s.portBase = s.firstPort
	return s.start(ctx, devserver, len(s.Nodes))
}

// keepPorts takes the lock of the row of ports, which the devserver that was killed had: another one that looks for
// free ports while this one is away must not find these.
func (s *Stack) keepPorts(ctx context.Context) error {
	block := s.firstPort / ownBlock * ownBlock
	path := filepath.Join("/tmp", "dea-"+strconv.Itoa(os.Getuid()), strconv.Itoa(block))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("keep the ports: %w", err)
	}
	err = until(ctx, func() error { return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) })
	if err != nil {
		return errors.Join(fmt.Errorf("keep the ports: %w", err), file.Close())
	}
	s.ports = file
	return nil
}

// KillKeepingPorts is Kill for a devserver that Restart starts again.
func (s *Stack) KillKeepingPorts(ctx context.Context) error {
	return errors.Join(s.Kill(), s.keepPorts(ctx))
}
