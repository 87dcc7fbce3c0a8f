package router_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/routing"
)

var discard = hclog.NewNullLogger()

func TestWhatAnAppIsTold(t *testing.T) {
	w := newWorld(t)
	seen := make(chan *http.Request, 1)
	w.register(app(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		seen <- r
	}), "instance-guid", "a.example")

	request := w.request(http.MethodGet, "http://a.example:81?x;y=%zz&z", nil)
	request.URL.Opaque = "/a%2Fb/{c}"
	request.Header.Set("Connection", "X-Mine")
	request.Header.Set("X-Mine", "1")
	request.Header.Set("Proxy-Authorization", "Basic eA==")
	request.Header.Set("X-Vcap-Request-Id", "forged")
	request.Header.Set("X-Cf-Instanceid", "forged")
	response, _ := w.do(request)
	got := <-seen
	require.Equal(t, "a.example:81", got.Host)
	require.Equal(t, "/a%2Fb/{c}?x;y=%zz&z", got.RequestURI)
	require.Equal(t, "127.0.0.1", got.Header.Get("X-Forwarded-For"))
	require.Equal(t, "http", got.Header.Get("X-Forwarded-Proto"))
	require.Empty(t, got.Header.Get("X-Forwarded-Host"))
	require.Equal(t, []string{"app-guid"}, got.Header["X-Cf-Applicationid"])
	require.Equal(t, []string{"instance-guid"}, got.Header["X-Cf-Instanceid"])
	require.Equal(t, []string{"3"}, got.Header["X-Cf-Instanceindex"])
	milliseconds, err := strconv.ParseInt(got.Header.Get("X-Request-Start"), 10, 64)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), time.UnixMilli(milliseconds), time.Minute)
	_, err = uuid.Parse(got.Header.Get("X-Vcap-Request-Id"))
	require.NoError(t, err)
	require.Equal(t, got.Header["X-Vcap-Request-Id"], response.Header["X-Vcap-Request-Id"])
	for _, name := range []string{"X-Mine", "Proxy-Authorization", "Connection"} {
		require.NotContains(t, got.Header, name)
	}
	require.NotContains(t, response.Header, "X-Hop")

	request = w.request(http.MethodGet, "http://a.example", nil)
	request.Header["X-Forwarded-For"] = []string{"10.0.0.1", "10.0.0.2"}
	request.Header.Set("X-Forwarded-Proto", "https")
	request.Header.Set("X-Forwarded-Host", "b.example")
	request.Header.Set("Forwarded", "for=10.0.0.1")
	request.Header.Set("X-Request-Start", "12345")
	w.do(request)
	got = <-seen
	require.Equal(t, []string{"10.0.0.1, 10.0.0.2, 127.0.0.1"}, got.Header["X-Forwarded-For"])
	require.Equal(t, "https", got.Header.Get("X-Forwarded-Proto"))
	require.Equal(t, "b.example", got.Header.Get("X-Forwarded-Host"))
	require.Equal(t, "for=10.0.0.1", got.Header.Get("Forwarded"))
	require.Equal(t, "12345", got.Header.Get("X-Request-Start"))
}

// TestABodyOfEachWayIsWhole: 64 MB go to the app and come back while they do.
func TestABodyOfEachWayIsWhole(t *testing.T) {
	w := newWorld(t)
	w.register(app(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		sum := sha256.New()
		_, _ = io.Copy(w, io.TeeReader(r.Body, sum))
		w.Header().Set("X-Sum", hex.EncodeToString(sum.Sum(nil)))
	}), "a", "a.example")
	sent := sha256.New()
	const size = 64 << 20
	source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{}), size), sent)
	response, err := w.client.Do(w.request(http.MethodPost, "http://a.example", source))
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	got := sha256.New()
	n, err := io.Copy(got, response.Body)
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	require.Equal(t, sent.Sum(nil), got.Sum(nil))
	require.Equal(t, hex.EncodeToString(sent.Sum(nil)), response.Trailer.Get("X-Sum"))
}

// TestEventsArriveWhenTheyAreSent: the next is not sent before the last has arrived.
func TestEventsArriveWhenTheyAreSent(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "text/plain"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			next := make(chan struct{})
			w.register(app(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind)
				_ = http.NewResponseController(w).Flush() // the header alone
				for i := range 3 {
					<-next
					_, _ = fmt.Fprintf(w, "data: %d\n", i)
					_ = http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
				close(next)
			}), "a", "a.example")
			response, err := w.client.Do(w.request(http.MethodGet, "http://a.example", nil))
			require.NoError(t, err)
			lines := bufio.NewScanner(response.Body)
			for i := range 3 {
				next <- struct{}{}
				require.True(t, lines.Scan())
				require.Equal(t, fmt.Sprintf("data: %d", i), lines.Text())
			}
			// A client that goes takes its request with it.
			require.NoError(t, response.Body.Close())
			_, open := <-next
			require.False(t, open)
		})
	}
}

