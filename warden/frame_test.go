package warden

import (
	"bytes"
	"errors"
	"io"
	"runtime"
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
		"negative":           {"-5\r\nhello\r\n", "not a decimal number"},
		"blank behind":       {"5 \r\nhello\r\n", "not a decimal number"},
		"hexadecimal":        {"0x5\r\nhello\r\n", "not a decimal number"},
		"other digits":       {"\u0665\r\nhello\r\n", "not a decimal number"},
		"too many digits":    {"00000000000000000001\r\n", "more than 19 digits"},
		"10^30":              {"1" + strings.Repeat("0", 30) + "\r\n", "more than 19 digits"},
		"over the limit":     {"101\r\n", "more than the 100"},
		"far over the limit": {"9999999999999999999\r\n", "more than the 100"},
		"LF alone":           {"5\nhello\r\n", "not a decimal number"},
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

func TestReaderTakesLeadingZeros(t *testing.T) {
	payload, err := NewReader(strings.NewReader("0000000000000000005\r\nhello\r\n"), 100).Frame()
	require.NoError(t, err)
	require.Equal(t, "hello", string(payload))
}

func TestReaderTakesNoMemoryOnALengthsWord(t *testing.T) {
	for _, came := range []int{0, 5, readStep, 10 * readStep} {
		in := "67108864\r\n" + strings.Repeat("x", came)
		const runs = 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			_, err := NewReader(strings.NewReader(in), 0).Frame()
			require.ErrorContains(t, err, "ends before its 67108864 bytes")
		}
		runtime.ReadMemStats(&after)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)/runs, uint64(2*readStep+6*came), "of %d", came)
	}
}

func TestReserve(t *testing.T) {
	var frame bytes.Buffer
	big := strings.Repeat("x", 5*readStep)
	require.NoError(t, Write(&frame, wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: &big}))
	in := frame.String()
	length := len(in) - len("327692\r\n\r\n")
	reserved := 0
	r := NewReader(strings.NewReader(in), 0)
	r.Reserve(func(n int) error {
		reserved += n
		return nil
	})
	payload, err := r.Frame()
	require.NoError(t, err)
	require.Len(t, payload, length)
	require.Equal(t, length-readStep, reserved)

	full := errors.New("full")
	r = NewReader(strings.NewReader(in), 0)
	r.Reserve(func(int) error { return full })
	_, err = r.Frame()
	require.ErrorIs(t, err, full)
	var bad *FrameError
	require.ErrorAs(t, err, &bad)
	require.ErrorContains(t, err, "bad frame: there is no room for its")
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
