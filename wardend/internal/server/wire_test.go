package server

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// raw is a client that says what it likes.
type raw struct {
	*net.UnixConn
	t *testing.T
	r *warden.Reader
}

func dial(t *testing.T, socket string) raw {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	t.Cleanup(func() { _ = conn.Close() })
	return raw{conn, t, warden.NewReader(conn, 0)}
}

func (c raw) say(words string) {
	c.t.Helper()
	_, err := c.Write([]byte(words))
	require.NoError(c.t, err)
}

func (c raw) ask(kind wardenpb.Message_Type, req proto.Message) {
	c.t.Helper()
	require.NoError(c.t, warden.Write(c, kind, req))
}

// hears reads the next answer, which is of a kind.
func (c raw) hears(kind wardenpb.Message_Type, into proto.Message) {
	c.t.Helper()
	m, err := c.r.Message()
	require.NoError(c.t, err)
	require.Equal(c.t, kind, m.GetType(), "%q", m.GetPayload())
	require.NoError(c.t, proto.Unmarshal(m.GetPayload(), into))
}

func (c raw) hearsError(words string) {
	c.t.Helper()
	var res wardenpb.ErrorResponse
	c.hears(wardenpb.Message_Error, &res)
	require.Contains(c.t, res.GetMessage(), words)
}

func (c raw) pings() {
	c.t.Helper()
	c.ask(wardenpb.Message_Ping, &wardenpb.PingRequest{})
	c.hears(wardenpb.Message_Ping, &wardenpb.PingResponse{})
}

// isClosed: it may have been closed with something unread, which the kernel tells as a reset.
func (c raw) isClosed() {
	c.t.Helper()
	_, err := c.Read(make([]byte, 1))
	require.Error(c.t, err)
	var timeout net.Error
	require.False(c.t, errors.As(err, &timeout) && timeout.Timeout(), "%v", err)
}

func connections(s *Server) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

const pingFrame = "4\r\n\x08\x5b\x12\x00\r\n"

func TestLostBoundary(t *testing.T) {
	s, socket := start(t, 1000)
	for name, c := range map[string]struct{ words, answer string }{
		"10^30":               {"1" + strings.Repeat("0", 30) + "\r\n", "more than 19 digits"},
		"10^18":               {"1" + strings.Repeat("0", 18) + "\r\nx", "more than the 1000"},
		"2^63":                {"9223372036854775808\r\n", "more than the 1000"},
		"one over the limit":  {"1001\r\n" + strings.Repeat("x", 1001) + "\r\n", "1001 bytes are more than the 1000"},
		"negative":            {"-4\r\n\x08\x5b\x12\x00\r\n", "not a decimal number"},
		"plus":                {"+4\r\n\x08\x5b\x12\x00\r\n", "not a decimal number"},
		"blank before":        {" 4\r\n\x08\x5b\x12\x00\r\n", "not a decimal number"},
		"blank behind":        {"4 \r\n\x08\x5b\x12\x00\r\n", "not a decimal number"},
		"zeros without end":   {strings.Repeat("0", 100), "more than 19 digits"},
		"no length":           {"\r\n" + pingFrame, "not a decimal number"},
		"CR without LF":       {"4\r\x08\x5b\x12\x00\r\n", "does not end in CRLF"},
		"LF without CR":       {"4\n\x08\x5b\x12\x00\r\n", "not a decimal number"},
		"longer than it says": {"3\r\n\x08\x5b\x12\x00\r\n", "no CRLF after 3 bytes"},
		"LF behind":           {"4\r\n\x08\x5b\x12\x00\n\n", "no CRLF after 4 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, socket)
			conn.say(pingFrame + c.words)
			conn.hears(wardenpb.Message_Ping, &wardenpb.PingResponse{})
			conn.hearsError("bad frame: ")
			conn.isClosed()
			again := dial(t, socket)
			again.say(c.words)
			again.hearsError(c.answer)
		})
	}
	require.Eventually(t, func() bool { return connections(s) == 0 }, 10*time.Second, time.Millisecond)
}

func TestBadMessageInAGoodFrame(t *testing.T) {
	_, socket := start(t, 1000)
	conn := dial(t, socket)
	for name, c := range map[string]struct{ words, answer string }{
		"empty":                  {"0\r\n\r\n", "no type"},
		"garbage":                {"3\r\n\xff\xff\xff\r\n", "not a message"},
		"no payload":             {"2\r\n\x08\x5b\r\n", "no payload"},
		"unknown type":           {"4\r\n\x08\x4d\x12\x00\r\n", "unknown message type 77"},
		"an answer's type":       {"4\r\n\x08\x01\x12\x00\r\n", "unknown message type 1"},
		"garbage within":         {"5\r\n\x08\x5d\x12\x01\xff\r\n", "bad Echo request"},
		"missing field":          {"4\r\n\x08\x5d\x12\x00\r\n", "message"},
		"missing field in field": {"8\r\n\x08\x0b\x12\x04\x0a\x02\x0a\x00\r\n", "bad Create request"},
	} {
		t.Run(name, func(t *testing.T) {
			conn.t = t
			conn.say(c.words)
			conn.hearsError(c.answer)
			conn.pings()
		})
	}
	conn.t = t
	conn.say("0000000000000000004\r\n\x08\x5b\x12\x00\r\n")
	conn.hears(wardenpb.Message_Ping, &wardenpb.PingResponse{})
}

