package remote

import (
	"os"
	"os/signal"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// watchSize tells the other side each time that the user's terminal has another size, until stop.
func watchSize(session *ssh.Session, terminal int) (stop func()) {
	changed, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(changed, unix.SIGWINCH)
	go func() {
		for {
			select {
			case <-changed:
				if cols, rows, err := term.GetSize(terminal); err == nil {
					_ = session.WindowChange(rows, cols)
				}
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(changed); close(done) }
}
