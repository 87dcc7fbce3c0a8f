// Package load sends requests at a constant rate, whether or not they are answered, as many clients who know nothing of each
// other do. A request that waits because an earlier one took long is late, and is measured so: its time runs from when it
// was due.
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// timeout is how long one request may take. Nothing here takes nearly as long.
	timeout = 30 * time.Second
	// maxWaiting is how many seconds of requests may wait for an answer. A machine that is behind by more does not catch up;
	// what is due then fails unsent, and does not take what is left of it.
	maxWaiting = 2
	// maxFailures are told in full.
	maxFailures = 20
	// routerError is the header by which a router says that an answer is its own and not an app's.
	routerError = "X-Cf-Routererror"
)

// Options say what to ask.
type Options struct {
	// Host is the route that is asked for, Addresses are the host:port to connect to, in turn: a router's, or instances'.
	Host      string
	Addresses []string
	// Rate is requests a second.
	Rate int
}

// Result is what came of a load.
type Result struct {
	// Sent is the number of requests, Failed of those without an answer of the app's.
	Sent, Failed int
	// Failures are some of those that failed, each with when it was due from the beginning on.
	Failures []string
	// Took is how long each answered request took, from when it was due, the shortest first.
	Took []time.Duration
}

// Percentile is the time within which so many of a hundred requests were answered; 0 where none was.
func (r Result) Percentile(of float64) time.Duration {
	if len(r.Took) == 0 {
		return 0
	}
	return r.Took[min(int(of/100*float64(len(r.Took))), len(r.Took)-1)]
}

// Load is under way from Start to Stop.
type Load struct {
	options Options
	clients []*http.Client
	begun   time.Time
	end     context.CancelFunc
	ended   chan struct{}
	sent    int
	running sync.WaitGroup
	waiting atomic.Int64

	mu     sync.Mutex
	result Result
}

// Start begins to send, until Stop or the end of ctx.
func Start(ctx context.Context, o Options) *Load {
	ctx, end := context.WithCancel(ctx)
	l := &Load{options: o, begun: time.Now(), end: end, ended: make(chan struct{})}
	for _, address := range o.Addresses {
		l.clients = append(l.clients, newClient(address, o.Rate))
	}
	go l.send(ctx)
	return l
}

// newClient connects to an address, whatever the host, and keeps so many connections.
func newClient(address string, idle int) *http.Client {
	dialer := &net.Dialer{Timeout: timeout}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", address)
			},
			MaxIdleConnsPerHost: idle,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Ask sends one request, by a connection of its own, and fails unless an app answers.
func Ask(ctx context.Context, host, address string) error {
	client := newClient(address, 1)
	defer client.CloseIdleConnections()
	return ask(ctx, client, host, false)
}

// Stop ends the load, and waits for the answers to what was sent.
func (l *Load) Stop() Result {
	l.end()
	<-l.ended
	l.running.Wait()
	for _, client := range l.clients {
		client.CloseIdleConnections()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Sent = l.sent
	slices.Sort(l.result.Took)
	return l.result
}

// send sends each request when it is due, or at once where that is over.
func (l *Load) send(ctx context.Context) {
	defer close(l.ended)
	every := time.Second / time.Duration(l.options.Rate)
	for ; ctx.Err() == nil; l.sent++ {
		due := l.begun.Add(time.Duration(l.sent) * every)
		time.Sleep(time.Until(due))
		if l.waiting.Load() >= int64(maxWaiting*l.options.Rate) {
			l.note(due, errTooMany)
			continue
		}
		l.waiting.Add(1)
		client, post := l.clients[l.sent%len(l.clients)], l.sent%2 == 1
		l.running.Go(func() {
			defer l.waiting.Add(-1)
			l.note(due, ask(context.WithoutCancel(ctx), client, l.options.Host, post))
		})
	}
}

func (l *Load) note(due time.Time, failed error) {
	took := time.Since(due)
	l.mu.Lock()
	defer l.mu.Unlock()
	if failed == nil {
		l.result.Took = append(l.result.Took, took)
		return
	}
	l.result.Failed++
	if len(l.result.Failures) < maxFailures {
		l.result.Failures = append(l.result.Failures, fmt.Sprintf("at %s, after %s: %v", due.Sub(l.begun), took, failed))
	}
}

// ask sends one request and reads its answer. Half of them are posts, which nobody on the way may send twice; that an app
// does not take one is an answer, too.
func ask(ctx context.Context, client *http.Client, host string, post bool) error {
	method, body := http.MethodGet, io.Reader(nil)
	if post {
		// Not of a type that net/http knows how to send again.
		method, body = http.MethodPost, &once{left: []byte("posted")}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+host+"/", body)
	if err != nil {
		return err
	}
	if post {
		request.ContentLength = int64(len("posted"))
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%s: read the answer: %w", method, err)
	}
	if response.StatusCode >= http.StatusInternalServerError || response.Header.Get(routerError) != "" {
		return fmt.Errorf("%s: %s: %s", method, response.Status, said)
	}
	return nil
}

// once is a body that can be read once.
type once struct{ left []byte }

// Read gives the body.
func (o *once) Read(p []byte) (int, error) {
	if len(o.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.left)
	o.left = o.left[n:]
	return n, nil
}

var (
	errFailed  = errors.New("requests failed")
	errTooMany = errors.New("it was not sent: too many wait for an answer already")
)

// Err tells of requests that failed, nil where none did.
func (r Result) Err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d, among them:\n%s", errFailed, r.Failed, r.Sent, strings.Join(r.Failures, "\n"))
}
