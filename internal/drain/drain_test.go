package drain

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/internal/syslog"
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

// TestIdleConnectionMayBeClosed is what servers do that keep none without need: then nothing is sent again.
func TestIdleConnectionMayBeClosed(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t)
	a := newApp(t)
	m.Begin(a.instance(s.url()))
	for n := range 3 {
		a.count(n, n+1)
		s.awaits(fmt.Sprintf("line %d", n))
		s.hangUp()
	}
	require.Equal(t, []string{"line 0", "line 1", "line 2"}, s.texts())
	require.NotContains(t, log.String(), "takes no lines")
}

func TestSlowDrainHoldsNobodyUp(t *testing.T) {
	var config net.ListenConfig
	stuck, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts, and reads nothing
	require.NoError(t, err)
	defer stuck.Close()
	s := newSink(t, nil)
	m, _ := manage(t)
	a := newApp(t)
	m.Begin(a.instance("syslog://"+stuck.Addr().String(), s.url()))
	padding := strings.Repeat("x", 1000)
	for n := range 20_000 { // more than the kernel takes
		if n%1000 == 0 {
			a.write("stdout", strings.Repeat(padding+"\n", 1000))
		}
	}
	a.write("stdout", "the end\n")
	texts := s.awaits("the end")
	require.Len(t, texts, 20_001)
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

// TestTriesAtTheEndAreFew: a hundred instances may end at once whose drain is away.
func TestTriesAtTheEndAreFew(t *testing.T) {
	m, _ := manage(t)
	f := m.follower(newApp(t).instance(), target{}, m.log)
	f.reader = applog.New(f.place, applog.Position{})
	defer func() { f.reader.Close() }()
	f.end()
	for range 3 {
		f.broke(t.Context(), ErrClosed)
		require.Equal(t, firstRetry, f.retry)
	}
}

// TestDrainThatHangsUpAtOnceIsAway, as a balancer without servers does: it is not connected to again and again without a pause.
func TestDrainThatHangsUpAtOnceIsAway(t *testing.T) {
	m, log := manage(t)
	f := m.follower(newApp(t).instance(), target{}, m.log)
	f.reader = applog.New(f.place, applog.Position{})
	defer func() { f.reader.Close() }()
	for err, away := range map[error]bool{ErrClosed: false, syscall.EPIPE: true} {
		f.retry = 0
		ours, theirs := net.Pipe()
		f.connection = &connection{socket: &counted{Conn: ours}, broken: make(chan struct{})}
		f.connection.Conn = f.connection.socket
		go f.connection.listen()
		require.NoError(t, theirs.Close())
		<-f.connection.broken
		f.broke(t.Context(), fmt.Errorf("send: %w", err))
		require.Equal(t, away, f.retry > 0, err)
	}
	require.Equal(t, 1, strings.Count(log.String(), "takes no lines"))
}

// TestWhatWasNotReadComesAgain: a drain may end its side in good order, and die with what it has not read of ours.
func TestWhatWasNotReadComesAgain(t *testing.T) {
	for _, err := range []error{ErrClosed, syscall.EPIPE} {
		s := newSink(t, nil)
		m, _ := manage(t)
		to, failed := syslog.ParseURL(s.url())
		require.NoError(t, failed)
		f := m.follower(newApp(t).instance(), target{address: to}, m.log)
		f.reader = applog.New(f.place, applog.Position{})
		f.connection, failed = f.dialer.dial(t.Context(), f.address)
		require.NoError(t, failed)
		require.Eventually(t, func() bool { return s.connected() == 1 }, soon, time.Millisecond)
		s.hangUp()
		<-f.connection.broken
		f.sent.add(batch{written: f.connection.written(), at: time.Now(), counts: counts{lines: 1}})
		f.broke(t.Context(), err)
		f.reader.Close()
		require.Equal(t, err == ErrClosed, m.Totals().Lines == 1, err) //nolint:errorlint // it is this one
	}
}

// TestTalkativeDrainWaits, rather than keep the worker busy with what it says.
func TestTalkativeDrainWaits(t *testing.T) {
	ours, theirs := net.Pipe()
	c := &connection{Conn: ours, socket: &counted{Conn: ours}, broken: make(chan struct{})}
	go c.listen()
	began := time.Now()
	for range 10 {
		_, err := theirs.Write(make([]byte, heardSize))
		require.NoError(t, err)
	}
	require.GreaterOrEqual(t, time.Since(began), 9*heardPause)
	require.NoError(t, theirs.Close())
	<-c.broken
	require.True(t, c.hasEnded())
}

// stuck is a connection over which nothing goes any more until it is closed, whatever deadline it has.
type stuck struct {
	net.Conn
	is     atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (s *stuck) Write(p []byte) (int, error) {
	if s.is.Load() {
		<-s.closed
		return 0, net.ErrClosed
	}
	return s.Conn.Write(p)
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// TestGoodbyeIsNotWaitedFor by TLS, of a drain that reads nothing.
func TestGoodbyeIsNotWaitedFor(t *testing.T) {
	security, roots := certificate(t, "127.0.0.1")
	s := newSink(t, security)
	raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.address())
	require.NoError(t, err)
	under := &stuck{Conn: raw, closed: make(chan struct{})}
	c := &connection{socket: &counted{Conn: under}, broken: make(chan struct{})}
	secure := tls.Client(c.socket, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "127.0.0.1", RootCAs: roots})
	require.NoError(t, secure.HandshakeContext(t.Context()))
	c.Conn = secure
	go c.listen()
	under.is.Store(true)
	closed := make(chan struct{})
	go func() { c.close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(soon):
		_ = under.Close()
		require.Fail(t, "it waits for the drain")
	}
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

func TestWrongCertificateIsRefused(t *testing.T) {
	security, _ := certificate(t, "127.0.0.1")
	_, others := certificate(t, "127.0.0.1")
	elsewhere, roots := certificate(t, "logs.example.com")
	for name, s := range map[string]*sink{"authority": newSink(t, security), "name": newSink(t, elsewhere)} {
		m, log := manage(t, func(o *Options) { o.CAs = map[string]*x509.CertPool{"authority": others, "name": roots}[name] })
		a := newApp(t)
		a.count(0, 10)
		m.Begin(a.instance(s.url()))
		require.Eventually(t, func() bool { return strings.Contains(log.String(), "certificate") }, soon, 10*time.Millisecond)
		require.Contains(t, log.String(), "a syslog drain takes no lines")
		require.Contains(t, log.String(), "service=s-0")
		m.Close()
		require.Empty(t, s.texts())
	}
}

func TestDeniedNetworks(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t, func(o *Options) { o.Networks = Networks{} })
	a := newApp(t)
	a.count(0, 10)
	_, port, err := net.SplitHostPort(s.address())
	require.NoError(t, err)
	m.Begin(a.instance(s.url(), "syslog://localhost:"+port, "syslog://[::ffff:127.0.0.1]:"+port, "syslog-udp://127.0.0.1:"+port))
	require.Eventually(t, func() bool { return strings.Count(log.String(), "drains may not lead there") == 4 },
		soon, 10*time.Millisecond)
	m.Close()
	require.Zero(t, s.accepted)
}

func TestEgress(t *testing.T) {
	machine := func(addresses ...string) func() ([]net.Addr, error) {
		return func() (all []net.Addr, err error) {
			for _, text := range addresses {
				ip, network, err := net.ParseCIDR(text)
				require.NoError(t, err)
				all = append(all, &net.IPNet{IP: ip, Mask: network.Mask})
			}
			return all, nil
		}
	}
	own := machine("127.0.0.1/8", "10.0.0.5/24", "2001:db8::5/64", "10.254.0.1/30", "10.254.0.5/30", "192.0.2.2/30")
	for name, c := range map[string]struct {
		Networks
		allowed, denied string
	}{
		"by itself": {
			allowed: "10.0.0.6 2001:db8::1 192.0.2.1 10.254.0.3 64:ff9b::808:808",
			denied: "10.0.0.5 ::ffff:10.0.0.5 2001:db8::5 127.0.0.1 127.1.2.3 0.0.0.0 :: ::1 169.254.169.254 fe80::1%eth0 224.0.0.1 ff02::1 " +
				"255.255.255.255 10.254.0.1 10.254.0.2 10.254.0.5 10.254.0.6 64:ff9b::a9fe:a9fe 64:ff9b::afe:2 fd00:ec2::254",
		},
		"further ones": {
			Networks: Networks{Denied: prefixes("10.0.0.0/8")},
			allowed:  "192.0.2.1", denied: "10.0.0.6 127.0.0.1 ::1 169.254.169.254",
		},
		"but for some": {
			Networks: Networks{Denied: prefixes("10.0.0.0/8"), Allowed: prefixes("10.0.3.17/32", "10.254.0.2/32")},
			allowed:  "10.0.3.17 10.254.0.2", denied: "10.0.3.18 10.0.0.5 127.0.0.1 10.254.0.6",
		},
		"who lets the loopback lets the machine": {
			Networks: Networks{Allowed: prefixes("127.0.0.0/8")},
			allowed:  "127.0.0.1 10.0.0.5 10.254.0.1", denied: "169.254.169.254 10.254.0.2 0.0.0.0",
		},
		"its IPv6 as well": {Networks: Networks{Allowed: prefixes("::1/128")}, allowed: "::1 10.0.0.5", denied: "10.254.0.2"},
	} {
		e := egress{c.Networks, own}
		for _, ip := range strings.Fields(c.allowed) {
			require.NoError(t, e.check(net.JoinHostPort(ip, "514")), "%s: %s", name, ip)
		}
		for _, ip := range strings.Fields(c.denied) {
			require.ErrorIs(t, e.check(net.JoinHostPort(ip, "514")), ErrDenied, "%s: %s", name, ip)
		}
	}
	require.ErrorIs(t, egress{own: own}.check("nonsense"), ErrDenied)
	unknown := egress{own: func() ([]net.Addr, error) { return nil, os.ErrPermission }}
	require.ErrorIs(t, unknown.check("10.0.0.6:514"), ErrDenied)
}

// TestDrainsBeyondTheMostWait until another ends, and get all that their logs have kept.
func TestDrainsBeyondTheMostWait(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t, func(o *Options) { o.Max = 1 })
	first, second, third := newApp(t), newApp(t), newApp(t)
	named := func(a *app, id string) supervisor.Instance {
		i := a.instance(s.url())
		i.ID = id
		return i
	}
	first.write("stdout", "of the first\n")
	m.Begin(named(first, "i-1"))
	s.awaits("of the first")
	second.write("stdout", "of the second\n")
	m.Begin(named(second, "i-2"))
	require.Eventually(t, func() bool { return m.Totals().Waiting == 1 }, soon, 10*time.Millisecond)
	require.Contains(t, log.String(), "a syslog drain waits for another one to end")
	require.Contains(t, log.String(), "most=1")

	third.write("stdout", "of the third\n")
	m.Finish(t.Context(), named(third, "i-3")) // ends before there is room
	require.EqualValues(t, len("of the third\n"), m.Totals().LostBytes)
	require.Contains(t, log.String(), "before its syslog drain took all its lines")

	m.Finish(t.Context(), named(first, "i-1"))
	s.awaits("of the second")
	require.Equal(t, []string{"of the first", "of the second"}, s.texts())
	require.Zero(t, m.Totals().Waiting)
}

func TestUselessDrainsAreLeftOut(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t)
	a := newApp(t)
	urls := []string{"https://u:hunter2@logs", "hunter2", s.url(), s.url() + "/hunter2?disable-metadata=true"}
	for n := range MaxDrains {
		urls = append(urls, fmt.Sprintf("syslog://127.0.0.%d:1", 100+n))
	}
	instance := a.instance(urls...)
	refused := Refused(instance.LogDrains)
	require.Equal(t, []string{
		`the syslog drain of service "s-0" is left out: drains over HTTPS are not supported: use syslog://, syslog-tls:// or syslog-udp://`,
		`the syslog drain of service "s-1" is left out: its URL is not of the form syslog-tls://host:port`,
		fmt.Sprintf(`the syslog drain of service "s-%d" is left out: 16 is the most that an app has`, 3+MaxDrains),
	}, refused)
	a.count(0, 1)
	m.Begin(instance)
	require.Equal(t, []string{"line 0"}, s.awaits("line 0"))
	require.Contains(t, log.String(), "left out")
	require.Eventually(t, func() bool { return m.Totals().Drains == MaxDrains }, soon, 10*time.Millisecond)
	m.Begin(a.instance())
	m.Finish(t.Context(), a.instance())
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
