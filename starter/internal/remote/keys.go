package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/durable-dea/dea/controller"
)

// keys are those that a user can show, and what to close afterwards.
type keys struct {
	signers []ssh.Signer
	closer  io.Closer
	// passed are why others cannot be used, for the user.
	passed []string
}

func (k *keys) close() {
	if k.closer != nil {
		_ = k.closer.Close()
	}
}

// defaultIdentities are the files that ssh takes, too.
var defaultIdentities = []string{"id_ed25519", "id_ecdsa", "id_rsa"}

// findKeys takes the key of the file that is named, or those of the user's agent and in his home.
func findKeys(identity string) (*keys, error) {
	k := &keys{}
	if identity != "" {
		signer, err := readKey(identity)
		if err != nil {
			return nil, &controller.Error{Kind: ErrNoKey, Words: "the key cannot be used: " + err.Error()}
		}
		k.signers = []ssh.Signer{signer}
		return k, nil
	}
	k.askAgent(os.Getenv("SSH_AUTH_SOCK"))
	if home, err := os.UserHomeDir(); err == nil {
		for _, name := range defaultIdentities {
			signer, err := readKey(filepath.Join(home, ".ssh", name))
			switch {
			case err == nil && !k.has(signer):
				k.signers = append(k.signers, signer)
			case err == nil:
			case !errors.Is(err, os.ErrNotExist):
				k.passed = append(k.passed, err.Error())
			}
		}
	}
	if len(k.signers) == 0 {
		k.close()
		return nil, &controller.Error{
			Kind: ErrNoKey, Words: "there is no key to show: the agent has none, and ~/.ssh has none that can be read",
			Next: "name one with --identity FILE, or make one with `ssh-keygen -t ed25519`",
		}
	}
	return k, nil
}

// has tells whether a key is there already, as it is where the agent has it, too: a node lets only so many be shown.
func (k *keys) has(signer ssh.Signer) bool {
	key := signer.PublicKey().Marshal()
	return slices.ContainsFunc(k.signers, func(other ssh.Signer) bool { return bytes.Equal(other.PublicKey().Marshal(), key) })
}

func readKey(file string) (ssh.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	var sealed *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &sealed):
		return nil, fmt.Errorf("%s has a passphrase: add it to the agent with `ssh-add`", file)
	case err != nil:
		return nil, fmt.Errorf("%s is no private key in OpenSSH's form", file)
	}
	return signer, nil
}

// askAgent adds the agent's keys, if there is one.
func (k *keys) askAgent(socket string) {
	if socket == "" {
		return
	}
	connection, err := (&net.Dialer{Timeout: dialTimeout}).Dial("unix", socket)
	if err != nil {
		return
	}
	_ = connection.SetDeadline(time.Now().Add(dialTimeout))
	signers, err := agent.NewClient(connection).Signers()
	_ = connection.SetDeadline(time.Time{}) // its user may be asked before it signs
	if err != nil {
		_ = connection.Close()
		return
	}
	k.signers, k.closer = append(k.signers, signers...), connection
}
