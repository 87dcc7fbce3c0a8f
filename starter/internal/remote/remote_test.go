package remote

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
)

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

// node is an SSH server that lets everybody in or nobody, and serves nothing.
func node(t *testing.T, lets bool) (address, hostKey string) {
	t.Helper()
	_, signer := newKey(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		if lets {
			return &ssh.Permissions{}, nil
		}
		return nil, &ssh.BannerError{Err: errors.New("no"), Message: "ask for it\n"}
	}}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, channels, requests, err := ssh.NewServerConn(connection, config)
			if err != nil {
				connection.Close()
				continue
			}
			go ssh.DiscardRequests(requests)
			for offered := range channels {
				_ = offered.Reject(ssh.ResourceShortage, "there are too many")
			}
		}
	}()
	return listener.Addr().String(), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func TestWhyNothingRuns(t *testing.T) {
	identity := filepath.Join(t.TempDir(), "id")
	private, _ := newKey(t)
	writeKey(t, identity, private, "")
	open, openKey := node(t, true)
	closed, closedKey := node(t, false)
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
