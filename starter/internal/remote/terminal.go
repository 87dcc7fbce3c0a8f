package remote

import (
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/durable-dea/dea/controller"
)

// raise asks for a terminal like the user's, and hands his over: keys go there, not to this machine. restore takes it back.
func raise(session *ssh.Session, in io.Reader) (restore func(), err error) {
	file, ours := in.(*os.File)
	if !ours || !term.IsTerminal(int(file.Fd())) {
		return func() {}, request(session, 80, 24)
	}
	fd := int(file.Fd())
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH) // before it is measured
	cols, rows, err := term.GetSize(fd)
	if err != nil || cols == 0 || rows == 0 {
		cols, rows = 80, 24
	}
	if err := request(session, cols, rows); err != nil {
		signal.Stop(changed)
		return nil, err
	}
	before, err := term.MakeRaw(fd)
	if err != nil {
		signal.Stop(changed)
		return nil, fmt.Errorf("the terminal cannot be handed over: %w", err)
	}
	// Whose output nobody reads is ended by that signal, and would leave the terminal as it is.
	unread := make(chan os.Signal, 1)
	signal.Notify(unread, unix.SIGPIPE)
	done := make(chan struct{})
	go passSize(session, fd, changed, done)
	return func() {
		signal.Stop(changed)
		close(done)
		_ = term.Restore(fd, before)
		signal.Stop(unread)
	}, nil
}

// request asks for a terminal of a size.
func request(session *ssh.Session, cols, rows int) error {
	name := os.Getenv("TERM")
	if name == "" {
		name = "dumb"
	}
	switch err := session.RequestPty(name, rows, cols, ssh.TerminalModes{}); {
	case err == nil:
		return nil
	case isCut(err):
		return cutOff()
	default:
		return &controller.Error{Kind: ErrRefused, Words: "the node gives this key no terminal", Next: "leave it out with --no-tty"}
	}
}

// passSize tells the other side each time that the user's terminal has another size.
func passSize(session *ssh.Session, fd int, changed <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case <-changed:
			if cols, rows, err := term.GetSize(fd); err == nil {
				_ = session.WindowChange(rows, cols)
			}
		case <-done:
			return
		}
	}
}
