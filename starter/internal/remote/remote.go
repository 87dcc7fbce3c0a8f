package remote

import (
	"context"
	"errors"
	"io"

	"golang.org/x/crypto/ssh"

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
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stop := context.AfterFunc(ctx, k.close) // an agent may be waiting for its user
	defer stop()
	client, err := connect(ctx, o, k)
	if err != nil {
		return err
	}
	defer client.Close()
	leave := context.AfterFunc(ctx, func() { client.Close() })
	defer leave()
	o.Out, o.Err = sink{o.Out, fail}, sink{o.Err, fail}
	err = begin(client, o)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// sink has the whole end where the user's output cannot be written: a command whose output nobody takes would wait for ever.
type sink struct {
	io.Writer
	fail context.CancelCauseFunc
}

func (s sink) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil {
		s.fail(&controller.Error{Kind: ErrOutput, Words: "what the command writes cannot be written here: " + err.Error()})
	}
	return n, err
}

// begin asks for a session, and runs the command in it.
func begin(client *ssh.Client, o Options) error {
	session, err := client.NewSession()
	var rejected *ssh.OpenChannelError
	switch {
	case errors.As(err, &rejected):
		return &controller.Error{Kind: ErrRefused, Words: "the node begins no session: " + rejected.Message}
	case err != nil:
		return cutOff()
	}
	defer session.Close()
	return run(session, o)
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
	switch {
	case err == nil:
	case isCut(err):
		return cutOff()
	default:
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
		return cutOff()
	}
}

func cutOff() error {
	return &controller.Error{Kind: ErrCutOff, Words: "the session was cut off: the instance has ended, or its node's worker, or the connection"}
}
