package execserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/durable-dea/dea/internal/execwire"
	"github.com/durable-dea/dea/internal/supervisor"
)

// session is one channel of a connection, in which one command runs.
type session struct {
	*Server
	client   *ssh.ServerConn
	instance supervisor.Instance
	grant    grant
	channel  ssh.Channel
	// leave gives the session's place to another.
	leave func()

	terminal *execwire.Terminal
	line     string
	// asked is set once the command is asked for, and endWait ends the wait for that.
	asked   bool
	endWait context.CancelFunc
	// connection leads to the runner, and runner writes to it; both are nil until the command is asked for, and where it cannot
	// be begun, of which unbegun then tells the user.
	connection net.Conn
	runner     *execwire.Writer
	unbegun    string
	idle       *idleness
	// why is the first cause of an end other than the command's; over is closed when the session has ended.
	why  atomic.Pointer[cause]
	over chan struct{}
}

// serve answers requests until the channel ends. The command begins with shell or exec, and lasts beside it.
func (s *session) serve(requests <-chan *ssh.Request) {
	var command sync.WaitGroup
	defer command.Wait()
	defer s.channel.Close()
	open, closed := context.WithCancel(context.Background())
	defer closed()
	unasked, asked := context.WithCancel(open)
	defer asked()
	s.endWait = asked
	command.Go(func() { s.expect(unasked, s.askTime()) })
	for request := range requests {
		before := s.asked
		ok := s.answer(request)
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
		if s.asked && !before { // After the reply: a command that has ended already closes the channel.
			command.Go(func() {
				s.run()
				s.expect(open, s.options.IdleTimeout)
			})
		}
	}
	// The client has closed, or is gone. Only this tells that from the end of its input.
	if s.connection != nil {
		left := errLeft
		s.why.CompareAndSwap(nil, &left)
		_ = s.connection.Close()
	}
}

// answer does what a request asks for, and tells whether it did.
func (s *session) answer(request *ssh.Request) bool {
	switch request.Type {
	case "pty-req":
		return s.takeTerminal(request.Payload)
	case "shell", "exec":
		line, ok := lineOf(request)
		if !ok || s.asked {
			return false
		}
		s.asked = true
		s.endWait()
		s.start(line)
		return true
	case "window-change":
		return s.resize(request.Payload)
	case "signal":
		return s.signal(request.Payload)
	default: // env as well: a session has the app's
		return false
	}
}

const (
	// unbegunStatus is that of a command that cannot be begun, as a shell has it.
	unbegunStatus = 126
	wordsUnbegun  = "no command can be begun in this instance: it may be about to end, or have no room for a process; the log of its " +
		"node's worker says why"
	wordsNoRoom = "no command can be begun in this instance, as its disk is full: `starter files` shows what is there, " +
		"`starter restart` gives the app empty disks, and `starter push --disk` larger ones"
)

// start has the runner begin the command. Where that fails the user is told so by a command's end, since no client shows why
// a request was refused.
func (s *session) start(line string) {
	s.line = line
	connection, err := s.begin(s.ctx, s.instance, execwire.Command{Line: line, Terminal: s.terminal})
	if err != nil {
		s.log.Error("a session cannot be begun", "instance", s.instance.ID, "app", s.instance.AppID,
			"key", s.grant.fingerprint, "who", s.grant.comment, "error", err)
		if s.unbegun = wordsUnbegun; errors.Is(err, errNoRoom) {
			s.unbegun = wordsNoRoom
		}
		return
	}
	s.connection, s.runner = connection, execwire.NewWriter(connection)
}

// lineOf is the command line that a request asks for; empty for a shell. One that is not UTF-8 would not arrive as it is.
func lineOf(request *ssh.Request) (string, bool) {
	if request.Type == "shell" {
		return "", true
	}
	var asked struct{ Line string }
	err := ssh.Unmarshal(request.Payload, &asked)
	return asked.Line, err == nil && len(asked.Line) <= execwire.MaxLine && utf8.ValidString(asked.Line)
}

func (s *session) takeTerminal(payload []byte) bool {
	var asked struct {
		Name                      string
		Cols, Rows, Width, Height uint32
		Modes                     string
	}
	if s.grant.noTerminal || s.asked || ssh.Unmarshal(payload, &asked) != nil || len(asked.Name) > 256 {
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
	switch {
	case ssh.Unmarshal(payload, &asked) != nil:
		return false
	case s.runner != nil:
		return s.runner.WriteJSON(execwire.Resize, size(asked.Cols, asked.Rows)) == nil
	case s.terminal == nil || s.asked:
		return false
	default:
		s.terminal.Size = size(asked.Cols, asked.Rows)
		return true
	}
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
func (s *session) run() {
	defer close(s.over)
	defer s.channel.Close()
	if s.connection == nil {
		s.finish(execwire.Ended{Status: unbegunStatus, Words: s.unbegun})
		return
	}
	defer s.connection.Close()
	// What is written to an app's runner may wait for ever.
	stop := context.AfterFunc(s.ctx, func() { s.connection.Close() })
	defer stop()
	log := s.log.With("instance", s.instance.ID, "app", s.instance.AppID, "index", s.instance.Index,
		"key", s.grant.fingerprint, "who", s.grant.comment, "from", s.client.RemoteAddr())
	begun := time.Now()
	log.Info("a session begins", "terminal", s.terminal != nil, "shell", s.line == "")
	defer s.bound()()
	ended, err := s.carry()
	if err != nil {
		log.Info("a session was cut off", "after", time.Since(begun).Round(time.Millisecond), "reason", err)
		return
	}
	log.Info("a session ends", "after", time.Since(begun).Round(time.Millisecond), "status", ended.Status)
	s.finish(ended)
}

// finish tells the client how the command ended.
func (s *session) finish(ended execwire.Ended) {
	if ended.Words != "" {
		s.tell(ended.Words)
	}
	_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(ended.Status)})) //nolint:gosec // 0 to 255
}

// tell says something to the user, where what he sees is the command's.
func (s *session) tell(words string) {
	end := "\n"
	if s.terminal != nil {
		end = "\r\n"
	}
	_, _ = io.WriteString(s.channel.Stderr(), words+end)
}

// carry gives how the command ended. Where that is not known the user is told why.
func (s *session) carry() (execwire.Ended, error) {
	ended, err := s.exchange()
	if err == nil {
		return ended, nil
	}
	why := errNoEnd
	if first := s.why.Load(); first != nil {
		why = *first
	}
	s.tell(why.Error())
	return ended, why
}

// exchange passes everything on until the command has ended.
func (s *session) exchange() (execwire.Ended, error) {
	credit := execwire.NewCredit()
	defer credit.Close()
	s.running.Go(func() { s.sendInput(credit) })
	for {
		kind, payload, err := execwire.Read(s.connection)
		if err != nil {
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
			return execwire.Ended{}, err
		}
	}
}

// sendInput sends what the client writes, to its end. Where the whole channel has ended the session does.
func (s *session) sendInput(credit *execwire.Credit) {
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
			_ = s.connection.Close()
			return
		}
	}
}
