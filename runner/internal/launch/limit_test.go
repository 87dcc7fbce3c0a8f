package launch

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// teller is an app and its clock before a stream.
type teller struct {
	stream *stream
	log    bytes.Buffer
	now    time.Time
	told   int64
}

func newTeller(limit Limit) *teller {
	t := &teller{now: time.Unix(1_700_000_000, 0)}
	t.stream = newStream(&t.log, limit, t.now)
	return t
}

// say reads text as a pipe gives it: in parts, when it is long.
func (t *teller) say(text string) {
	t.told += int64(len(text))
	for len(text) > 0 {
		n := copy(t.stream.room(), text)
		t.stream.took(n, t.now)
		text = text[n:]
	}
}

// sleep lets the clock go on while nothing is said.
func (t *teller) sleep(d time.Duration) {
	for end := t.now.Add(d); t.now.Before(end); {
		at, wanted := t.stream.wake(t.now)
		if !wanted || at.After(end) {
			t.now = end
			return
		}
		t.now = at
		t.stream.idle(t.now)
	}
}

var reportForm = regexp.MustCompile(`^\[dea\] dropped (\d+) lines \((\d+) bytes\): over the limit of \d+ bytes a second\n$`)

// audit reads a log of numbered lines and requires that each is whole and that each gap is what the report there says. It
// gives the size of the lines, how much was dropped, and the number of reports.
func audit(t *testing.T, log string) (written, dropped int64, reports int) {
	t.Helper()
	next, missing := int64(0), int64(0)
	for line := range strings.Lines(log) {
		if match := reportForm.FindStringSubmatch(line); match != nil {
			lines, _ := strconv.ParseInt(match[1], 10, 64)
			size, _ := strconv.ParseInt(match[2], 10, 64)
			missing += lines
			dropped += size
			reports++
			continue
		}
		var number int64
		_, err := fmt.Sscanf(line, "%d", &number)
		require.NoError(t, err, "%.100q", line)
		require.Equal(t, numbered(number), line)
		require.Equal(t, next+missing, number, "the gap is as long as was said")
		next, missing = number+1, 0
		written += int64(len(line))
	}
	require.Zero(t, missing, "the last line is there")
	return written, dropped, reports
}

// numbered is a line of some length, always the same for a number.
func numbered(n int64) string {
	return fmt.Sprintf("%d %s\n", n, strings.Repeat("x", int(n*7919%211)))
}

func TestUnderTheLimitNothingIsChanged(t *testing.T) {
	t.Parallel()
	app := newTeller(Limit{Rate: 100_000, Burst: 200_000})
	want := ""
	for n := range int64(3000) {
		text := strings.TrimSuffix(numbered(n), "\n")
		if n%3 == 0 {
			text += "\n"
		}
		app.say(text)
		want += text
		require.Equal(t, want[max(0, len(want)-10):], app.log.String()[max(0, app.log.Len()-10):], "at once")
		app.sleep(2 * time.Millisecond)
	}
	require.Equal(t, want, app.log.String())
}

func TestALineTheLimitAllowsIsNotCut(t *testing.T) {
	t.Parallel()
	app := newTeller(Limit{Rate: 1000, Burst: 1 << 20})
	long := strings.Repeat("long ", 150_000) + "\n"
	app.say(long)
	require.Equal(t, long, app.log.String())
}

// Whatever the sizes in which lines are read, they stay whole and are counted.
func TestWhatIsOverIsDroppedByWholeLines(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		app := newTeller(Limit{Rate: int64(20_000 + random.IntN(200_000)), Burst: int64(random.IntN(400_000))})
		var text strings.Builder
		number := int64(0)
		begun := app.now
		for range 400 {
			for size := 1 + random.IntN(30_000); text.Len() < size; number++ {
				text.WriteString(numbered(number))
			}
			all := text.String()
			now := random.IntN(len(all)) + 1
			app.say(all[:now])
			text.Reset()
			text.WriteString(all[now:])
			if random.IntN(3) > 0 {
				app.sleep(time.Duration(random.IntN(100)) * time.Millisecond)
			}
		}
		app.say(text.String())
		require.LessOrEqual(t, int64(app.log.Len()), max(app.stream.limit.Burst, window)+
			int64(app.now.Sub(begun).Seconds()*float64(app.stream.limit.Rate))+2*window, "the limit")
		app.stream.finish(app.now)
		written, dropped, reports := audit(t, app.log.String())
		require.Equal(t, app.told, written+dropped, "all is written or counted")
		require.Positive(t, dropped)
		require.Less(t, reports, 400, "few reports")
	}
}

