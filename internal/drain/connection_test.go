package drain

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/syslog"
)

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
