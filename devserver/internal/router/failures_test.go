package router_test

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/devserver/internal/router"
	"github.com/durable-dea/dea/internal/routing"
)

func TestPagesSayWhichRouteAndWhatToDo(t *testing.T) {
	w := newWorld(t)
	gone := w.register(says(t, "a"), "a", "gone.example")
	w.unregister(gone)
	dead := deadAddress(t)
	w.say(routing.SubjectRegister, message(t, dead, "d", "dead.example"))
	w.register(app(t, func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }), "p", "panics.example")
	w.register(rude(t, "not HTTP at all\r\n\r\n"), "r", "rude.example")
	for _, want := range []struct {
		host, code string
		status     int
		says       []string
	}{
		{"none.example", "unknown_route", 404, []string{"Requested route ('none.example') does not exist.", "starter apps"}},
		{"gone.example", "no_endpoints", 503, []string{"Requested route ('gone.example') has no available endpoints.", "starter ps"}},
		{"dead.example", "endpoint_failure", 502, []string{
			"Registered endpoint failed to handle the request.", "Instance 3 of app-guid, at " + dead,
			"'dead.example', takes no connections", "starter logs app-guid",
		}},
		{"panics.example", "endpoint_failure", 502, []string{"ended the connection before it had answered"}},
		{"rude.example", "endpoint_failure", 502, []string{"gave no answer that can be understood"}},
	} {
		for accept, kind := range map[string]string{
			"": "text/plain; charset=utf-8", "text/html,application/xhtml+xml;q=0.9": "text/html; charset=utf-8",
		} {
			request := w.request(http.MethodGet, "http://"+want.host, nil)
			request.Header.Set("Accept", accept)
			response, text := w.do(request)
			require.Equal(t, want.status, response.StatusCode, want.host)
			require.Equal(t, want.code, response.Header.Get("X-Cf-RouterError"))
			require.Equal(t, kind, response.Header.Get("Content-Type"))
			require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
			require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
			for _, words := range want.says {
				require.Contains(t, strings.ReplaceAll(text, "&#39;", "'"), words)
			}
		}
	}
	response, _ := w.do(w.request(http.MethodHead, "http://none.example", nil))
	require.Equal(t, http.StatusNotFound, response.StatusCode)
}

// rude is an instance that answers each connection with the same bytes.
func rude(t *testing.T, answer string) *httptest.Server {
	t.Helper()
	return hijacked(t, func(conn net.Conn) { _, _ = io.WriteString(conn, answer) })
}

// hijacked is an instance that does something to a connection when there is a request, and ends it.
func hijacked(t *testing.T, do func(net.Conn)) *httptest.Server {
	t.Helper()
	return app(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		do(conn)
		_ = conn.Close()
	})
}

// TestWhatAClientSendsIsNotTakenForAPage: the host, as far as a server takes it, and the instance that is asked for.
func TestWhatAClientSendsIsNotTakenForAPage(t *testing.T) {
	w := newWorld(t)
	w.register(says(t, "a"), "a", "a.example")
	raw := func(lines ...string) (head, string) {
		conn := w.dial()
		_, err := io.WriteString(conn, strings.Join(append(lines, "Accept: text/html", "Connection: close", "", ""), "\r\n"))
		require.NoError(t, err)
		return answer(t, bufio.NewReader(conn))
	}
	for _, lines := range [][]string{
		{"GET / HTTP/1.1", "Host: <script>alert(1)</script>"},
		{"GET / HTTP/1.1", "Host: x'\"&.example"},
		{"GET http://x'&.example/ HTTP/1.1", "Host: a.example"},
		{"GET / HTTP/1.1", "Host: a.example", "X-CF-App-Instance: <script>alert(1)</script>"},
		{"GET / HTTP/1.0"},
		{"CONNECT a.example:80 HTTP/1.1", "Host: a.example:80"},
	} {
		response, body := raw(lines...)
		require.GreaterOrEqual(t, response.StatusCode, 400, lines)
		require.Less(t, response.StatusCode, 500, lines)
		require.NotContains(t, body, "<script", lines)
		require.NotContains(t, body, "'&.", lines)
	}
	// A line break in a header is two headers, or none: net/http refuses it before the router sees it.
	response, _ := raw("GET / HTTP/1.1", "Host: a.example\rX-Injected: 1")
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
}

