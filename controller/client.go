package controller

import (
	"context"
	"time"

	"go.temporal.io/sdk/client"
)

// CallTimeout is how long a call may take that waits for no work of the platform's. It covers a worker that was just
// killed: its workflows go on elsewhere after 10 s at most.
const CallTimeout = 20 * time.Second

const (
	// detailTimeout bounds a question for a detail of what is known already: nobody waits long for it.
	detailTimeout = 5 * time.Second
	// defaultNamespace is Temporal's own default.
	defaultNamespace = "default"
	// parallelQueries bounds how many workflows are asked at once: each question is work for a worker.
	parallelQueries = 8
)

// Keys makes keys for a purpose, current one first; *codec.Keyring is one. It signs the URLs of files on nodes.
type Keys interface {
	Derive(purpose string) [][]byte
}

// Client controls the platform. It is safe for concurrent use.
type Client struct {
	temporal  client.Client
	namespace string
	keys      Keys
	now       func() time.Time
	// own tells whether Close closes the connection too.
	own bool
}

// Option changes what New makes.
type Option func(*Client)

// WithNamespace names the namespace that the Temporal client was made for, where it is not "default".
func WithNamespace(name string) Option {
	return func(c *Client) {
		if name != "" {
			c.namespace = name
		}
	}
}

// New makes a Client for a program that has a Temporal client already. That one must have been made with the
// keyring's codec, or workers cannot read what it sends; it stays the caller's to close.
func New(temporal client.Client, keys Keys, options ...Option) *Client {
	c := &Client{temporal: temporal, namespace: defaultNamespace, keys: keys, now: time.Now}
	for _, option := range options {
		option(c)
	}
	return c
}

// Close ends the connection if Dial made it.
func (c *Client) Close() {
	if c.own {
		c.temporal.Close()
	}
}

// call bounds one question to the platform.
func (c *Client) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, CallTimeout)
}
