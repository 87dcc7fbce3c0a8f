package warden

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// FuzzReader: whatever comes in, and in whatever pieces, it ends in an error or a message, takes no more memory than
// has come, and a message is one that can be written again.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"", "0\r\n\r\n", "5\r\nhello\r\n", "99999999999\r\n", "4\r\n\x08\x5b\x12\x00\r\n", "8\r\n\x08\x5d\x12\x04\x0a\x02hi\r\n",
		"4\r\n\x08\x4d\x12\x00\r\n4\r\n\x08\x5b\x12\x00\r\n", "6\r\n\x08\x0d\x12\x02\x0a\x00\r\n", "0000000000000000004\r\n\x08\x5b\x12\x00\r\n",
		"-1\r\n", "+1\r\nx\r\n", "1\rx", "1\r\nxyz", "1000000\r\nx",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := readAll(t, bytes.NewReader(in), len(in))
		require.Equal(t, whole, readAll(t, iotest.OneByteReader(bytes.NewReader(in)), len(in)), "pieces make no difference")
	})
}

// readAll answers what was read, and why it ended.
func readAll(t *testing.T, in io.Reader, arrives int) (said []string) {
	t.Helper()
	r := NewReader(in, 1<<20)
	reserved := 0
	r.Reserve(func(n int) error {
		reserved += n
		return nil
	})
	defer func() { require.LessOrEqual(t, reserved, arrives) }()
	for {
		m, err := r.Message()
		var badFrame *FrameError
		var badMessage *MessageError
		switch {
		case errors.As(err, &badMessage):
			said = append(said, badMessage.Reason)
			continue
		case err != nil:
			require.True(t, errors.Is(err, io.EOF) || errors.As(err, &badFrame), "%v", err)
			return append(said, err.Error())
		}
		roundTrip(t, m)
		said = append(said, m.GetType().String()+string(m.GetPayload()))
	}
}

// roundTrip: what can be decoded is the same after it was written and read again, and has all that is required.
func roundTrip(t *testing.T, m *wardenpb.Message) {
	t.Helper()
	req, err := DecodeRequest(m)
	if err != nil {
		var bad *MessageError
		require.ErrorAs(t, err, &bad)
		require.Nil(t, req)
		return
	}
	require.NoError(t, proto.CheckInitialized(req))
	var b bytes.Buffer
	require.NoError(t, Write(&b, m.GetType(), req))
	again, err := NewReader(&b, 0).Message()
	require.NoError(t, err)
	require.Equal(t, m.GetType(), again.GetType())
	decoded, err := DecodeRequest(again)
	require.NoError(t, err)
	require.True(t, proto.Equal(req, decoded))
}

// FuzzDecodeRequest: the decoder of every type, those that there are not included.
func FuzzDecodeRequest(f *testing.F) {
	types := wardenpb.Message_Type(0).Descriptor().Values()
	for i := range types.Len() {
		number := int32(types.Get(i).Number())
		f.Add(number, []byte{})
		f.Add(number, []byte("\x0a\x01h"))
		// A field of each wire type behind a handle; what a request has none of is an unknown one.
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "h")
		b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), 1<<63)
		b = protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), "\xff")
		b = protowire.AppendFixed64(protowire.AppendTag(b, 4, protowire.Fixed64Type), 1)
		f.Add(number, b)
	}
	f.Add(int32(-1), []byte("x"))
	f.Fuzz(func(t *testing.T, number int32, payload []byte) {
		kind := wardenpb.Message_Type(number)
		roundTrip(t, &wardenpb.Message{Type: &kind, Payload: payload})
	})
}

// FuzzWrite: frames of any content follow each other whole.
func FuzzWrite(f *testing.F) {
	f.Add("", "\r\n", uint8(1))
	f.Add("5\r\nhello\r\n", "\xff\x00", uint8(9))
	f.Fuzz(func(t *testing.T, first, second string, times uint8) {
		times %= 8
		var b bytes.Buffer
		for range times {
			require.NoError(t, Write(&b, wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: &first}))
			require.NoError(t, Write(&b, wardenpb.Message_Spawn, &wardenpb.SpawnRequest{Handle: &first, Script: &second}))
		}
		r := NewReader(&b, 0)
		for range times {
			m, err := r.Message()
			require.NoError(t, err)
			req, err := DecodeRequest(m)
			require.NoError(t, err)
			require.True(t, proto.Equal(&wardenpb.EchoRequest{Message: &first}, req))
			m, err = r.Message()
			require.NoError(t, err)
			req, err = DecodeRequest(m)
			require.NoError(t, err)
			require.True(t, proto.Equal(&wardenpb.SpawnRequest{Handle: &first, Script: &second}, req))
		}
		_, err := r.Message()
		require.Equal(t, io.EOF, err)
		require.False(t, r.Buffered())
	})
}
