package size_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/starter/internal/size"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]size.MB{
		"256M": 256, "256MB": 256, "1G": 1024, "2gb": 2048, "1m": 1,
	} {
		got, err := size.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

func TestParseTrims(t *testing.T) {
	got, err := size.Parse(" 1T ")
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, got)
}

func TestParseRefuses(t *testing.T) {
	for text, words := range map[string]string{
		"":                      "is no size",
		"256":                   "write 256M or 256G",
		"M":                     "is no size",
		"0M":                    "is no size",
		"-1G":                   "is no size",
		"1.5G":                  "is no size",
		"12K":                   "is no size",
		"1GM":                   "is no size",
		"G1":                    "is no size",
		"9223372036854775807T":  "too large",
		"99999999999999999999M": "is no size",
	} {
		_, err := size.Parse(text)
		require.ErrorContains(t, err, words, text)
	}
}

func TestStringIsWhatParseReads(t *testing.T) {
	for _, m := range []size.MB{1, 256, 1024, 1536, 1 << 20, 3 << 20} {
		again, err := size.Parse(m.String())
		require.NoError(t, err)
		require.Equal(t, m, again)
	}
}

func TestBytes(t *testing.T) {
	require.Equal(t, "0 B", size.Bytes(0))
	require.Equal(t, "1023 B", size.Bytes(1023))
	require.Equal(t, "1.0 KB", size.Bytes(1024))
	require.Equal(t, "12.5 MB", size.Bytes(12*1024*1024+512*1024))
}

func FuzzParse(f *testing.F) {
	f.Add("1G")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := size.Parse(text); err == nil {
			require.Positive(t, int64(m))
		}
	})
}
