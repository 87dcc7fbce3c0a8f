package remote

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
)

// patience bounds what is waited for.
const patience = time.Minute

func newKey(t *testing.T) (ed25519.PrivateKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	return private, signer
}

func writeKey(t *testing.T, file string, private ed25519.PrivateKey, passphrase string) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
}

// serveAgent is an agent with a key, at a socket.
func serveAgent(t *testing.T, private ed25519.PrivateKey) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "a") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	ring := agent.NewKeyring()
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: private}))
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, connection) }()
		}
	}()
	return listener.Addr().String()
}

func TestKeysAreTheAgentsAndThoseAtHome(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", filepath.Join(home, "none"))
	_, err := findKeys("")
	require.ErrorIs(t, err, ErrNoKey)
	require.ErrorContains(t, err, "--identity")

	require.NoError(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o700))
	mine, signer := newKey(t)
	writeKey(t, filepath.Join(home, ".ssh/id_ed25519"), mine, "")
	writeKey(t, filepath.Join(home, ".ssh/id_ecdsa"), mine, "secret")
	agents, agentSigner := newKey(t)
	t.Setenv("SSH_AUTH_SOCK", serveAgent(t, agents))
	writeKey(t, filepath.Join(home, ".ssh/id_rsa"), agents, "") // which is the agent's
	k, err := findKeys("")
	require.NoError(t, err)
	defer k.close()
	require.Len(t, k.signers, 2)
	require.Equal(t, agentSigner.PublicKey().Marshal(), k.signers[0].PublicKey().Marshal())
	require.Equal(t, signer.PublicKey().Marshal(), k.signers[1].PublicKey().Marshal())
	require.Len(t, k.passed, 1)
	require.Contains(t, k.passed[0], "id_ecdsa has a passphrase: add it to the agent")
}

func TestANamedKeyIsTheOnlyOne(t *testing.T) {
	dir := t.TempDir()
	agents, _ := newKey(t)
	t.Setenv("SSH_AUTH_SOCK", serveAgent(t, agents))
	private, signer := newKey(t)
	for name, words := range map[string]string{"good": "", "sealed": "has a passphrase", "odd": "is no private key", "none": "no such file"} {
		file := filepath.Join(dir, name)
		switch name {
		case "good":
			writeKey(t, file, private, "")
		case "sealed":
			writeKey(t, file, private, "secret")
		case "odd":
			require.NoError(t, os.WriteFile(file, []byte("ssh-ed25519 AAAA"), 0o600))
		}
		k, err := findKeys(file)
		if words != "" {
			require.ErrorIs(t, err, ErrNoKey)
			require.ErrorContains(t, err, words)
			continue
		}
		require.NoError(t, err)
		require.Len(t, k.signers, 1)
		require.Equal(t, signer.PublicKey().Marshal(), k.signers[0].PublicKey().Marshal())
	}
}

// node is an SSH server that lets everybody in, or nobody for a reason, and serves channels in some way.
func node(t *testing.T, refusal error, serve func(ssh.NewChannel)) (address, hostKey string) {
	t.Helper()
	config, hostKey := nodeConfig(t, refusal)
	return listen(t, func(connection net.Conn) {
		_, channels, requests, err := ssh.NewServerConn(connection, config)
		if err != nil {
			connection.Close()
			return
		}
		go ssh.DiscardRequests(requests)
		for offered := range channels {
			serve(offered)
		}
	}), hostKey
}

// listen has each connection to an address, which it gives, be served, one after the other.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			serve(connection)
		}
	}()
	return listener.Addr().String()
}

func nodeConfig(t *testing.T, refusal error) (config *ssh.ServerConfig, hostKey string) {
	t.Helper()
	_, signer := newKey(t)
	config = &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		return &ssh.Permissions{}, refusal
	}}
	config.AddHostKey(signer)
	return config, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func rejectAll(offered ssh.NewChannel) {
	_ = offered.Reject(ssh.ResourceShortage, "there are too many")
}

