package drain

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/applog"
)

func inode(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

func TestLinesArriveOverTCPAndTLS(t *testing.T) {
	security, roots := certificate(t, "127.0.0.1")
	for name, s := range map[string]*sink{"TCP": newSink(t, nil), "TLS": newSink(t, security)} {
		t.Run(name, func(t *testing.T) {
			m, _ := manage(t, func(o *Options) { o.CAs = roots })
			a := newApp(t)
			at := time.Now().Add(-time.Minute)
			a.writeAt("stdout", at, "to be seen\n")
			a.writeAt("stderr", at.Add(time.Second), "to be worried about\n")
			m.Begin(a.instance(s.url()))
			m.Live(a.instance(s.url()))
			s.awaits("worried")
			a.write("stdout", "later\n")
			texts := s.awaits("later")
			require.Equal(t, []string{"to be seen", "to be worried about", "later"}, texts)
			first, second := s.all()[0], s.all()[1]
			assert.EqualValues(t, 14, *first.Priority)
			assert.EqualValues(t, 11, *second.Priority)
			assert.WithinDuration(t, at, *first.Timestamp, time.Microsecond)
			assert.Equal(t, "hello", *first.Hostname)
			assert.Equal(t, "a-1", *first.Appname)
			assert.Equal(t, "[APP/PROC/WEB/2]", *first.ProcID)
			assert.Equal(t, "i-1", (*first.StructuredData)["tags@47450"]["process_instance_id"])
			require.Eventually(t, func() bool { return m.Totals() == Totals{Drains: 1, Lines: 3} }, soon, 10*time.Millisecond)
		})
	}
}

func TestLinesArriveOverUDP(t *testing.T) {
	var config net.ListenConfig
	listener, err := config.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	m, _ := manage(t)
	a := newApp(t)
	a.write("stdout", "one\n"+strings.Repeat("x", 10_000)+"\nthree\n")
	m.Begin(a.instance("syslog-udp://" + listener.LocalAddr().String()))
	var texts []string
	buffer := make([]byte, 1<<16)
	for range 3 {
		require.NoError(t, listener.SetReadDeadline(time.Now().Add(soon)))
		n, _, err := listener.ReadFrom(buffer)
		require.NoError(t, err)
		require.LessOrEqual(t, n, 2048)
		message, err := rfc5424.NewParser().Parse(buffer[:n])
		require.NoError(t, err)
		texts = append(texts, *message.(*rfc5424.SyslogMessage).Message)
	}
	assert.Equal(t, "one", texts[0])
	assert.Greater(t, len(texts[1]), 1500)
	assert.Equal(t, "three", texts[2])
}

// TestNoLineIsLostWhenTheDrainRestarts has a drain end again and again in the midst of what comes.
func TestNoLineIsLostWhenTheDrainRestarts(t *testing.T) {
	s := newSink(t, nil)
	m, _ := manage(t)
	a := newApp(t)
	m.Begin(a.instance(s.url()))
	address := s.address()
	const rounds, lines = 5, 2000
	for round := range rounds {
		a.count(round*lines, (round+1)*lines)
		s.awaits(fmt.Sprintf("line %d", round*lines+rand.N(lines)))
		s.stop()
		a.count((round+1)*lines, (round+1)*lines) // nothing
		s.start(address)
	}
	a.write("stdout", "the end\n")
	texts := s.awaits("the end")
	seen, next := 0, 0
	for _, text := range texts[:slices.Index(texts, "the end")] {
		var number int
		_, err := fmt.Sscanf(text, "line %d", &number)
		require.NoError(t, err)
		require.LessOrEqual(t, number, next, "line %d is lost", next)
		if number != seen+1 && number != next {
			require.Less(t, number, next, "what comes again begins before")
		}
		seen, next = number, max(next, number+1)
	}
	require.Equal(t, rounds*lines, next)
}

func TestNextManagerGoesOn(t *testing.T) {
	s := newSink(t, nil)
	a := newApp(t)
	base := t.TempDir()
	at := func(o *Options) { o.BaseDir = base }
	first, _ := manage(t, at)
	a.count(0, 100)
	first.Begin(a.instance(s.url()))
	s.awaits("line 99")
	first.Close()
	a.count(100, 200)
	second, _ := manage(t, at)
	second.Live(a.instance(s.url()))
	texts := s.awaits("line 199")
	require.Len(t, texts, 200)
	for n, text := range texts {
		require.Equal(t, fmt.Sprintf("line %d", n), text)
	}
	kept, err := os.ReadFile(filepath.Join(base, "drains", "i-1.json"))
	require.NoError(t, err)
	require.NotContains(t, string(kept), "hunter2")
}

// TestKilledManagerIsFollowed leaves a manager without its end: what it had settled is not sent again.
func TestKilledManagerIsFollowed(t *testing.T) {
	s := newSink(t, nil)
	a := newApp(t)
	base := t.TempDir()
	at := func(o *Options) { o.BaseDir = base }
	first, _ := manage(t, at)
	a.count(0, 100)
	first.Begin(a.instance(s.url()))
	file := filepath.Join(base, "drains", "i-1.json")
	require.Eventually(t, func() bool { _, err := os.Stat(file); return err == nil }, soon, 10*time.Millisecond)
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	a.count(100, 150)
	s.awaits("line 149")
	first.Close()
	require.NoError(t, os.WriteFile(file, kept, 0o600)) // as if it had been killed before
	second, _ := manage(t, at)
	second.Live(a.instance(s.url()))
	a.count(150, 200)
	texts := s.awaits("line 199")
	require.Len(t, texts, 250, "50 lines come twice")
	require.Equal(t, "line 100", texts[150])
}

// TestPositionsAreSavedWhileThereAreDrains, and nobody looks for some when there are none.
func TestPositionsAreSavedWhileThereAreDrains(t *testing.T) {
	s := newSink(t, nil)
	m, _ := manage(t)
	isSaving := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.saving
	}
	require.False(t, isSaving())
	for _, name := range []string{"first", "second"} {
		a := newApp(t)
		instance := a.instance(s.url())
		instance.ID = name
		a.count(0, 100)
		m.Begin(instance)
		require.Eventually(t, func() bool {
			_, err := os.Stat(m.positions.file(name))
			return err == nil
		}, soon, 10*time.Millisecond)
		m.Finish(t.Context(), instance)
		m.Forget(name)
		require.Eventually(t, func() bool { return !isSaving() }, soon, 10*time.Millisecond)
	}
}

