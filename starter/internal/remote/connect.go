package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/durable-dea/dea/controller"
)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 20 * time.Second
)

// connect shows the keys to the node, which shows its own.
func connect(ctx context.Context, o Options, k *keys) (*ssh.Client, error) {
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(o.Node.Exec.HostKey))
	if err != nil {
		return nil, &controller.Error{Kind: controller.ErrUnreachable, Words: "the node's own key cannot be read"}
	}
	dialed, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", o.Node.Exec.Address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &controller.Error{
			Kind: controller.ErrUnreachable, Words: fmt.Sprintf("node %s does not answer at %s", o.Instance.Node, o.Node.Exec.Address),
			Next: "can this machine reach it, and is its worker up?",
		}
	}
	connection := &listening{Conn: dialed}
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	_ = connection.SetDeadline(time.Now().Add(handshakeTimeout))
	var met meeting
	fixed := ssh.FixedHostKey(hostKey)
	ours, channels, requests, err := ssh.NewClientConn(connection, o.Node.Exec.Address, &ssh.ClientConfig{
		User: o.Instance.InstanceID, Auth: []ssh.AuthMethod{ssh.PublicKeys(k.signers...)},
		HostKeyAlgorithms: algorithms(hostKey),
		HostKeyCallback: func(address string, from net.Addr, shown ssh.PublicKey) error {
			if err := fixed(address, from, shown); err != nil {
				return fmt.Errorf("%w: %w", errOtherKey, err)
			}
			met.known = true
			return nil
		},
		BannerCallback: func(text string) error {
			met.said = append(met.said, strings.TrimSpace(text))
			return nil
		},
	})
	if err != nil {
		_ = connection.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, met.refusal(err, k.passed, o.Identity == "")
	}
	_ = connection.SetDeadline(time.Time{})
	client := ssh.NewClient(ours, channels, requests)
	go stayAwake(client, connection)
	return client, nil
}

// algorithms are those that a key of this type may be shown by.
func algorithms(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}

// errOtherKey: what answers is not the node.
var errOtherKey = errors.New("another key than the node's")

// meeting is how far a login has come.
type meeting struct {
	// known is set once the node has shown its key; said is what it says from then on, which is why a key is not let in.
	known bool
	said  []string
}

// refusal says why there is no connection. passed are why keys were not shown; more tells that the user may name another one.
func (m meeting) refusal(err error, passed []string, more bool) error {
	switch {
	case errors.Is(err, errOtherKey):
		return &controller.Error{
			Kind: controller.ErrUnreachable, Words: "what answers shows another key than the node's: it is not the node, or the node's key is new",
			Next: "nothing was sent to it; ask the operator",
		}
	case !m.known, len(m.said) == 0 && isCut(err):
		return &controller.Error{Kind: controller.ErrUnreachable, Words: "the node ends the connection: " + strings.TrimPrefix(err.Error(), "ssh: ")}
	}
	said := m.said
	if len(said) == 0 {
		said = []string{"the node lets none of the keys in"}
	}
	refused := &controller.Error{Kind: ErrRefused, Words: strings.Join(slices.Concat(said, passed), "; ")}
	if more {
		refused.Next = "--identity FILE names another key"
	}
	return refused
}

// isCut tells the end of a connection from a word of the node's.
func isCut(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}