// TestAnotherInstanceIsAskedWhereOneTakesNoConnection, whatever the request, with its body.
func TestAnotherInstanceIsAskedWhereOneTakesNoConnection(t *testing.T) {
	w := newWorld(t)
	for i := range 2 {
		w.say(routing.SubjectRegister, message(t, deadAddress(t), fmt.Sprint("dead", i), "a.example"))
	}
	w.register(app(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }), "lives", "a.example")
	body := strings.Repeat("x", 1<<20)
	for range 6 {
		response, text := w.do(w.request(http.MethodPost, "http://a.example", strings.NewReader(body)))
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, body, text)
	}
}

// TestAtMostThreeInstancesAreAsked, and then the client is told.
func TestAtMostThreeInstancesAreAsked(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int32
	for i := range 5 {
		w.register(hijacked(t, func(net.Conn) { asked.Add(1) }), fmt.Sprint(i), "a.example")
	}
	response, _ := w.get("http://a.example")
	require.Equal(t, http.StatusBadGateway, response.StatusCode)
	require.EqualValues(t, 3, asked.Load())
}

// TestWhatMayHaveBeenDoneIsNotDoneAgain: a connection that broke after a request was sent.
func TestWhatMayHaveBeenDoneIsNotDoneAgain(t *testing.T) {
	for _, one := range []struct {
		method, body, key string
		again             bool
	}{
		{http.MethodGet, "", "", true},
		{http.MethodGet, "small", "", true},
		{http.MethodHead, "", "", true},
		{http.MethodPost, "", "", false},
		{http.MethodPost, "small", "", false},
		{http.MethodPost, "small", "once", true},
		{http.MethodDelete, "", "", false},
	} {
		t.Run(one.method+one.body+one.key, func(t *testing.T) {
			w := newWorld(t)
			var broken atomic.Int32
			w.register(hijacked(t, func(net.Conn) { broken.Add(1) }), "breaks", "a.example")
			w.register(app(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }), "lives", "a.example")
			for broken.Load() == 0 {
				request := w.request(one.method, "http://a.example", strings.NewReader(one.body))
				if one.key != "" {
					request.Header.Set("Idempotency-Key", one.key)
				}
				response, text := w.do(request)
				switch {
				case one.again || broken.Load() == 0:
					require.Equal(t, http.StatusOK, response.StatusCode)
					if one.method != http.MethodHead {
						require.Equal(t, one.body, text)
					}
				default:
					require.Equal(t, http.StatusBadGateway, response.StatusCode)
				}
			}
		})
	}
}

// TestAConnectionThatTheAppClosedIsNoFailure: it closes each one after an answer, without having said so, as an app does
// that stops or that keeps connections for less long than the router.
func TestAConnectionThatTheAppClosedIsNoFailure(t *testing.T) {
	w := newWorld(t)
	var served atomic.Int32
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				request, err := http.ReadRequest(bufio.NewReader(conn))
				if err == nil {
					_, _ = io.Copy(io.Discard, request.Body)
					served.Add(1)
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
				_ = conn.Close()
			}()
		}
	}()
	w.say(routing.SubjectRegister, message(t, listener.Addr().String(), "a", "a.example"))
	w.sync()
	for range 200 {
		response, text := w.get("http://a.example")
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, "ok", text)
	}
	require.EqualValues(t, 200, served.Load())
}

// TestAClientThatBreaksOffIsNoFailureOfTheApps: the app is not put aside for it.
func TestAClientThatBreaksOffIsNoFailureOfTheApps(t *testing.T) {
	w := newWorld(t)
	ended := make(chan error, 1)
	w.register(app(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}), "a", "a.example")
	conn := w.dial()
	_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\nhalf")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Error(t, <-ended)
}

// TestAnAnswerThatBreaksOffIsNotMadeWhole: the client sees that something is missing.
func TestAnAnswerThatBreaksOffIsNotMadeWhole(t *testing.T) {
	w := newWorld(t)
	w.register(rude(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "a", "a.example")
	response, err := w.client.Do(w.request(http.MethodPost, "http://a.example", nil))
	if err == nil {
		defer func() { _ = response.Body.Close() }()
		_, err = io.ReadAll(response.Body)
	}
	require.True(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), err)
}