// TestHalfAMessage of each length, and then the end, or its client's end, or nothing.
func TestHalfAMessage(t *testing.T) {
	s, socket := start(t, 1000)
	whole := "8\r\n\x08\x5d\x12\x04\x0a\x02hi\r\n"
	silent := 0
	for i := 1; i < len(whole); i++ {
		half := dial(t, socket)
		half.say(whole[:i])
		require.NoError(t, half.CloseWrite())
		half.hearsError("bad frame: ")
		half.isClosed()

		gone := dial(t, socket)
		gone.say(whole[:i])
		require.NoError(t, gone.Close())

		dial(t, socket).say(whole[:i])
		silent++
	}
	require.Eventually(t, func() bool { return connections(s) == silent }, 10*time.Second, time.Millisecond)
	dial(t, socket).pings()
	s.Shutdown(t.Context()) // waits for none of them
	require.Zero(t, connections(s))
}

// TestHalfClosed: one who has nothing more to ask still wants the answer.
func TestHalfClosed(t *testing.T) {
	s, socket := start(t, 0)
	c := client(t, socket)
	created, err := c.Create(t.Context(), &wardenpb.CreateRequest{})
	require.NoError(t, err)
	conn := dial(t, socket)
	conn.ask(wardenpb.Message_Run, &wardenpb.RunRequest{Handle: created.Handle, Script: proto.String("while [ ! -e go ]; do sleep 0.01; done; exit 7")})
	conn.ask(wardenpb.Message_Ping, &wardenpb.PingRequest{})
	require.NoError(t, conn.CloseWrite())
	// Longer than a connection takes to look whether its client has gone.
	deadline := time.After(2 * hangupCheck)
	<-deadline
	_, err = c.Run(t.Context(), &wardenpb.RunRequest{Handle: created.Handle, Script: proto.String("touch go")})
	require.NoError(t, err)
	var res wardenpb.RunResponse
	conn.hears(wardenpb.Message_Run, &res)
	require.EqualValues(t, 7, res.GetExitStatus())
	conn.hears(wardenpb.Message_Ping, &wardenpb.PingResponse{})
	_, err = conn.r.Message()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return connections(s) == 0 }, 10*time.Second, time.Millisecond)
}

// TestWhoHasGoneTakesNothing: however it goes, and whatever it has said before.
func TestWhoHasGoneTakesNothing(t *testing.T) {
	s, socket := start(t, 0)
	c := client(t, socket)
	created, err := c.Create(t.Context(), &wardenpb.CreateRequest{})
	require.NoError(t, err)
	for name, goes := range map[string]func(raw){
		"closed":              func(conn raw) { _ = conn.Close() },
		"both halves":         func(conn raw) { _, _ = conn.CloseWrite(), conn.CloseRead() },
		"half, then closed":   func(conn raw) { _, _ = conn.CloseWrite(), conn.Close() },
		"half, later closed":  func(conn raw) { _ = conn.CloseWrite(); <-time.After(2 * hangupCheck); _ = conn.Close() },
		"with more to say":    func(conn raw) { conn.say(pingFrame + "5\r\nhe"); _ = conn.Close() },
		"after garbage":       func(conn raw) { conn.say("garbage"); _ = conn.Close() },
		"does not read":       func(conn raw) { _ = conn.CloseRead() },
		"garbage, reads none": func(conn raw) { conn.say("garbage"); _ = conn.CloseRead() },
	} {
		for _, kind := range []wardenpb.Message_Type{wardenpb.Message_Link, wardenpb.Message_Stream} {
			t.Run(name+" "+kind.String(), func(t *testing.T) {
				spawned, err := c.Spawn(t.Context(), &wardenpb.SpawnRequest{Handle: created.Handle, Script: proto.String("while [ ! -e go ]; do sleep 0.01; done; rm go; exit 7")})
				require.NoError(t, err)
				conn := dial(t, socket)
				conn.ask(kind, &wardenpb.LinkRequest{Handle: created.Handle, JobId: spawned.JobId}) // Stream's fields are the same
				dial(t, socket).pings()
				goes(conn)
				_, err = c.Run(t.Context(), &wardenpb.RunRequest{Handle: created.Handle, Script: proto.String("touch go; while [ -e go ]; do sleep 0.01; done")})
				require.NoError(t, err)
				link, err := c.Link(t.Context(), &wardenpb.LinkRequest{Handle: created.Handle, JobId: spawned.JobId})
				require.NoError(t, err)
				require.EqualValues(t, 7, link.GetExitStatus())
				_, err = c.Link(t.Context(), &wardenpb.LinkRequest{Handle: created.Handle, JobId: spawned.JobId})
				require.ErrorIs(t, err, warden.ErrNoSuchJob)
			})
		}
	}
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return connections(s) == 0 }, 10*time.Second, time.Millisecond)
}
