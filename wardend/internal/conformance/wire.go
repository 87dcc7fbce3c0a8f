package conformance

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func frame(payload []byte) []byte {
	return fmt.Appendf(nil, "%d\r\n%s\r\n", len(payload), payload)
}

func envelope(t testing.TB, number int32, inner []byte) []byte {
	t.Helper()
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(number))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendBytes(b, inner)
}

func testFraming(t *testing.T, s Suite) {
	f := s.fixture(t)
	t.Run("the boundary is lost: an Error, and the connection is closed", func(t *testing.T) {
		for name, bytes := range map[string]string{
			"no number":        "abc\r\n",
			"negative":         "-1\r\n",
			"no end of length": "123456789012345678901234567890",
			"too long":         "999999999999\r\n",
			"no CRLF after":    "2\r\nabcd",
			"lone LF":          "2\nab\r\n",
		} {
			t.Run(name, func(t *testing.T) {
				conn := f.dial()
				_, err := conn.Write([]byte(bytes))
				require.NoError(t, err)
				assert.Contains(t, conn.receiveError(), "bad frame")
				_, err = conn.Read(make([]byte, 1))
				require.Error(t, err)
			})
		}
	})
	t.Run("truncated", func(t *testing.T) {
		conn := f.dial()
		_, err := conn.Write([]byte("100\r\nabc"))
		require.NoError(t, err)
		require.NoError(t, conn.CloseWrite())
		assert.Contains(t, conn.receiveError(), "bad frame")
	})
	t.Run("a bad message in a good frame: an Error, and the connection goes on", func(t *testing.T) {
		conn := f.dial()
		empty := []byte{}
		for name, bad := range map[string]struct {
			frame   []byte
			message string
		}{
			"garbage":       {frame([]byte("\xff\xff\xff")), "not a message"},
			"empty":         {frame(nil), "no type"},
			"no payload":    {frame([]byte{0x08, 91}), "no payload"},
			"unknown type":  {frame(envelope(t, 77, empty)), "unknown message type 77"},
			"error type":    {frame(envelope(t, 1, empty)), "unknown message type 1"},
			"missing field": {frame(envelope(t, 13, empty)), "handle"},
			"bad payload":   {frame(envelope(t, 93, []byte{0xff})), "bad Echo request"},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := conn.Write(bad.frame)
				require.NoError(t, err)
				assert.Contains(t, conn.receiveError(), bad.message)
				conn.send(wardenpb.Message_Ping, &wardenpb.PingRequest{})
				conn.receive(wardenpb.Message_Ping, &wardenpb.PingResponse{})
			})
		}
	})
	t.Run("unknown fields are ignored", func(t *testing.T) {
		conn := f.dial()
		inner, err := proto.Marshal(&wardenpb.EchoRequest{Message: proto.String("x")})
		require.NoError(t, err)
		inner = protowire.AppendVarint(protowire.AppendTag(inner, 999, protowire.VarintType), 5)
		_, err = conn.Write(frame(envelope(t, 93, inner)))
		require.NoError(t, err)
		var res wardenpb.EchoResponse
		conn.receive(wardenpb.Message_Echo, &res)
		assert.Equal(t, "x", res.GetMessage())
	})
	t.Run("split writes", func(t *testing.T) {
		conn := f.dial()
		var b bytes.Buffer
		require.NoError(t, warden.Write(&b, wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: proto.String("slow")}))
		for _, c := range b.Bytes() {
			_, err := conn.Write([]byte{c})
			require.NoError(t, err)
		}
		var res wardenpb.EchoResponse
		conn.receive(wardenpb.Message_Echo, &res)
		assert.Equal(t, "slow", res.GetMessage())
	})
	t.Run("several requests in one write", func(t *testing.T) {
		conn := f.dial()
		var b bytes.Buffer
		for i := range 200 {
			require.NoError(t, warden.Write(&b, wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: proto.String(fmt.Sprint(i))}))
		}
		_, err := conn.Write(b.Bytes())
		require.NoError(t, err)
		// The answers come although the client says that it will send no more.
		require.NoError(t, conn.CloseWrite())
		for i := range 200 {
			var res wardenpb.EchoResponse
			conn.receive(wardenpb.Message_Echo, &res)
			assert.Equal(t, fmt.Sprint(i), res.GetMessage())
		}
		_, err = conn.r.Message()
		require.ErrorIs(t, err, io.EOF)
	})
}

// testOrder: a Run that blocks holds what comes after it on its connection, and nothing else.
func testOrder(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	conn := f.dial()
	conn.send(wardenpb.Message_Run, &wardenpb.RunRequest{Handle: &h, Script: proto.String("while [ ! -e go ]; do sleep 0.01; done; echo ran")})
	conn.send(wardenpb.Message_Ping, &wardenpb.PingRequest{})
	answered := make(chan wardenpb.Message_Type, 2)
	go func() {
		for range 2 {
			m, err := conn.r.Message()
			if err != nil {
				close(answered)
				return
			}
			answered <- m.GetType()
		}
	}()
	_, err := f.c.Ping(f.ctx, &wardenpb.PingRequest{})
	require.NoError(t, err)
	require.Empty(t, f.out(h, "true"), "another connection goes on")
	select {
	case a := <-answered:
		require.Fail(t, "answered out of order", a)
	default:
	}
	f.out(h, "touch go")
	require.Equal(t, wardenpb.Message_Run, <-answered)
	require.Equal(t, wardenpb.Message_Ping, <-answered)
}

func testSimple(t *testing.T, s Suite) {
	f := s.fixture(t)
	_, err := f.c.Ping(f.ctx, &wardenpb.PingRequest{})
	require.NoError(t, err)
	for _, message := range []string{"", "hello", "\x00\xff not UTF-8", string(make([]byte, 3<<20))} {
		res, err := f.c.Echo(f.ctx, &wardenpb.EchoRequest{Message: &message})
		require.NoError(t, err)
		require.Equal(t, message, res.GetMessage())
	}
	require.Empty(t, f.list())
	first, second := f.create(), f.create()
	require.Equal(t, []string{first, second}, f.list())

	start := time.Now()
	for range 100 {
		_, err := f.c.Ping(f.ctx, &wardenpb.PingRequest{})
		require.NoError(t, err)
	}
	require.Less(t, time.Since(start), 5*time.Second)
}
