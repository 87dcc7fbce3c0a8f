package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// nothing is a command that does nothing.
const nothing = "true"

// execTimes is how often it is run.
func execTimes(quick bool) int {
	if quick {
		return 20
	}
	return 200
}

// measureExec measures a command that does nothing in an instance, as `starter exec` and ssh have it run, from the connection to
// the exit status; in turn with the same by Warden.
func measureExec(ctx context.Context, s *stack.Stack, times int) (_ []benchmark.Row, failed error) {
	content, err := helloZip()
	if err != nil {
		return nil, err
	}
	instance, end, err := runOne(ctx, s, content, func(*api.AppSpec) {})
	if err != nil {
		return nil, err
	}
	defer func() { failed = errors.Join(failed, end()) }()
	address, login, err := loginOf(ctx, s, instance)
	if err != nil {
		return nil, err
	}
	w := warden.NewClient(s.Nodes[0].WardenSocket)
	defer w.Close()
	var took, byHand []time.Duration
	for range times {
		begun := time.Now()
		if err := runByLogin(address, login); err != nil {
			return nil, fmt.Errorf("run a command in an instance: %w", err)
		}
		took = append(took, time.Since(begun))
		begun = time.Now()
		if _, err := w.Run(ctx, &wardenpb.RunRequest{Handle: proto.String(instance.InstanceID), Script: proto.String(nothing)}); err != nil {
			return nil, fmt.Errorf("run a command by Warden: %w", err)
		}
		byHand = append(byHand, time.Since(begun))
	}
	return []benchmark.Row{benchmark.Make("command in an instance", "ms", benchmark.Median(took), benchmark.Median(byHand),
		benchmark.NoBar())}, nil
}

// loginOf is how the stack's own client is let into an instance.
func loginOf(ctx context.Context, s *stack.Stack, instance api.InstanceStatus) (string, *ssh.ClientConfig, error) {
	text, err := os.ReadFile(s.Client.ExecIdentity)
	if err != nil {
		return "", nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return "", nil, err
	}
	node, err := s.Control.Node(ctx, instance.Node)
	if err != nil {
		return "", nil, err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(node.Exec.HostKey))
	if err != nil {
		return "", nil, err
	}
	return node.Exec.Address, &ssh.ClientConfig{
		User: instance.InstanceID, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(hostKey),
	}, nil
}

func runByLogin(address string, login *ssh.ClientConfig) error {
	client, err := ssh.Dial("tcp", address, login)
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	return session.Run(nothing)
}
