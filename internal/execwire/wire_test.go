package execwire

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	var wire bytes.Buffer
	w := NewWriter(&wire)
	require.NoError(t, w.WriteJSON(Request, Command{Line: "date", Terminal: &Terminal{Name: "xterm", Size: Size{24, 80}}}))
	require.NoError(t, w.Write(StdinEnd, nil))
	require.NoError(t, w.WriteConsumed(1234))
	require.NoError(t, w.Pump(Stdout, bytes.NewReader(make([]byte, MaxChunk+1))))
	require.ErrorIs(t, w.Write(Stdout, make([]byte, MaxFrame+1)), ErrTooLarge)
	for _, want := range []struct {
		kind  Kind
		bytes int
	}{{Request, 63}, {StdinEnd, 0}, {Consumed, 4}, {Stdout, MaxChunk}, {Stdout, 1}} {
		kind, payload, err := Read(&wire)
		require.NoError(t, err)
		require.Equal(t, want.kind, kind)
		require.Len(t, payload, want.bytes, string(payload))
		if kind == Consumed {
			n, ok := ReadConsumed(payload)
			require.True(t, ok)
			require.Equal(t, 1234, n)
		}
	}
	_, _, err := Read(&wire)
	require.ErrorIs(t, err, io.EOF)
	_, _, err = Read(bytes.NewReader([]byte{'o', 0, 0, 0, 2, 1}))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, _, err = Read(bytes.NewReader([]byte{'o', 255, 255, 255, 255}))
	require.ErrorIs(t, err, ErrTooLarge)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{'o', 0, 0, 0, 1, 'x', 'x', 0, 0, 0, 0})
	f.Add([]byte{'c', 0, 0, 0, 4, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, wire []byte) {
		var again bytes.Buffer
		from, w := bytes.NewReader(wire), NewWriter(&again)
		for {
			kind, payload, err := Read(from)
			if err != nil {
				break
			}
			require.NoError(t, w.Write(kind, payload))
			if n, ok := ReadConsumed(payload); ok {
				require.LessOrEqual(t, n, Window)
			}
		}
		require.True(t, bytes.HasPrefix(wire, again.Bytes()))
	})
}

func TestCreditHoldsBackAndLetsGo(t *testing.T) {
	c := NewCredit()
	require.Equal(t, Window-1, c.Take(Window-1))
	require.Equal(t, 1, c.Take(10))
	taken := make(chan int)
	go func() { taken <- c.Take(10) }()
	select {
	case n := <-taken:
		require.Fail(t, "there was none left", "%d", n)
	default:
	}
	c.Give(3)
	require.Equal(t, 3, <-taken)
	go func() { taken <- c.Take(10) }()
	c.Close()
	require.Zero(t, <-taken)
}
