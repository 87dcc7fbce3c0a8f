package applog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// spoken is a home in which forty lines were said, with rotations in between.
func spoken(t *testing.T, timeless bool) *home {
	t.Helper()
	h := newHome(t)
	h.timeless = timeless
	for n := range 40 {
		h.say([]string{Stdout, Stderr}[n%2], fmt.Sprintf("line %d\n", n))
		if n == 20 {
			h.rotate(Stdout)
		}
	}
	return h
}

func TestRecent(t *testing.T) {
	h := spoken(t, false)
	for n := range 50 {
		r := h.reader(Position{})
		records, err := r.Recent(n)
		require.NoError(t, err)
		want := []string(nil)
		for line := max(40-n, 0); line < 40; line++ {
			want = append(want, fmt.Sprintf("%d %s line %d", 1001+line, []string{Stdout, Stderr}[line%2], line))
		}
		require.Equal(t, want, texts(records))
		h.requireNext(r)
	}
	r := h.reader(Position{})
	_, err := r.Recent(3)
	require.NoError(t, err)
	h.say(Stderr, "and on\n")
	h.requireNext(r, "1041 stderr and on")
}

func TestRecentWithoutTimes(t *testing.T) {
	h := spoken(t, true)
	records, err := h.reader(Position{}).Recent(1000)
	require.NoError(t, err)
	require.Len(t, records, 40)
}

func TestRecentOfLongLogs(t *testing.T) {
	h := newHome(t)
	line := strings.Repeat("x", 1<<20-1) + "\n"
	for range 2 * maxScan >> 20 {
		h.say(Stdout, line)
	}
	records, err := h.reader(Position{}).Recent(1000)
	require.NoError(t, err)
	size := 0
	for _, record := range records {
		size += len(record.Text)
	}
	require.Equal(t, maxScan-maxScan>>20, size, "no more is looked through, of lines whose ends are none of their text")
}

func TestSince(t *testing.T) {
	h := spoken(t, false)
	h.say(Stdout, "begun at 1041,")
	h.say(Stdout, " ended at 1042\n")
	for second, want := range map[int64]string{
		0: "line 0", 1001: "line 0", 1002: "line 1", 1020: "line 19", 1022: "line 21", 1040: "line 39", 1041: "begun at 1041, ended at 1042",
		1042: "begun at 1041, ended at 1042",
	} {
		r := h.reader(Position{})
		require.NoError(t, r.Since(time.Unix(second, 0)))
		ahead := r.Ahead()
		records, err := r.Read(100)
		require.NoError(t, err)
		require.NotEmpty(t, records, second)
		require.Equal(t, want, records[0].Text, second)
		require.Equal(t, ahead, Size(records))
		r = h.reader(Position{})
		require.NoError(t, r.Since(time.Unix(second, 0)))
		records, err = r.Recent(2)
		require.NoError(t, err)
		require.LessOrEqual(t, len(records), 2, "the last of those")
		require.Equal(t, "begun at 1041, ended at 1042", records[len(records)-1].Text)
	}
	r := h.reader(Position{})
	require.NoError(t, r.Since(time.Unix(1043, 0)))
	h.requireNext(r)
	h.say(Stdout, "later\n")
	h.requireNext(r, "1043 stdout later")
}

// Without times what was written to since then is read from its beginning.
func TestSinceWithoutTimes(t *testing.T) {
	h := spoken(t, true)
	r := h.reader(Position{})
	require.NoError(t, r.Since(time.Now().Add(-time.Hour)))
	records, err := r.Read(100)
	require.NoError(t, err)
	require.Len(t, records, 40)
	r = h.reader(Position{})
	require.NoError(t, r.Since(time.Now().Add(time.Hour)))
	h.requireNext(r)
}