func TestLastWordsArrive(t *testing.T) {
	s := newSink(t, nil)
	m, _ := manage(t)
	for name, followed := range map[string]bool{"followed": true, "new": false} {
		a := newApp(t)
		instance := a.instance(s.url())
		instance.ID = name
		if followed {
			m.Begin(instance)
		}
		a.count(0, 1000)
		a.write("stderr", name+" says: no line's end")
		m.Finish(t.Context(), instance)
		texts := s.awaits(name + " says: no line's end") // taken, and maybe not read yet
		require.Equal(t, name+" says: no line's end", texts[len(texts)-1])
		came := m.Totals().Lines
		m.Finish(t.Context(), instance) // by a second try, before the container is gone
		require.Equal(t, came, m.Totals().Lines, "nothing comes again")
		require.FileExists(t, m.positions.file(name))
		m.Forget(name)
		require.NoFileExists(t, m.positions.file(name))
		instance.ContainerPath = ""
		m.Finish(t.Context(), instance)
	}
	require.Zero(t, m.Totals().Drains)
}

// TestLastWordsOfAnOrphanArrive, though there is nobody who knows more of it than its id.
func TestLastWordsOfAnOrphanArrive(t *testing.T) {
	s := newSink(t, nil)
	m, _ := manage(t)
	a := newApp(t)
	a.count(0, 1000)
	m.Begin(a.instance(s.url()))
	m.FinishOrphan(t.Context(), "another")
	m.FinishOrphan(t.Context(), a.instance().ID)
	require.Zero(t, m.Totals().Drains)
	require.NoFileExists(t, m.positions.file(a.instance().ID))
	require.Len(t, s.awaits("line 999"), 1000)
}

