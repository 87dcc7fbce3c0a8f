package drain

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	parser "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/logtimes"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/internal/syncbuffer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is longer than anything takes that does come to pass, on a machine however busy.
const soon = time.Minute

// app writes the logs of an instance as its launcher does.
type app struct {
	t         *testing.T
	container string
	files     map[string]*stream
}

type stream struct {
	log, times *os.File
	base, size int64
}

func newApp(t *testing.T) *app {
	t.Helper()
	a := &app{t: t, container: t.TempDir(), files: map[string]*stream{}}
	require.NoError(t, os.MkdirAll(filepath.Join(a.container, "home/vcap/logs"), 0o700))
	t.Cleanup(func() {
		for _, s := range a.files {
			_ = s.log.Close()
			_ = s.times.Close()
		}
	})
	return a
}

func (a *app) path(name string) string { return filepath.Join(a.container, "home/vcap", name) }

func (a *app) open(name string, base int64) {
	a.t.Helper()
	log, err := os.OpenFile(a.path("logs/"+name+".log"), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	require.NoError(a.t, err)
	info, err := log.Stat()
	require.NoError(a.t, err)
	times, err := os.OpenFile(a.path(logtimes.Name("logs/"+name+".log")), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	require.NoError(a.t, err)
	_, err = times.Write(logtimes.Header{File: inode(info), Base: base}.Append(nil))
	require.NoError(a.t, err)
	a.files[name] = &stream{log: log, times: times, base: base}
}

// writeAt writes to a stream what came at a time.
func (a *app) writeAt(name string, at time.Time, text string) {
	a.t.Helper()
	if a.files[name] == nil {
		a.open(name, 0)
	}
	s := a.files[name]
	_, err := s.times.Write(logtimes.Entry{Offset: s.size, At: at.UnixNano()}.Append(nil))
	require.NoError(a.t, err)
	n, err := s.log.WriteString(text)
	require.NoError(a.t, err)
	s.size += int64(n)
}

func (a *app) write(name, text string) { a.t.Helper(); a.writeAt(name, time.Now(), text) }

// count writes numbered lines, from one and before another.
func (a *app) count(from, to int) {
	a.t.Helper()
	var text strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&text, "line %d\n", n)
	}
	a.write("stdout", text.String())
}

// rotate moves a log aside.
func (a *app) rotate(name string) {
	a.t.Helper()
	s := a.files[name]
	log := "logs/" + name + ".log"
	require.NoError(a.t, os.Rename(a.path(log), a.path(log+logtimes.RotatedSuffix)))
	require.NoError(a.t, os.Rename(a.path(logtimes.Name(log)), a.path(logtimes.Name(log+logtimes.RotatedSuffix))))
	require.NoError(a.t, s.log.Close())
	require.NoError(a.t, s.times.Close())
	a.open(name, s.base+s.size)
}

// instance is the app's, with drains.
func (a *app) instance(urls ...string) supervisor.Instance {
	i := supervisor.Instance{ID: "i-1", AppID: "a-1", Index: 2, ContainerPath: a.container}
	i.LogDrains.App = "hello"
	for n, url := range urls {
		i.LogDrains.Drains = append(i.LogDrains.Drains, api.LogDrain{Service: fmt.Sprintf("s-%d", n), URL: url})
	}
	return i
}

// sink takes messages over TCP, and TLS where it has a configuration for that.
type sink struct {
	t        *testing.T
	scheme   string
	security *tls.Config
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	messages []*rfc5424.SyslogMessage
	conns    map[net.Conn]bool
	accepted int
}

func newSink(t *testing.T, security *tls.Config) *sink {
	t.Helper()
	s := &sink{t: t, scheme: "syslog://", security: security, conns: map[net.Conn]bool{}}
	if security != nil {
		s.scheme = "syslog-tls://"
	}
	s.start("127.0.0.1:0")
	t.Cleanup(s.stop)
	return s
}

func (s *sink) start(address string) {
	s.t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", address)
	require.NoError(s.t, err)
	s.listener = listener
	if s.security != nil {
		listener = tls.NewListener(listener, s.security)
	}
	s.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.accepted++
			s.mu.Unlock()
			s.running.Go(func() { s.serve(conn) })
		}
	})
}

func (s *sink) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	octetcounting.NewParser(parser.WithMaxMessageLength(1<<20), parser.WithListener(func(r *parser.Result) {
		if r.Error != nil { // the end, maybe within a message
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.messages = append(s.messages, r.Message.(*rfc5424.SyslogMessage))
	})).Parse(conn)
}

// stop ends the listener and its connections, in the midst of whatever comes.
func (s *sink) stop() {
	_ = s.listener.Close()
	s.hangUp()
	s.running.Wait()
}

func (s *sink) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
	}
}

// connected is how many connections there are.
func (s *sink) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *sink) address() string { return s.listener.Addr().String() }
func (s *sink) url() string     { return s.scheme + "user:hunter2@" + s.address() }

func (s *sink) all() []*rfc5424.SyslogMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*rfc5424.SyslogMessage(nil), s.messages...)
}

// texts are the lines that came so far.
func (s *sink) texts() []string {
	texts := []string{}
	for _, m := range s.all() {
		texts = append(texts, strings.TrimSuffix(*m.Message, "\n"))
	}
	return texts
}

// awaits waits until a line has come.
func (s *sink) awaits(text string) []string {
	s.t.Helper()
	var texts []string
	require.Eventually(s.t, func() bool {
		texts = s.texts()
		return len(texts) > 0 && contains(texts, text)
	}, soon, 10*time.Millisecond, "%q does not come", text)
	return texts
}

func contains(texts []string, part string) bool {
	for _, text := range texts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// manage makes a manager, which may reach the loopback.
func manage(t *testing.T, change ...func(*Options)) (*Manager, *syncbuffer.Buffer) {
	t.Helper()
	log := &syncbuffer.Buffer{}
	o := Options{
		BaseDir: t.TempDir(), Node: "n-1", MaxAge: time.Hour, Max: 100, Networks: Networks{Allowed: prefixes("127.0.0.0/8")},
		Log: hclog.New(&hclog.LoggerOptions{Output: log}),
	}
	for _, f := range change {
		f(&o)
	}
	m, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		m.Close()
		require.NotContains(t, log.String(), "hunter2")
	})
	return m, log
}

// certificate is for a name, by an authority of its own.
func certificate(t *testing.T, name string) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		template.IPAddresses = []net.IP{ip.AsSlice()}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}, pool
}
