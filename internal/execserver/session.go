package execserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/durable-dea/dea/internal/execwire"
	"github.com/durable-dea/dea/internal/supervisor"
)

// session is one channel of a connection, in which one command runs.
type session struct {
	*Server
	instance supervisor.Instance
	grant    grant
	channel  ssh.Channel
	from     string

	terminal *execwire.Terminal
	// connection leads to the runner, and runner writes to it; both are nil until the command is asked for.
	connection net.Conn
	runner     *execwire.Writer
	idle       *idleness
}

// serve answers requests until the channel ends. The command begins with shell or exec, and lasts beside it.
func (s *session) serve(requests <-chan *ssh.Request) {
	var command sync.WaitGroup
	defer command.Wait()
	defer s.channel.Close()
	for request := range requests {
		ok := false
		switch request.Type {
		case "pty-req":
			ok = s.takeTerminal(request.Payload)
		case "shell", "exec":
			line, readable := lineOf(request)
			if ok = readable && s.runner == nil; !ok {
				break
			}
			connection, err := s.begin(s.ctx, s.instance)
			if err != nil {
				s.log.Error("a session cannot be begun", "instance", s.instance.ID, "error", err)
				_, _ = io.WriteString(s.channel.Stderr(), "the node cannot begin a session in this instance\n")
				ok = false
				break
			}
			s.connection, s.runner = connection, execwire.NewWriter(connection)
			command.Go(func() { s.run(connection, line) })
		case "window-change":
			ok = s.resize(request.Payload)
		case "signal":
			ok = s.signal(request.Payload)
		}
		// env is refused as well: a session has the app's.
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
	}
	// The client has closed, or is gone. Only this tells that from the end of its input.
	if s.connection != nil {
		_ = s.connection.Close()
	}
}

// lineOf is the command line that a request asks for; empty for a shell.
func lineOf(request *ssh.Request) (string, bool) {
	if request.Type == "shell" {
		return "", true
	}
	var asked struct{ Line string }
	err := ssh.Unmarshal(request.Payload, &asked)
	return asked.Line, err == nil && len(asked.Line) <= execwire.MaxLine
}

func (s *session) takeTerminal(payload []byte) bool {
	var asked struct {
		Name                      string
		Cols, Rows, Width, Height uint32
		Modes                     string
	}
	if s.grant.noTerminal || s.runner != nil || ssh.Unmarshal(payload, &asked) != nil || len(asked.Name) > 256 {
		return false
	}
	s.terminal = &execwire.Terminal{Name: asked.Name, Size: size(asked.Cols, asked.Rows)}
	return true
}

func size(cols, rows uint32) execwire.Size {
	return execwire.Size{Rows: uint16(min(rows, math.MaxUint16)), Cols: uint16(min(cols, math.MaxUint16))} //nolint:gosec // bounded
}

func (s *session) resize(payload []byte) bool {
	var asked struct{ Cols, Rows, Width, Height uint32 }
	if s.runner == nil || ssh.Unmarshal(payload, &asked) != nil {
		return false
	}
	return s.runner.WriteJSON(execwire.Resize, size(asked.Cols, asked.Rows)) == nil
}

func (s *session) signal(payload []byte) bool {
	var asked struct{ Name string }
	if s.runner == nil || ssh.Unmarshal(payload, &asked) != nil || len(asked.Name) > 16 {
		return false
	}
	return s.runner.Write(execwire.Signal, []byte(asked.Name)) == nil
}

// run carries everything between the channel and the command, until either ends. What the command is, is not logged: it may hold a
// secret.
func (s *session) run(connection net.Conn, line string) {
	defer connection.Close()
	defer s.channel.Close()
	log := s.log.With("instance", s.instance.ID, "app", s.instance.AppID, "index", s.instance.Index,
		"key", s.grant.fingerprint, "who", s.grant.comment, "from", s.from)
	begun := time.Now()
	log.Info("a session begins", "terminal", s.terminal != nil, "shell", line == "")
	s.idle = newIdleness(s.options.IdleTimeout, func() {
		_, _ = io.WriteString(s.channel.Stderr(), "the session was idle for too long\r\n")
		_ = s.channel.Close()
		_ = connection.Close()
	})
	defer s.idle.stop()
	ended, err := s.carry(connection, line)
	if err != nil {
		log.Info("a session was cut off", "after", time.Since(begun).Round(time.Millisecond), "reason", err)
		return
	}
	log.Info("a session ends", "after", time.Since(begun).Round(time.Millisecond), "status", ended.Status)
	if ended.Words != "" {
		_, _ = fmt.Fprintln(s.channel.Stderr(), ended.Words)
	}
	_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(ended.Status)})) //nolint:gosec // 0 to 255
}

// errNoEnd: the runner has gone without a word, as when its container stops.
var errNoEnd = errors.New("the instance has ended, or its session was ended")

func (s *session) carry(connection net.Conn, line string) (execwire.Ended, error) {
	if err := s.runner.WriteJSON(execwire.Request, execwire.Command{Line: line, Terminal: s.terminal}); err != nil {
		return execwire.Ended{}, err
	}
	credit := execwire.NewCredit()
	defer credit.Close()
	s.running.Go(func() { s.sendInput(credit, connection) })
	for {
		kind, payload, err := execwire.Read(connection)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errNoEnd
			}
			_, _ = fmt.Fprintln(s.channel.Stderr(), errNoEnd)
			return execwire.Ended{}, err
		}
		s.idle.stir()
		switch kind {
		case execwire.Stdout:
			_, err = s.channel.Write(payload)
		case execwire.Stderr:
			_, err = s.channel.Stderr().Write(payload)
		case execwire.Consumed:
			if n, ok := execwire.ReadConsumed(payload); ok {
				credit.Give(n)
			}
		case execwire.Exit:
			var ended execwire.Ended
			err := json.Unmarshal(payload, &ended)
			ended.Status &= 0xff
			return ended, err
		}
		if err != nil {
			return execwire.Ended{}, fmt.Errorf("write to the client: %w", err)
		}
	}
}

// sendInput sends what the client writes, to its end. Where the whole channel has ended the session does.
func (s *session) sendInput(credit *execwire.Credit, connection net.Conn) {
	buffer := make([]byte, execwire.MaxChunk)
	for {
		most := credit.Take(len(buffer))
		if most == 0 {
			return
		}
		n, err := s.channel.Read(buffer[:most])
		credit.Give(most - n)
		s.idle.stir()
		if n > 0 && s.runner.Write(execwire.Stdin, buffer[:n]) != nil {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = s.runner.Write(execwire.StdinEnd, nil)
			return
		default:
			_ = connection.Close()
			return
		}
	}
}
