package applog

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestStreamsAreMergedByTime(t *testing.T) {
	h := newHome(t)
	h.say(Stdout, "one\ntwo\n")
	h.say(Stderr, "three\n")
	h.say(Stdout, "four\r\n")
	h.say(Stderr, "five\n")
	r := h.reader(Position{})
	h.requireNext(r, "1001 stdout one", "1001 stdout two", "1002 stderr three", "1003 stdout four", "1004 stderr five")
	h.requireNext(r)
	h.say(Stdout, "six\n")
	h.requireNext(r, "1005 stdout six")
}

// A line is as old as its end: only then can it be read.
func TestALineHasTheTimeOfItsEnd(t *testing.T) {
	h := newHome(t)
	r := h.reader(Position{})
	h.say(Stdout, "wait")
	h.requireNext(r)
	require.Equal(t, []string{"1001 stdout wait..."}, texts(r.Rest()))
	h.say(Stdout, "ing\n")
	h.requireNext(r, "1002 stdout waiting")
	require.Empty(t, r.Rest())
}

// Whatever the place at which a reader stops: the next one goes on behind it.
func TestEveryPositionCanBeGoneOnFrom(t *testing.T) {
	h := newHome(t)
	for n := range 20 {
		h.say([]string{Stdout, Stderr}[n%3%2], strings.Repeat("x", n)+"\ny\n")
		if n == 9 {
			h.rotate(Stdout)
		}
		if n == 12 {
			h.rotate(Stderr)
		}
	}
	all, err := h.reader(Position{}).Read(1000)
	require.NoError(t, err)
	require.Len(t, all, 40)
	for n, record := range all {
		kept, err := json.Marshal(record.Next)
		require.NoError(t, err)
		var position Position
		require.NoError(t, json.Unmarshal(kept, &position))
		rest, err := h.reader(position).Read(1000)
		require.NoError(t, err)
		require.Equal(t, texts(all[n+1:]), texts(rest))
	}
}

func TestRotationIsFollowed(t *testing.T) {
	h := newHome(t)
	r := h.reader(Position{})
	h.say(Stdout, "one\n")
	h.requireNext(r, "1001 stdout one")
	h.say(Stdout, "two\n")
	h.rotate(Stdout)
	h.requireNext(r, "1002 stdout two")
	h.say(Stdout, "three\n")
	h.requireNext(r, "1003 stdout three")
	for range 5 {
		h.rotate(Stdout)
		h.say(Stdout, "more\n")
		h.rotate(Stdout)
		h.say(Stdout, "and more\n")
		got, _ := h.read(r)
		require.Len(t, got, 2, "a file back is kept")
	}
}

// A line that the launcher could not keep in one file comes in parts.
func TestALineThatIsTornByRotation(t *testing.T) {
	h := newHome(t)
	h.say(Stdout, "to")
	h.rotate(Stdout)
	h.say(Stdout, "rn\n")
	h.requireNext(h.reader(Position{}), "1001 stdout to...", "1002 stdout rn")
}

func TestWhatIsMissingIsCounted(t *testing.T) {
	h := newHome(t)
	r := h.reader(Position{})
	h.say(Stdout, "one\n")
	h.requireNext(r, "1001 stdout one")
	position := r.Position()
	h.say(Stdout, "lost\n")
	h.rotate(Stdout)
	h.say(Stdout, "lost too\n")
	h.rotate(Stdout)
	h.say(Stdout, "there\n")
	h.rotate(Stdout)
	h.say(Stdout, "now\n")
	h.say(Stderr, "beside\n")
	want := []string{"(14) 1004 stdout there", "1005 stdout now", "1006 stderr beside"}
	h.requireNext(r, want...)
	h.requireNext(h.reader(position), want...)
	h.requireNext(h.reader(r.Position()))
}

func TestWithoutTimes(t *testing.T) {
	h := newHome(t)
	h.timeless = true
	h.say(Stdout, "one\ntwo\n")
	h.say(Stderr, "three\n")
	r := h.reader(Position{})
	records, err := r.Read(100)
	require.NoError(t, err)
	require.Len(t, records, 3)
	for _, record := range records {
		info, err := os.Stat(h.path(record.Stream))
		require.NoError(t, err)
		require.WithinDuration(t, info.ModTime(), record.Time, 0, "the time at which the file was written to")
	}
	h.rotate(Stdout)
	h.say(Stdout, "four\n")
	records, err = r.Read(100)
	require.NoError(t, err)
	require.Equal(t, "four", records[0].Text)
	require.Zero(t, records[0].Skipped)
	h.rotate(Stdout)
	h.say(Stdout, "five\n")
	h.rotate(Stdout)
	h.say(Stdout, "six\n")
	again, err := h.reader(records[0].Next).Read(100)
	require.NoError(t, err)
	require.Len(t, again, 2)
	require.EqualValues(t, UnknownSkip, again[0].Skipped, "something may be missing")
}

