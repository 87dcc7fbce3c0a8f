package applog

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOnTheWire(t *testing.T) {
	records := []Record{
		{Time: time.Unix(1000, 5).UTC(), Stream: Stdout, Text: "a line"},
		{Time: time.Unix(1001, 0).UTC(), Stream: Stderr, Text: strings.Repeat("\xff\x00", MaxLine/2), Partial: true, Skipped: 7},
		{Time: time.Unix(1002, 0).UTC(), Stream: Stdout, Text: strings.Repeat("<", MaxLine)},
	}
	at := Position{Stdout: Mark{1, 2, 3}}
	wire, err := Append(nil, records)
	require.NoError(t, err)
	wire, err = AppendPosition(wire, at)
	require.NoError(t, err)
	d := NewDecoder(bytes.NewReader(wire))
	for _, want := range records {
		got, err := d.Next()
		require.NoError(t, err)
		require.Nil(t, got.Position)
		require.Equal(t, want, got.Record)
	}
	got, err := d.Next()
	require.NoError(t, err)
	require.Equal(t, &at, got.Position)
	_, err = d.Next()
	require.ErrorIs(t, err, io.EOF)

	_, err = NewDecoder(bytes.NewReader(wire[:20])).Next()
	require.ErrorIs(t, err, ErrTorn)
	_, err = NewDecoder(strings.NewReader("<html>\n")).Next()
	require.ErrorIs(t, err, ErrTorn)
	_, err = NewDecoder(strings.NewReader(strings.Repeat("x", 2*maxWireLine))).Next()
	require.Error(t, err)
}