// TestPositionIsKeptOnceItCanBe, though nothing is sent any more.
func TestPositionIsKeptOnceItCanBe(t *testing.T) {
	m, _ := manage(t)
	f := m.follower(newApp(t).instance(), target{}, m.log)
	one := &following{followers: []*follower{f}}
	f.taken, f.dirty = progress{Unsaid: loss{Lines: 7}}, true
	require.Error(t, one.save(positions{filepath.Join(t.TempDir(), "full")}, "i-1"))
	require.NoError(t, one.save(m.positions, "i-1"))
	require.EqualValues(t, 7, m.positions.load("i-1")[f.address.String()].Unsaid.Lines)
}

// TestContainerThatIsGoneEndsItsDrains is what becomes of an instance whose container is destroyed without more ado.
func TestContainerThatIsGoneEndsItsDrains(t *testing.T) {
	s := newSink(t, nil)
	m, _ := manage(t)
	a := newApp(t)
	a.count(0, 10)
	m.Begin(a.instance(s.url()))
	s.awaits("line 9")
	require.NoError(t, os.RemoveAll(a.container))
	require.Eventually(t, func() bool { return m.Totals().Drains == 0 }, soon, 10*time.Millisecond)
	require.Eventually(t, func() bool { return len(m.all()) == 0 }, soon, 10*time.Millisecond)
}

func TestPositionsOfOthersAreSwept(t *testing.T) {
	m, log := manage(t)
	require.NoError(t, m.positions.save("old", nil))
	require.NoError(t, m.positions.save("../odd", nil))
	a := newApp(t)
	instance := a.instance("syslog://127.0.0.1:1")
	m.Begin(instance)
	require.NoError(t, m.positions.save(instance.ID, nil))
	m.sweep()
	files, err := os.ReadDir(m.positions.dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, "i-1.json", files[0].Name())
	require.Equal(t, 2, strings.Count(log.String(), "nobody knows whether its syslog drains took its last lines"))
	require.Contains(t, log.String(), "instance=old")
	require.NoError(t, os.WriteFile(m.positions.file("torn"), []byte("{"), 0o600))
	require.Nil(t, m.positions.load("torn"))
}

// TestSilentInstanceIsLookedAtCheaply until something stirs, whatever that is.
func TestSilentInstanceIsLookedAtCheaply(t *testing.T) {
	m, _ := manage(t)
	a := newApp(t)
	a.count(0, 1)
	f := m.follower(a.instance(), target{}, m.log)
	f.reader = applog.New(f.place, applog.Position{})
	defer func() { f.wake(); f.reader.Close() }()
	reads := func(want ...string) {
		t.Helper()
		records, err := f.read()
		require.NoError(t, err)
		var texts []string
		for _, r := range records {
			texts = append(texts, r.Text)
		}
		require.Equal(t, want, texts)
	}
	naps := func() {
		t.Helper()
		require.Eventually(t, func() bool {
			records, err := f.read()
			return err == nil && len(records) == 0 && f.nap != nil
		}, soon, 10*time.Millisecond)
	}
	f.poll = longestPoll
	reads("line 0")
	require.Nil(t, f.nap, "there may be more")
	naps()
	reads()
	a.count(1, 2)
	reads("line 1")
	naps()
	a.rotate("stdout")
	a.write("stderr", "another stream\n")
	reads("another stream")
	naps()
	f.nap.since = f.nap.since.Add(-2 * napTime)
	reads()
	require.NotNil(t, f.nap, "it looks, and goes on")
	require.NoError(t, os.RemoveAll(a.container))
	_, err := f.read()
	require.ErrorIs(t, err, fs.ErrNotExist, "nobody knows of more")
}
