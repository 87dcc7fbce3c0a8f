package server

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// heap is what is in use, when nothing can be freed any more.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse + stats.StackInuse)
}

// TestSilentConnections: a thousand that say nothing cost little, a length that nothing follows costs little more, and
// none of them keeps another waiting, or the server from ending.
func TestSilentConnections(t *testing.T) {
	for name, c := range map[string]struct {
		words string
		cost  int64 // of one, with the client's own side, which is in this process, too
	}{
		"nothing":                   {"", 48 << 10},
		"the longest message":       {fmt.Sprintf("%d\r\n", warden.DefaultMaxMessage), 160 << 10},
		"some of it":                {fmt.Sprintf("%d\r\n", warden.DefaultMaxMessage) + strings.Repeat("x", 1000), 160 << 10},
		"half of a short message's": {"100\r\n" + strings.Repeat("x", 50), 48 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			s, socket := start(t, 0)
			const many = 1000
			before := heap()
			for range many {
				dial(t, socket).say(c.words)
			}
			require.Eventually(t, func() bool { return connections(s) == many }, 10*time.Second, time.Millisecond)
			for range 100 {
				dial(t, socket).pings() // after these, what was said before has been read
			}
			cost := (heap() - before) / many
			t.Logf("%d bytes each", cost)
			require.Less(t, cost, c.cost)
			require.Equal(t, int64(roomFor*warden.DefaultMaxMessage), s.room.left.Load(), "they keep no room from others")
			begin := time.Now()
			s.Shutdown(t.Context())
			require.Less(t, time.Since(begin), 5*time.Second)
		})
	}
}

// TestRoomOfAllConnections: clients that send most of a long message and stop cannot take more than there is, nor keep
// others from asking; and all of it comes back.
func TestRoomOfAllConnections(t *testing.T) {
	const longest = 1 << 20
	s, socket := start(t, longest)
	refused := 0
	var conns []raw
	for range 4 * roomFor {
		conn := dial(t, socket)
		conns = append(conns, conn)
		// What is left of it when it is refused may not find anybody to read it.
		_, _ = io.WriteString(conn, fmt.Sprintf("%d\r\n", longest)+strings.Repeat("x", longest-1))
		require.GreaterOrEqual(t, s.room.left.Load(), int64(0))
	}
	for _, conn := range conns {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		if m, err := conn.r.Message(); err == nil {
			require.Equal(t, wardenpb.Message_Error, m.GetType())
			require.Contains(t, string(m.GetPayload()), "try again")
			refused++
		}
	}
	require.GreaterOrEqual(t, refused, 3*roomFor-1)
	require.Less(t, refused, 4*roomFor, "some have found room")

	short := strings.Repeat("s", 60<<10)
	conn := dial(t, socket)
	conn.ask(wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: &short})
	conn.hears(wardenpb.Message_Echo, &wardenpb.EchoResponse{})
	for _, conn := range conns {
		_ = conn.Close()
	}
	require.Eventually(t, func() bool { return s.room.left.Load() == roomFor*longest }, 10*time.Second, time.Millisecond)
	long := strings.Repeat("l", longest-100)
	for range 3 * roomFor {
		conn.ask(wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: &long})
		conn.hears(wardenpb.Message_Echo, &wardenpb.EchoResponse{})
	}
}

// TestReadAheadIsBounded in bytes: what comes after a request that runs stays in the socket, and is answered in order.
func TestReadAheadIsBounded(t *testing.T) {
	const size, many = 100 << 10, 40
	s, socket := start(t, 0)
	c := client(t, socket)
	created, err := c.Create(t.Context(), &wardenpb.CreateRequest{})
	require.NoError(t, err)
	conn := dial(t, socket)
	conn.ask(wardenpb.Message_Run, &wardenpb.RunRequest{Handle: created.Handle, Script: proto.String("while [ ! -e go ]; do sleep 0.01; done")})
	sent := make(chan error, 1)
	message := func(i int) *string { return proto.String(fmt.Sprint(i) + strings.Repeat("x", size)) }
	go func() {
		for i := range many {
			if err := warden.Write(conn, wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: message(i)}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	queued := func() (most int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			most = max(most, c.queued.Load())
		}
		return most
	}
	require.Eventually(t, func() bool { return queued() > readAheadBytes }, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, queued(), int64(readAheadBytes+size+20))
	require.Positive(t, roomFor*warden.DefaultMaxMessage-s.room.left.Load(), "it is counted")
	_, err = c.Run(t.Context(), &wardenpb.RunRequest{Handle: created.Handle, Script: proto.String("touch go")})
	require.NoError(t, err)
	conn.hears(wardenpb.Message_Run, &wardenpb.RunResponse{})
	for i := range many {
		var res wardenpb.EchoResponse
		conn.hears(wardenpb.Message_Echo, &res)
		require.Equal(t, *message(i), res.GetMessage())
	}
	require.NoError(t, <-sent)
	require.Eventually(t, func() bool { return s.room.left.Load() == roomFor*warden.DefaultMaxMessage }, 10*time.Second, time.Millisecond)
}

// TestRoomComesBackUnanswered: from the messages that a client leaves behind, too.
func TestRoomComesBackUnanswered(t *testing.T) {
	s, socket := start(t, 0)
	c := client(t, socket)
	created, err := c.Create(t.Context(), &wardenpb.CreateRequest{})
	require.NoError(t, err)
	for range 5 {
		conn := dial(t, socket)
		conn.ask(wardenpb.Message_Run, &wardenpb.RunRequest{Handle: created.Handle, Script: proto.String("sleep 1000")})
		conn.ask(wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: proto.String(strings.Repeat("x", 200<<10))})
		conn.ask(wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: proto.String(strings.Repeat("x", 100<<10))})
		_, _ = io.WriteString(conn, "1000000\r\n"+strings.Repeat("x", 100<<10))
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool {
		return connections(s) == 1 && s.room.left.Load() == roomFor*warden.DefaultMaxMessage
	}, 20*time.Second, 5*time.Millisecond)
}
