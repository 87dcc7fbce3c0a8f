package router

import (
	"errors"
	"io"
	"sync"
)

// keptBytes of a request's body are kept until there is an answer, so that it can be sent once more.
const keptBytes = 64 << 10

var errOldAttempt = errors.New("the request was sent elsewhere")

// body is the body of a request that may have to be sent more than once. What was read of it is kept while that is little.
type body struct {
	mu sync.Mutex
	// source is what the client sends.
	source io.Reader
	kept   []byte
	// gone tells that more was read than is kept.
	gone bool
	// failed is why the client sends no more, when that is not the end.
	failed error
	// attempt is the one that may read.
	attempt *bodyAttempt
}

// again begins the body anew. False: it cannot be had once more.
func (b *body) again() (io.ReadCloser, bool) {
	// An attempt that still reads has something that another one would lack.
	if !b.mu.TryLock() {
		return nil, false
	}
	defer b.mu.Unlock()
	if b.gone || b.failed != nil {
		return nil, false
	}
	b.attempt = &bodyAttempt{body: b}
	return b.attempt, true
}

// failure is why the client sends no more, nil while it may.
func (b *body) failure() error {
	if !b.mu.TryLock() {
		return nil
	}
	defer b.mu.Unlock()
	return b.failed
}

// keep remembers what was read, or gives up.
func (b *body) keep(p []byte) {
	if b.gone || len(b.kept)+len(p) > keptBytes {
		b.gone, b.kept = true, nil
		return
	}
	b.kept = append(b.kept, p...)
}

// bodyAttempt is the body for one attempt to send the request.
type bodyAttempt struct {
	body *body
	// replayed is how much of what was kept this attempt has had.
	replayed int
}

// Read gives first what earlier attempts have read.
func (a *bodyAttempt) Read(p []byte) (int, error) {
	b := a.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attempt != a {
		return 0, errOldAttempt
	}
	if a.replayed < len(b.kept) {
		n := copy(p, b.kept[a.replayed:])
		a.replayed += n
		return n, nil
	}
	n, err := b.source.Read(p)
	b.keep(p[:n])
	a.replayed += n
	if err != nil && err != io.EOF {
		b.failed = err
	}
	return n, err
}

// Close leaves the client's body open: another attempt may need it.
func (a *bodyAttempt) Close() error { return nil }