func TestALittleOverTheLimitComesLateAndWhole(t *testing.T) {
	t.Parallel()
	app := newTeller(Limit{Rate: 100_000, Burst: window})
	want := ""
	for n := range int64(900) {
		want += numbered(n)
	}
	app.say(want[:80_000])
	require.Less(t, app.log.Len(), 80_000)
	require.True(t, strings.HasSuffix(app.log.String(), "\n"), "no line is torn meanwhile")
	app.sleep(time.Second)
	require.Equal(t, want[:80_000], app.log.String())
	_, wanted := app.stream.wake(app.now)
	require.False(t, wanted, "a stream that holds nothing costs nothing")
}

// However long an app has been over the limit: its last words tell why it ended.
func TestTheLastLinesAreThere(t *testing.T) {
	t.Parallel()
	app := newTeller(Limit{Rate: 100_000, Burst: window})
	number := int64(0)
	for range 10_000 {
		app.say(numbered(number))
		number++
		app.sleep(50 * time.Microsecond)
	}
	const last = 500
	app.stream.finish(app.now)
	_, dropped, _ := audit(t, app.log.String())
	require.Positive(t, dropped)
	want := ""
	for n := number - last; n < number; n++ {
		want += numbered(n)
	}
	require.True(t, strings.HasSuffix(app.log.String(), want), "the last lines are whole and in one piece")
}

func TestDroppingIsSaidInTime(t *testing.T) {
	t.Parallel()
	app := newTeller(Limit{Rate: 4096, Burst: window})
	number := int64(0)
	said := 0
	for range 60 { // half a minute
		for range 2000 {
			app.say(numbered(number))
			number++
		}
		app.sleep(500 * time.Millisecond)
		if reports := strings.Count(app.log.String(), "[dea] dropped "); reports > said {
			said = reports
		}
	}
	require.GreaterOrEqual(t, said, 12)
	require.LessOrEqual(t, said, 20)
	app.sleep(30 * time.Second)
	before := app.log.Len()
	app.stream.finish(app.now)
	require.Equal(t, before, app.log.Len(), "all is said once the app has been quiet")
	written, dropped, _ := audit(t, app.log.String())
	require.Equal(t, app.told, written+dropped)
}

func TestALineWithoutEndIsCut(t *testing.T) {
	t.Parallel()
	app := newTeller(Limit{Rate: 100_000, Burst: window})
	app.say("before\n")
	for range 1000 {
		app.say(strings.Repeat("x", 1000))
		app.sleep(time.Millisecond)
	}
	app.say("y\nthe end\n")
	app.stream.finish(app.now)
	written, dropped := int64(0), int64(0)
	for line := range strings.Lines(app.log.String()) {
		if match := reportForm.FindStringSubmatch(line); match != nil {
			size, _ := strconv.ParseInt(match[2], 10, 64)
			dropped += size
			continue
		}
		cutEnd := strings.HasSuffix(line, cutMark+"\n")
		line = strings.TrimSuffix(line, cutMark+"\n")
		line = strings.TrimPrefix(line, cutMark)
		if !cutEnd {
			require.Regexp(t, `^(before|x*y|the end)\n$`, line)
		}
		require.NotContains(t, line, "dea", "%.100q")
		written += int64(len(line))
	}
	require.Equal(t, app.told, written+dropped)
	require.Positive(t, dropped)
	require.Contains(t, app.log.String(), "x"+cutMark+"\n[dea] dropped 0 lines (", "the log says where something is missing")
	require.Contains(t, app.log.String(), " bytes a second\n"+cutMark+"x")
	require.True(t, strings.HasSuffix(app.log.String(), "xy\nthe end\n"))
}

// A line that was begun under the limit is ended over it.
func TestABegunLineIsEnded(t *testing.T) {
	t.Parallel()
	app := newTeller(Limit{Rate: 100_000, Burst: window})
	app.say(strings.Repeat("a\n", 32<<10-3) + "begun")
	app.say(" and")
	app.say(" ended\nheld\n")
	require.True(t, strings.HasSuffix(app.log.String(), "a\nbegun and ended\n"))
	app.sleep(time.Second)
	require.True(t, strings.HasSuffix(app.log.String(), "ended\nheld\n"))
}

func TestWithoutALimitAllIsWritten(t *testing.T) {
	t.Parallel()
	app := newTeller(Limit{})
	for range 100 {
		app.say(strings.Repeat("x", 100_000))
	}
	require.Equal(t, 10_000_000, app.log.Len())
}

func TestAStreamAllocatesNothing(t *testing.T) {
	app := newTeller(Limit{Rate: 100_000, Burst: window})
	app.stream.log = io.Discard
	text := bytes.Repeat([]byte("a line of some length\n"), 1000)
	app.stream.reported = app.now.Add(time.Hour)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		app.stream.took(copy(app.stream.room(), text), app.now)
	}))
}