func TestAnUpgradedConnectionGoesBothWays(t *testing.T) {
	w := newWorld(t)
	w.register(app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Connection") != "Upgrade" || r.Header.Get("Upgrade") != "websocket" {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	}), "a", "a.example")
	conn := w.dial()
	_, err := io.WriteString(conn, "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	response, _ := answer(t, reader)
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	require.Equal(t, "websocket", response.Header.Get("Upgrade"))
	for i := range 3 {
		_, err := fmt.Fprintf(conn, "frame %d\n", i)
		require.NoError(t, err)
		line, err := reader.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("frame %d\n", i), line)
	}
	// Nobody but the router can end it at the end.
	w.router.Close()
	_, err = reader.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func TestAnUpgradeToNoProtocolIsRefused(t *testing.T) {
	w := newWorld(t)
	w.register(says(t, "a"), "a", "a.example")
	conn := w.dial()
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: \xff\r\n\r\n")
	require.NoError(t, err)
	response, text := answer(t, bufio.NewReader(conn))
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.Contains(t, text, "cannot be understood")
}

// dial is a connection to the router.
func (w *world) dial() net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	require.NoError(w.t, err)
	require.NoError(w.t, conn.SetDeadline(time.Now().Add(patience)))
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestABodyIsAskedForOnlyWhenTheAppWantsIt: the client waits for 100 Continue.
func TestABodyIsAskedForOnlyWhenTheAppWantsIt(t *testing.T) {
	w := newWorld(t)
	w.register(app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		_, _ = io.Copy(w, r.Body)
	}), "a", "a.example")
	ask := func(path string) (*bufio.Reader, net.Conn) {
		conn := w.dial()
		_, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", path)
		require.NoError(t, err)
		return bufio.NewReader(conn), conn
	}
	reader, conn := ask("/taken")
	line, err := textproto.NewReader(reader).ReadLine()
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue", line)
	_, err = reader.ReadString('\n')
	require.NoError(t, err)
	_, err = io.WriteString(conn, "hello")
	require.NoError(t, err)
	_, body := answer(t, reader)
	require.Equal(t, "hello", body)

	reader, _ = ask("/refused")
	response, _ := answer(t, reader)
	require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
}

func TestAnInstanceCanBeAskedFor(t *testing.T) {
	w := newWorld(t)
	for index := range 3 {
		m := message(t, app(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, index, r.Header.Get("X-Cf-App-Instance"))
		}).Listener.Addr().String(), "id"+strconv.Itoa(index), "a.example")
		m.PrivateInstanceIndex = strconv.Itoa(index)
		w.say(routing.SubjectRegister, m)
	}
	w.sync()
	for wanted, want := range map[string]string{"app-guid:1": "1", "app-guid:2": "2"} {
		for range 5 {
			request := w.request(http.MethodGet, "http://a.example", nil)
			request.Header.Set("X-Cf-App-Instance", wanted)
			_, text := w.do(request)
			require.Equal(t, want, text)
		}
	}
	for _, wanted := range []string{"app-guid:7", "other:1", "app-guid", ":1", ":"} {
		request := w.request(http.MethodGet, "http://a.example", nil)
		request.Header.Set("X-Cf-App-Instance", wanted)
		response, text := w.do(request)
		require.Equal(t, http.StatusBadRequest, response.StatusCode)
		require.Contains(t, text, "('"+wanted+"') does not exist")
	}
}

func TestTheOverviewIsNoAppsHost(t *testing.T) {
	w := newWorld(t)
	_, text := w.get("http://localhost:81")
	require.Empty(t, text)
	m := w.register(says(t, "a"), "a", "a.example/<b>", "*.w.example")
	address := net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
	for _, host := range []string{"localhost:81", "LocalHost", "127.0.0.1:81", "[::1]:81"} {
		response, text := w.get("http://" + host)
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, "*.w.example\n  app-guid 3 "+address+"\na.example/<b>\n  app-guid 3 "+address+"\n", text)
	}
	request := w.request(http.MethodGet, "http://localhost:81", nil)
	request.Header.Set("Accept", "text/html,*/*")
	response, text := w.do(request)
	require.Equal(t, "text/html; charset=utf-8", response.Header.Get("Content-Type"))
	require.Contains(t, text, `<a href="http://a.example:81/%3cb%3e">a.example/&lt;b&gt;</a>`)
	require.NotContains(t, text, "<b>")
	response, _ = w.get("http://localhost/other")
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	response, _ = w.do(w.request(http.MethodPost, "http://localhost", strings.NewReader("x")))
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
	// But an app may have it.
	w.register(says(t, "b"), "b", "localhost")
	require.Equal(t, map[string]int{"b": 1}, w.answers("http://localhost/other", 1))
}
