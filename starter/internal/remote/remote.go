package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
)

// Options say what to run, where, and for whom.
type Options struct {
	// Instance is where, Node what its node says.
	Instance api.InstanceStatus
	Node     api.NodeStatus
	// Line is for the shell there; empty for a shell.
	Line string
	// Identity is a private key's file; empty for the user's usual ones.
	Identity string
	// Terminal asks for one there.
	Terminal bool
	// In, Out and Err are the user's. With Terminal, In is one where it is a terminal's file.
	In       io.Reader
	Out, Err io.Writer
}

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 20 * time.Second
	// keepAlive is how often a node is asked whether it is there while nothing is said.
	keepAlive = 15 * time.Second
)

// Run runs the command to its end. Its error is a StatusError where the command ended with another than 0, a controller.Error where it could not be
// run, or ctx's.
func Run(ctx context.Context, o Options) error {
	if o.Node.Exec == nil {
		return &controller.Error{
			Kind: ErrNotServed, Words: "the operator of node " + o.Instance.Node + " lets nobody run commands in instances",
			Next: "exec.listen and exec.authorized_keys in its dea.yml do",
		}
	}
	k, err := findKeys(o.Identity)
	if err != nil {
		return err
	}
	defer k.close()
	client, err := connect(ctx, o, k)
	if err != nil {
		return err
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	session, err := client.NewSession()
	if err != nil {
		return &controller.Error{Kind: ErrRefused, Words: "the node begins no session: " + reason(err)}
	}
	defer session.Close()
	go stayAwake(client)
	err = run(session, o)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// connect shows the keys to the node, which shows its own.
func connect(ctx context.Context, o Options, k *keys) (*ssh.Client, error) {
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(o.Node.Exec.HostKey))
	if err != nil {
		return nil, &controller.Error{Kind: controller.ErrUnreachable, Words: "the node's own key cannot be read"}
	}
	connection, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", o.Node.Exec.Address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &controller.Error{
			Kind: controller.ErrUnreachable, Words: fmt.Sprintf("node %s does not answer at %s", o.Instance.Node, o.Node.Exec.Address),
			Next: "can this machine reach it, and is its worker up?",
		}
	}
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	_ = connection.SetDeadline(time.Now().Add(handshakeTimeout))
	var said []string
	ours, channels, requests, err := ssh.NewClientConn(connection, o.Node.Exec.Address, &ssh.ClientConfig{
		User: o.Instance.InstanceID, Auth: []ssh.AuthMethod{ssh.PublicKeys(k.signers...)},
		HostKeyCallback: ssh.FixedHostKey(hostKey), HostKeyAlgorithms: algorithms(hostKey),
		BannerCallback: func(text string) error {
			said = append(said, strings.TrimSpace(text))
			return nil
		},
	})
	if err != nil {
		_ = connection.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, refusal(err, append(said, k.passed...))
	}
	_ = connection.SetDeadline(time.Time{})
	return ssh.NewClient(ours, channels, requests), nil
}

// algorithms are those that a key of this type may be shown by.
func algorithms(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}

// refusal says why there is no connection, with what the node has said to it.
func refusal(err error, said []string) error {
	var other *ssh.ServerAuthError
	switch {
	case strings.Contains(err.Error(), "host key mismatch"):
		return &controller.Error{
			Kind: controller.ErrUnreachable, Words: "what answers shows another key than the node's: it is not the node, or the node's key is new",
			Next: "nothing was sent to it; ask the operator",
		}
	case errors.As(err, &other), strings.Contains(err.Error(), "unable to authenticate"):
		if len(said) == 0 {
			said = []string{"the node lets none of the keys in"}
		}
		return &controller.Error{Kind: ErrRefused, Words: strings.Join(said, "; ")}
	default:
		return &controller.Error{Kind: controller.ErrUnreachable, Words: "the node ends the connection: " + reason(err)}
	}
}

func reason(err error) string { return strings.TrimPrefix(err.Error(), "ssh: ") }

// stayAwake finds a node that is gone without a word.
func stayAwake(client *ssh.Client) {
	gone := make(chan struct{})
	go func() { _ = client.Wait(); close(gone) }()
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		answered := make(chan error, 1)
		go func() {
			_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		}()
		select {
		case <-gone:
			return
		case err := <-answered:
			if err != nil {
				return
			}
		case <-time.After(keepAlive):
			_ = client.Close()
			return
		}
	}
}

// run carries the command to its end.
func run(session *ssh.Session, o Options) error {
	session.Stdout, session.Stderr = o.Out, o.Err
	stdin, err := session.StdinPipe()
	if err != nil {
		return err
	}
	if o.Terminal {
		restore, err := raise(session, o.In)
		if err != nil {
			return err
		}
		defer restore()
	}
	if o.Line == "" {
		err = session.Shell()
	} else {
		err = session.Start(o.Line)
	}
	if err != nil {
		return &controller.Error{Kind: ErrNotBegun, Words: "the node cannot begin the command", Next: "its worker's log says why"}
	}
	// It may be reading from the user when all is over: then it ends with the program.
	go func() {
		_, _ = io.Copy(stdin, o.In)
		_ = stdin.Close()
	}()
	return outcome(session.Wait())
}

// outcome is what the user is told of the end.
func outcome(err error) error {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitStatus() != 0:
		return StatusError(exit.ExitStatus())
	default:
		return &controller.Error{Kind: ErrCutOff, Words: "the session was cut off: the instance has ended, or its node's worker, or the connection"}
	}
}

// raise asks for a terminal like the user's, and hands his over: keys go there, not to this machine. restore takes it back.
func raise(session *ssh.Session, in io.Reader) (restore func(), err error) {
	name := os.Getenv("TERM")
	if name == "" {
		name = "dumb"
	}
	cols, rows := 80, 24
	file, ours := in.(*os.File)
	ours = ours && term.IsTerminal(int(file.Fd()))
	if ours {
		if c, r, err := term.GetSize(int(file.Fd())); err == nil && c > 0 && r > 0 {
			cols, rows = c, r
		}
	}
	if err := session.RequestPty(name, rows, cols, ssh.TerminalModes{}); err != nil {
		return nil, &controller.Error{Kind: ErrRefused, Words: "the node gives this key no terminal", Next: "leave it out with --no-tty"}
	}
	if !ours {
		return func() {}, nil
	}
	before, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return nil, fmt.Errorf("the terminal cannot be handed over: %w", err)
	}
	unwatch := watchSize(session, int(file.Fd()))
	return func() {
		unwatch()
		_ = term.Restore(int(file.Fd()), before)
	}, nil
}
