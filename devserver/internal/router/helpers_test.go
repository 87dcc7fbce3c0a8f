package router_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/devserver/internal/bus"
	"github.com/durable-dea/dea/devserver/internal/router"
	"github.com/durable-dea/dea/internal/routing"
)

// patience bounds what is waited for. Nothing here takes nearly as long.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a NATS server, a router, and a node that tells it of instances.
type world struct {
	t       *testing.T
	options bus.Options
	bus     *bus.Server
	// node speaks as a node does, and has heard what routers say of themselves.
	node   *nats.Conn
	starts chan *nats.Msg
	router *router.Router
	server *httptest.Server
	client *http.Client
}

func newWorld(t *testing.T, change ...func(*router.Options)) *world {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &world{t: t, starts: make(chan *nats.Msg, 100), options: bus.Options{
		Address: listener.Addr().String(), PasswordFile: filepath.Join(t.TempDir(), "password"), Log: hclog.NewNullLogger(),
	}}
	require.NoError(t, listener.Close())
	w.startBus()
	t.Cleanup(func() { w.bus.Stop() })
	w.node, err = nats.Connect(w.bus.URL().Reveal(), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(w.node.Close)
	_, err = w.node.ChanSubscribe(routing.SubjectStart, w.starts)
	require.NoError(t, err)
	require.NoError(t, w.node.Flush())

	options := router.Options{NATS: w.bus.URL(), Host: "127.0.0.1", Log: hclog.NewNullLogger()}
	for _, f := range change {
		f(&options)
	}
	w.router, err = router.Start(options)
	require.NoError(t, err)
	w.server = httptest.NewServer(w.router)
	w.client = w.server.Client()
	// Every name leads to the router, as every name beneath localhost does.
	address := w.server.Listener.Addr().String()
	w.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		w.server.Close()
		w.router.Close()
	})
	return w
}

func (w *world) startBus() {
	w.t.Helper()
	var err error
	w.bus, err = bus.Start(w.options)
	require.NoError(w.t, err)
}

// app serves an instance, which is not registered yet.
func app(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// says is an instance that says its name.
func says(t *testing.T, name string) *httptest.Server {
	t.Helper()
	return app(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
}

// message is what a node says of an instance.
func message(t *testing.T, address, id string, uris ...string) routing.RegistryMessage {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	require.NoError(t, err)
	port, err := strconv.ParseUint(text, 10, 16)
	require.NoError(t, err)
	return routing.RegistryMessage{
		Host: host, Port: uint16(port), App: "app-guid", PrivateInstanceID: id, PrivateInstanceIndex: "3", URIs: uris,
	}
}

func (w *world) say(subject string, m routing.RegistryMessage) {
	w.t.Helper()
	text, err := json.Marshal(m)
	require.NoError(w.t, err)
	require.NoError(w.t, w.node.Publish(subject, text))
}

// register registers an instance and waits until the router has heard it.
func (w *world) register(server *httptest.Server, id string, uris ...string) routing.RegistryMessage {
	w.t.Helper()
	m := message(w.t, server.Listener.Addr().String(), id, uris...)
	w.say(routing.SubjectRegister, m)
	w.sync()
	return m
}

func (w *world) unregister(m routing.RegistryMessage) {
	w.t.Helper()
	w.say(routing.SubjectUnregister, m)
	w.sync()
}

// sync waits until the router has heard all that was said: it hears the question after it.
func (w *world) sync() {
	w.t.Helper()
	_, err := w.node.Request(routing.SubjectGreet, nil, patience)
	require.NoError(w.t, err)
}

func (w *world) request(method, url string, body io.Reader) *http.Request {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, url, body)
	require.NoError(w.t, err)
	return request
}

// head is an answer without its body.
type head struct {
	StatusCode int
	Header     http.Header
	Cookies    []*http.Cookie
}

// read is the whole of an answer, whose body is the caller's to close.
func read(t *testing.T, response *http.Response) (head, string) {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return head{StatusCode: response.StatusCode, Header: response.Header, Cookies: response.Cookies()}, string(text)
}

// do sends a request and reads the answer.
func (w *world) do(request *http.Request) (head, string) {
	w.t.Helper()
	response, err := w.client.Do(request)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, response.Body.Close()) }()
	return read(w.t, response)
}

// answer reads an answer from a connection.
func answer(t *testing.T, reader *bufio.Reader) (head, string) {
	t.Helper()
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	return read(t, response)
}

func (w *world) get(url string) (head, string) {
	w.t.Helper()
	return w.do(w.request(http.MethodGet, url, nil))
}

// answers is how often each answer came of so many requests.
func (w *world) answers(url string, requests int) map[string]int {
	w.t.Helper()
	got := map[string]int{}
	for range requests {
		response, text := w.get(url)
		if response.StatusCode != http.StatusOK {
			text = http.StatusText(response.StatusCode)
		}
		got[strings.TrimSpace(text)]++
	}
	return got
}

// address is an address of the loopback at which nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return listener.Addr().String()
}