// flood writes without an end to whoever asks for anything.
func flood(offered ssh.NewChannel) {
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	go func() {
		for request := range requests {
			_ = request.Reply(true, nil)
		}
	}()
	for err == nil {
		_, err = channel.Write(make([]byte, 32<<10))
	}
}

// hangUp is the address of what ends each connection at once.
func hangUp(t *testing.T) string {
	t.Helper()
	return listen(t, func(connection net.Conn) { _ = connection.Close() })
}

func TestWhyNothingRuns(t *testing.T) {
	identity := filepath.Join(t.TempDir(), "id")
	private, _ := newKey(t)
	writeKey(t, identity, private, "")
	open, openKey := node(t, nil, rejectAll)
	closed, closedKey := node(t, &ssh.BannerError{Err: errors.New("no"), Message: "ask for it\n"}, rejectAll)
	silent, silentKey := node(t, errors.New("no"), rejectAll)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	for name, test := range map[string]struct {
		exec  *api.ExecEndpoint
		kind  error
		words string
	}{
		"nobody is let in":     {nil, ErrNotServed, "exec.authorized_keys"},
		"the key is not":       {&api.ExecEndpoint{Address: closed, HostKey: closedKey}, ErrRefused, "ask for it"},
		"the node is another":  {&api.ExecEndpoint{Address: open, HostKey: closedKey}, controller.ErrUnreachable, "another key than the node's"},
		"the node is gone":     {&api.ExecEndpoint{Address: gone.Addr().String(), HostKey: openKey}, controller.ErrUnreachable, "does not answer"},
		"there are too many":   {&api.ExecEndpoint{Address: open, HostKey: openKey}, ErrRefused, "there are too many"},
		"its key is nonsense":  {&api.ExecEndpoint{Address: open, HostKey: "x"}, controller.ErrUnreachable, "cannot be read"},
		"its key is of others": {&api.ExecEndpoint{Address: closed, HostKey: openKey}, controller.ErrUnreachable, "another key than the node's"},
		"it says no reason":    {&api.ExecEndpoint{Address: silent, HostKey: silentKey}, ErrRefused, "lets none of the keys in"},
		"it is no SSH server":  {&api.ExecEndpoint{Address: hangUp(t), HostKey: openKey}, controller.ErrUnreachable, "ends the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := Run(t.Context(), Options{
				Instance: api.InstanceStatus{InstanceID: "i", Node: "n"}, Node: api.NodeStatus{Exec: test.exec}, Line: "true",
				Identity: identity, In: &bytes.Buffer{}, Out: &out, Err: &out,
			})
			require.ErrorIs(t, err, test.kind)
			require.ErrorContains(t, err, test.words)
			require.Empty(t, out.String())
		})
	}
}

// full is output that nobody takes.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestACommandEndsWhoseOutputCannotBeWritten(t *testing.T) {
	identity := filepath.Join(t.TempDir(), "id")
	private, _ := newKey(t)
	writeKey(t, identity, private, "")
	address, hostKey := node(t, nil, flood)
	ended := make(chan error, 1)
	go func() {
		ended <- Run(t.Context(), Options{
			Node: api.NodeStatus{Exec: &api.ExecEndpoint{Address: address, HostKey: hostKey}}, Line: "yes",
			Identity: identity, In: &bytes.Buffer{}, Out: full{}, Err: full{},
		})
	}()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, ErrOutput)
		require.ErrorContains(t, err, "no space left")
	case <-time.After(patience):
		require.Fail(t, "it goes on")
	}
}

// TestAnInterruptIsNoRefusal: at whatever step it comes.
func TestAnInterruptIsNoRefusal(t *testing.T) {
	identity := filepath.Join(t.TempDir(), "id")
	private, _ := newKey(t)
	writeKey(t, identity, private, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	address, hostKey := node(t, nil, func(ssh.NewChannel) { cancel() }) // and never answers
	var out bytes.Buffer
	err := Run(ctx, Options{
		Node: api.NodeStatus{Exec: &api.ExecEndpoint{Address: address, HostKey: hostKey}}, Line: "true",
		Identity: identity, In: &bytes.Buffer{}, Out: &out, Err: &out,
	})
	require.ErrorIs(t, err, context.Canceled)
}
