package warden

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

func TestFrameIsTheProtocols(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Write(&b, wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: proto.String("hi")}))
	require.Equal(t, "8\r\n\x08\x5d\x12\x04\x0a\x02hi\r\n", b.String())
}

func TestReaderReadsWhatWasWritten(t *testing.T) {
	var b bytes.Buffer
	big := strings.Repeat("x", 3*readStep)
	require.NoError(t, Write(&b, wardenpb.Message_Ping, &wardenpb.PingRequest{}))
	require.NoError(t, Write(&b, wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: &big}))
	r := NewReader(iotest.OneByteReader(&b), 0)
	m, err := r.Message()
	require.NoError(t, err)
	require.Equal(t, wardenpb.Message_Ping, m.GetType())
	m, err = r.Message()
	require.NoError(t, err)
	req, err := DecodeRequest(m)
	require.NoError(t, err)
	echo, ok := req.(*wardenpb.EchoRequest)
	require.True(t, ok)
	require.Equal(t, big, echo.GetMessage())
	_, err = r.Message()
	require.Equal(t, io.EOF, err, "the clean end is io.EOF itself")
}

func TestReaderRefuses(t *testing.T) {
	for name, c := range map[string]struct{ in, reason string }{
		"letters":            {"x\r\n", "not a decimal number"},
		"sign":               {"+5\r\nhello\r\n", "not a decimal number"},
		"blank":              {" 5\r\nhello\r\n", "not a decimal number"},
		"no length":          {"\r\n", "not a decimal number"},
		"too many digits":    {"00000000000000000001\r\n", "not a decimal number"},
		"over the limit":     {"101\r\n", "more than the 100"},
		"far over the limit": {"9999999999999999999\r\n", "not a decimal number"},
		"CR alone":           {"5\rhello", "does not end in CRLF"},
		"no CRLF behind":     {"5\r\nhelloxx", "no CRLF after"},
		"ends in length":     {"5", "ends within its length"},
		"ends in CRLF":       {"5\r", "does not end in CRLF"},
		"ends in payload":    {"5\r\nhe", "ends before its 5 bytes"},
		"ends behind":        {"5\r\nhello\r", "ends before its last CRLF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewReader(strings.NewReader(c.in), 100).Frame()
			var bad *FrameError
			require.ErrorAs(t, err, &bad)
			require.Contains(t, err.Error(), c.reason)
			require.NotErrorIs(t, err, io.EOF)
		})
	}
}

func TestReaderTakesNoMemoryOnALengthsWord(t *testing.T) {
	in := "67108864\r\nshort"
	allocated := testing.AllocsPerRun(10, func() {
		_, _ = NewReader(strings.NewReader(in), 0).Frame()
	})
	require.Less(t, allocated, 20.0)
	result := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_, _ = NewReader(strings.NewReader(in), 0).Frame()
		}
	})
	require.Less(t, result.AllocedBytesPerOp(), int64(1<<20))
}

// FuzzReader: whatever comes in, it ends in an error or a message, and a message is one that can be written again.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"", "0\r\n\r\n", "5\r\nhello\r\n", "99999999999\r\n", "4\r\n\x08\x5b\x12\x00\r\n", "8\r\n\x08\x5d\x12\x04\x0a\x02hi\r\n",
		"4\r\n\x08\x4d\x12\x00\r\n4\r\n\x08\x5b\x12\x00\r\n", "6\r\n\x08\x0d\x12\x02\x0a\x00\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in), 1<<20)
		for {
			m, err := r.Message()
			var badFrame *FrameError
			var badMessage *MessageError
			switch {
			case errors.As(err, &badMessage):
				continue
			case err != nil:
				require.True(t, errors.Is(err, io.EOF) || errors.As(err, &badFrame), "%v", err)
				return
			}
			req, err := DecodeRequest(m)
			if err != nil {
				require.ErrorAs(t, err, &badMessage)
				continue
			}
			var b bytes.Buffer
			require.NoError(t, Write(&b, m.GetType(), req))
			again, err := NewReader(&b, 0).Message()
			require.NoError(t, err)
			decoded, err := DecodeRequest(again)
			require.NoError(t, err)
			require.True(t, proto.Equal(req, decoded))
		}
	})
}

// BenchmarkFrame is a request's way through the framing, both ways.
func BenchmarkFrame(b *testing.B) {
	var buf bytes.Buffer
	req := &wardenpb.SpawnRequest{Handle: proto.String("h"), Script: proto.String(strings.Repeat("x", 2000))}
	for b.Loop() {
		buf.Reset()
		require.NoError(b, Write(&buf, wardenpb.Message_Spawn, req))
		m, err := NewReader(&buf, 0).Message()
		require.NoError(b, err)
		_, err = DecodeRequest(m)
		require.NoError(b, err)
	}
}