func TestTLSGoesOnlyToWhomTheCertificateIsFor(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.TLS != nil, " ", r.Proto)
	}))
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	authorities := x509.NewCertPool()
	authorities.AddCert(secure.Certificate())
	w := newWorld(t, func(o *router.Options) { o.Authorities = authorities })
	register := func(uri, san, protocol string) {
		m := message(t, secure.Listener.Addr().String(), "", uri)
		m.PrivateInstanceID = uri
		m.TLSPort, m.Port, m.ServerCertDomainSAN, m.Protocol = m.Port, 1, san, protocol
		w.say(routing.SubjectRegister, m)
		w.sync()
	}
	register("right.example", "example.com", "")
	require.Equal(t, map[string]int{"true HTTP/1.1": 1}, w.answers("http://right.example", 1))
	register("second.example", "example.com", routing.ProtocolHTTP2)
	require.Equal(t, map[string]int{"true HTTP/2.0": 1}, w.answers("http://second.example", 1))
	register("wrong.example", "another.instance", "")
	response, text := w.get("http://wrong.example")
	require.Equal(t, http.StatusBadGateway, response.StatusCode)
	require.Contains(t, text, "could not prove who it is")
}

func TestHTTP2WithoutTLSIsSpokenWhereItIsAskedFor(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	m := message(t, server.Listener.Addr().String(), "a", "a.example")
	m.Protocol = routing.ProtocolHTTP2
	w.say(routing.SubjectRegister, m)
	w.sync()
	require.Equal(t, map[string]int{"HTTP/2.0": 2}, w.answers("http://a.example", 2))
}

func TestASessionStaysAtItsInstance(t *testing.T) {
	w := newWorld(t)
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	messages := map[string]routing.RegistryMessage{}
	for _, name := range []string{"one", "two", "three"} {
		messages[name] = w.register(app(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/Shop/login" {
				http.SetCookie(w, &http.Cookie{
					Name: "JSESSIONID", Value: "s", Path: "/elsewhere", Secure: true, SameSite: http.SameSiteNoneMode,
					Expires: expires, MaxAge: 3600,
				})
			}
			_, _ = io.WriteString(w, name)
		}), name+"-id", "a.example", "a.example/Shop")
	}
	response, name := w.get("http://a.example/Shop/login")
	cookies := response.Cookies
	require.Len(t, cookies, 2)
	instance := cookies[1]
	require.Equal(t, "__VCAP_ID__", instance.Name)
	require.Equal(t, name+"-id", instance.Value)
	require.Equal(t, "/Shop", instance.Path, "the route's")
	require.True(t, instance.HttpOnly)
	require.True(t, instance.Secure)
	require.Equal(t, http.SameSiteNoneMode, instance.SameSite)
	require.Equal(t, expires, instance.Expires)
	require.Equal(t, 3600, instance.MaxAge)

	ask := func(cookies ...*http.Cookie) (head, string) {
		request := w.request(http.MethodGet, "http://a.example/Shop", nil)
		for _, cookie := range cookies {
			request.AddCookie(cookie)
		}
		return w.do(request)
	}
	for range 6 {
		response, got := ask(cookies...)
		require.Equal(t, name, got)
		require.Empty(t, response.Cookies)
	}
	seen := map[string]bool{}
	for range 6 {
		_, got := ask(instance) // without a session
		seen[got] = true
	}
	require.Len(t, seen, 3)

	// Where its instance is no more, another one takes over and is stayed with.
	w.unregister(messages[name])
	response, other := ask(cookies...)
	require.NotEqual(t, name, other)
	require.Equal(t, other+"-id", response.Cookies[0].Value)
	cookies[1] = response.Cookies[0]
	for range 6 {
		_, got := ask(cookies...)
		require.Equal(t, other, got)
	}
}

func TestACookieOfTheAppsOwnIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.register(app(t, func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "__Host-JSESSIONID", Value: "s", Path: "/", Secure: true})
		http.SetCookie(w, &http.Cookie{Name: "__VCAP_ID__", Value: "mine"})
	}), "a", "a.example")
	response, _ := w.get("http://a.example")
	require.Len(t, response.Cookies, 2)
	require.Equal(t, "mine", response.Cookies[1].Value)
}
