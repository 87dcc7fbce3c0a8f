package drain

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/syslog"
)

// TestLinesThatAreGoneAreCounted as far as somebody has seen them, where a container goes without a word while its drain is away.
func TestLinesThatAreGoneAreCounted(t *testing.T) {
	s := newSink(t, nil)
	s.stop()
	m, log := manage(t)
	a := newApp(t)
	a.count(0, 10)
	f := m.follower(a.instance(), target{address: syslog.Address{Scheme: syslog.TCP, Host: "127.0.0.1", Port: "1"}}, m.log)
	f.reader = applog.New(f.place, applog.Position{})
	defer func() { f.reader.Close() }()
	require.True(t, f.step(t.Context()))
	require.NoError(t, os.RemoveAll(a.container))
	f.absent = time.Now().Add(-2 * absence)
	require.False(t, f.step(t.Context()))
	f.abandon()
	require.EqualValues(t, len("line 0\n")*10, m.Totals().LostBytes)
	require.Contains(t, log.String(), "an instance is gone with lines that its syslog drain has not taken")
}

// TestLastWordsComeFirst is an end with much to send and no time.
func TestLastWordsComeFirst(t *testing.T) {
	s := newSink(t, nil)
	m, _ := manage(t)
	m.hurry = 0
	a := newApp(t)
	a.count(0, 100_000)
	instance := a.instance(s.url())
	m.Begin(instance)
	m.Finish(t.Context(), instance)
	texts := s.awaits("line 99999")
	require.Less(t, len(texts), 100_000)
	require.Contains(t, texts, "line 99998")
	require.Equal(t, "line 99999", texts[len(texts)-1])
	require.True(t, contains(texts, "[dea] lost on the way to this drain: "))
	sent := 0
	for _, text := range texts {
		if strings.HasPrefix(text, "line ") {
			sent += len(text) + 1
		}
	}
	require.Equal(t, a.files["stdout"].size, int64(sent)+m.Totals().LostBytes)
}

func TestDrainThatIsAwayEndsWithItsInstance(t *testing.T) {
	s := newSink(t, nil)
	s.stop()
	m, log := manage(t)
	a := newApp(t)
	a.count(0, 10)
	m.Begin(a.instance(s.url()))
	m.Finish(t.Context(), a.instance(s.url()))
	require.Contains(t, log.String(), "a syslog drain takes no lines")
	require.Contains(t, log.String(), "before its syslog drain took all its lines")
	require.EqualValues(t, len("line 0\n")*10, m.Totals().LostBytes)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.Finish(ctx, a.instance(s.url())) // does not wait
	m.Finish(t.Context(), a.instance(s.url()))
	require.EqualValues(t, len("line 0\n")*10, m.Totals().LostBytes, "nothing is lost twice")
}

// TestAppThatFillsItsLogItself, as fast as it can and without its launcher, has the worker send no more than it can afford.
func TestAppThatFillsItsLogItself(t *testing.T) {
	const size = 2 * maxRate
	s := newSink(t, nil)
	m, _ := manage(t)
	a := newApp(t)
	a.write("stdout", strings.Repeat(strings.Repeat("x", 9999)+"\n", size/10_000)+"the end\n")
	began := time.Now()
	m.Begin(a.instance(s.url()))
	s.awaits("the end")
	require.Greater(t, time.Since(began), size*time.Second/maxRate-time.Second/2)
}

// TestNobodyFillsTheWorkersLog, neither with an app whose log loses lines without end, nor by a drain that comes and goes.
func TestNobodyFillsTheWorkersLog(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t)
	a := newApp(t)
	to, err := syslog.ParseURL(s.url())
	require.NoError(t, err)
	f := m.follower(a.instance(s.url()), target{address: to}, m.log)
	f.reader = applog.New(f.place, applog.Position{})
	defer func() { f.reader.Close() }()
	f.connection, err = f.dialer.dial(t.Context(), f.address)
	require.NoError(t, err)
	defer f.leave()
	f.unsaid = loss{Lines: 1, Bytes: 10}
	require.NoError(t, f.sayLoss(t.Context()))
	f.settle(time.Now())
	require.NotContains(t, log.String(), "lines are lost", "it is said again over the next connection, if this one breaks")
	for n := range 10 {
		f.counted.lost = loss{Lines: 1, Bytes: 10}
		require.True(t, f.conclude(t.Context(), applog.Position{}))
		require.Eventually(t, func() bool {
			f.settle(time.Now())
			return m.Totals().LostLines == int64(n)+1
		}, soon, time.Millisecond)
		f.sayFailure(ErrClosed)
		f.failing = false // as when it takes lines again
	}
	require.Equal(t, 1, strings.Count(log.String(), "lines are lost"))
	require.Equal(t, 1, strings.Count(log.String(), "takes no lines"))
	f.logLoss(0) // at the end
	require.Contains(t, log.String(), "lines=9 bytes=90")
}

func TestLossIsSaid(t *testing.T) {
	s := newSink(t, nil)
	address := s.address()
	s.stop()
	m, _ := manage(t)
	a := newApp(t)
	a.count(0, 10)
	a.rotate("stdout")
	a.count(10, 20)
	a.rotate("stdout") // the first ten are gone
	a.writeAt("stderr", time.Now().Add(-2*time.Hour), "stale\nmore of it\n")
	a.count(20, 30)
	s.start(address)
	// As of a drain that had come to the first line.
	instance := a.instance(s.url())
	require.NoError(t, m.positions.save(instance.ID, map[string]progress{"syslog://" + address: {Unsaid: loss{Bytes: 7}}}))
	m.Begin(instance)
	texts := s.awaits("line 29")
	require.Equal(t, "[dea] lost on the way to this drain: 2 lines waited for longer than 1h0m0s, and 7 bytes that the log no longer has",
		texts[0])
	require.Equal(t, "line 10", texts[1])
	assert.Equal(t, "[LGR/2]", *s.all()[0].ProcID)
	require.Eventually(t, func() bool {
		return m.Totals() == Totals{Drains: 1, Lines: 20, LostLines: 2, LostBytes: 7}
	}, soon, 10*time.Millisecond)
}

func TestRotatedAwayWhileTheDrainIsAway(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t)
	a := newApp(t)
	a.count(0, 10)
	m.Begin(a.instance(s.url()))
	s.awaits("line 9")
	address := s.address()
	s.stop()
	require.Eventually(t, func() bool { return m.Totals().Lines == 10 }, soon, 10*time.Millisecond)
	a.count(10, 20)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "takes no lines") }, soon, 10*time.Millisecond)
	a.rotate("stdout")
	a.count(20, 30)
	a.rotate("stdout")
	a.count(30, 40)
	s.start(address)
	texts := s.awaits("line 39")
	lost := len("line 10\n") * 10
	require.Equal(t, fmt.Sprintf("[dea] lost on the way to this drain: %d bytes that the log no longer has", lost), texts[10])
	require.Equal(t, "line 20", texts[11])
	require.Eventually(t, func() bool { return m.Totals().LostBytes == int64(lost) }, soon, 10*time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "takes lines again") }, soon, 10*time.Millisecond)
}