func TestTruncationIsFollowed(t *testing.T) {
	for _, timeless := range []bool{false, true} {
		h := newHome(t)
		h.timeless = timeless
		r := h.reader(Position{})
		h.say(Stdout, "a first line of some length\n")
		got, _ := h.read(r)
		require.Len(t, got, 1)
		require.NoError(t, os.Truncate(h.path(Stdout), 0))
		got, _ = h.read(r)
		require.Empty(t, got)
		h.say(Stdout, "anew\n")
		got, _ = h.read(r)
		require.Len(t, got, 1)
		require.Contains(t, got[0], "stdout anew")
		if timeless {
			continue // by the size alone it cannot be seen
		}
		require.NoError(t, os.Truncate(h.path(Stdout), 0))
		h.say(Stdout, "a line that is longer than all before it, which was emptied and filled between two looks\n")
		got, _ = h.read(r)
		require.Len(t, got, 1)
		require.Contains(t, got[0], "stdout a line that")
	}
}

func TestLongLinesComeInParts(t *testing.T) {
	h := newHome(t)
	whole, long := strings.Repeat("w", MaxLine), strings.Repeat("ä", MaxLine)
	h.say(Stdout, whole+"\n"+"x"+long+"\nend\n")
	r := h.reader(Position{})
	var records []Record
	for len(records) < 5 {
		more, err := r.Read(100)
		require.NoError(t, err)
		require.NotEmpty(t, more)
		require.Less(t, Size(more), int64(MaxRead+MaxLine+100), "a thousand are read at once")
		records = append(records, more...)
	}
	require.Len(t, records, 5)
	require.Equal(t, whole, records[0].Text)
	require.False(t, records[0].Partial)
	text := ""
	for n, r := range records[1:4] {
		require.LessOrEqual(t, len(r.Text), MaxLine)
		require.True(t, utf8.ValidString(r.Text), "no character is torn")
		require.Equal(t, n < 2, r.Partial)
		text += r.Text
	}
	require.Equal(t, "x"+long, text)
	require.Equal(t, "end", records[4].Text)
}

// What an instance said last is read when its directory is gone, also what has no line's end.
func TestTheEnd(t *testing.T) {
	h := newHome(t)
	r := h.reader(Position{})
	h.say(Stdout, "one\n")
	h.say(Stderr, "two\n")
	h.requireNext(r, "1001 stdout one", "1002 stderr two")
	h.say(Stdout, "last words")
	h.say(Stderr, "and why\n")
	require.NoError(t, os.RemoveAll(h.dir))
	got, end := h.read(r)
	require.True(t, end)
	require.Equal(t, []string{"1003 stdout last words", "1004 stderr and why"}, got)
	_, err := r.Read(1)
	require.ErrorIs(t, err, io.EOF)
	_, err = h.reader(r.Position()).Read(1)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Another directory of the same name is another instance's.
func TestAnotherDirectoryIsNotGoneOnTo(t *testing.T) {
	h := newHome(t)
	h.say(Stdout, "one\n")
	r := h.reader(Position{})
	h.requireNext(r, "1001 stdout one")
	require.NoError(t, os.Rename(h.dir, h.dir+".old"))
	require.NoError(t, os.MkdirAll(filepath.Join(h.dir, "logs"), 0o700))
	h.say(Stdout, "another's\n")
	got, end := h.read(r)
	require.True(t, end)
	require.Empty(t, got)
}

func TestWhatIsKeptEndsWithItsFiles(t *testing.T) {
	h := newHome(t)
	h.say(Stdout, "before\n")
	h.rotate(Stdout)
	h.say(Stdout, "one\nlast")
	place := h.place()
	place.Over = true
	r := New(place, Position{})
	defer r.Close()
	got, end := h.read(r)
	require.True(t, end)
	require.Equal(t, []string{"1001 stdout before", "1002 stdout one", "1002 stdout last"}, got)
}

func TestRecordsInJSON(t *testing.T) {
	for text, want := range map[string]string{
		"plain <b>\x00": `{"time":"1970-01-01T00:16:41Z","stream":"stdout","text":"plain \u003cb\u003e\u0000"}`,
		"odd \xff":      `{"time":"1970-01-01T00:16:41Z","stream":"stdout","text":"odd ` + "\uFFFD" + `","raw":"b2RkIP8="}`,
	} {
		h := newHome(t)
		h.say(Stdout, text+"\n")
		records, err := h.reader(Position{}).Read(1)
		require.NoError(t, err)
		record := records[0]
		record.Time = record.Time.UTC()
		wire, err := json.Marshal(record)
		require.NoError(t, err)
		require.Equal(t, want, string(wire))
		var back Record
		require.NoError(t, json.Unmarshal(wire, &back))
		record.Next = Position{}
		require.Equal(t, record, back)
	}
}

// TestTheRestIsNoLine: where not all lines were read, there is no rest yet.
func TestTheRestIsNoLine(t *testing.T) {
	h := newHome(t)
	h.say(Stdout, strings.Repeat("x\n", maxMade)+"y\nz\nbegun")
	r := h.reader(Position{})
	records, err := r.Read(maxMade)
	require.NoError(t, err)
	require.Len(t, records, maxMade)
	require.Empty(t, texts(r.Rest()))
	h.requireNext(r, "1001 stdout y", "1001 stdout z")
	require.Equal(t, []string{"1001 stdout begun..."}, texts(r.Rest()))
}
