package execserver

import (
	"io"
	"math"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/durable-dea/dea/internal/execwire"
)

type line struct{ Line string }

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	session := begin(t, serve(t, Options{MaxSessions: 1}).enters())
	for _, request := range []struct {
		kind    string
		payload []byte
	}{
		{"window-change", make([]byte, 16)}, // there is no command yet
		{"signal", ssh.Marshal(struct{ Name string }{"KILL"})},
		{"exec", []byte("x")},
		{"exec", ssh.Marshal(line{string(make([]byte, execwire.MaxLine+1))})},
		{"exec", ssh.Marshal(line{"cat \xe9"})},
		{"pty-req", nil},
	} {
		ok, err := session.SendRequest(request.kind, true, request.payload)
		require.NoError(t, err)
		require.False(t, ok, request.kind)
	}
	require.NoError(t, session.Start("sleep 100000"))
	for _, kind := range []string{"exec", "shell", "pty-req"} { // a channel has one command
		ok, err := session.SendRequest(kind, true, ssh.Marshal(line{"true"}))
		require.NoError(t, err)
		require.False(t, ok, kind)
	}
}

func TestASessionInWhichNothingIsAskedForIsIdle(t *testing.T) {
	t.Parallel()
	client := serve(t, Options{MaxSessions: 1, IdleTimeout: 300 * time.Millisecond}).enters()
	begin(t, client)
	require.Error(t, client.Wait())
}

// TestCloseWaitsForNoRunnerThatReadsNothing: a command may stop the process that it is spoken to by.
func TestCloseWaitsForNoRunnerThatReadsNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 1})
	session := begin(t, s.enters())
	out, err := session.StdoutPipe()
	require.NoError(t, err)
	in, err := session.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, session.Start("echo ready; read -r; kill -STOP $PPID; exec sleep 100000"))
	_, err = io.ReadFull(out, make([]byte, len("ready\n")))
	require.NoError(t, err)
	_, err = io.WriteString(in, "stop\n") // only now: who is stopped passes on no output
	require.NoError(t, err)
	go func() { // more than a socket holds
		for session.WindowChange(24, 80) == nil {
		}
	}()
	require.Eventually(t, func() bool { // the server does not take any more
		answered := make(chan struct{})
		go func() {
			_, _ = session.SendRequest("env", true, nil)
			close(answered)
		}()
		select {
		case <-answered:
			return false
		case <-time.After(time.Second):
			return true
		}
	}, patience, time.Millisecond)
	closed := make(chan struct{})
	go func() { s.server.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(patience):
		require.Fail(t, "the worker cannot end")
	}
}

// FuzzPayloads: what clients send is refused, or bounded.
func FuzzPayloads(f *testing.F) {
	f.Add([]byte{})
	f.Add(ssh.Marshal(line{"ls"}))
	f.Add(ssh.Marshal(struct {
		Name                      string
		Cols, Rows, Width, Height uint32
		Modes                     string
	}{"xterm", math.MaxUint32, 24, 0, 0, "\x00"}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if asked, ok := lineOf(&ssh.Request{Type: "exec", Payload: payload}); ok {
			require.True(t, utf8.ValidString(asked))
			require.LessOrEqual(t, len(asked), execwire.MaxLine)
		}
		s := &session{}
		if s.takeTerminal(payload) {
			require.LessOrEqual(t, len(s.terminal.Name), 256)
		}
		require.False(t, s.resize(payload) && s.terminal == nil || s.signal(payload), "there is no command yet")
		s.asked, s.runner = true, execwire.NewWriter(io.Discard)
		_, _ = s.resize(payload), s.signal(payload)
		require.False(t, s.takeTerminal(payload), "the command runs")
	})
}

// TestASizeMayChangeAtAnyMoment: also before the command, and while it is begun, which takes its time.
func TestASizeMayChangeAtAnyMoment(t *testing.T) {
	t.Parallel()
	client := serve(t, Options{MaxSessions: 64}).enters()
	session := begin(t, client)
	require.NoError(t, session.RequestPty("xterm", 24, 80, nil))
	require.NoError(t, session.WindowChange(33, 99))
	out, err := session.Output("stty size")
	require.NoError(t, err)
	require.Equal(t, "33 99\r\n", string(out))
	for range 20 {
		channel, requests, err := client.OpenChannel("session", nil)
		require.NoError(t, err)
		_, err = channel.SendRequest("exec", false, ssh.Marshal(line{"read -r; exit 3"}))
		require.NoError(t, err)
		for range 10 {
			_, err = channel.SendRequest("window-change", false, make([]byte, 16))
			require.NoError(t, err)
		}
		_, err = io.WriteString(channel, "\n")
		require.NoError(t, err)
		ended, ok := <-requests
		require.True(t, ok, "it ended without a status")
		require.Equal(t, "exit-status", ended.Type)
		require.Equal(t, ssh.Marshal(struct{ Status uint32 }{3}), ended.Payload)
		for range requests { // to the end, which makes room for the next
		}
	}
}
