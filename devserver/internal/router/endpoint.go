package router

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/durable-dea/dea/internal/routing"
)

const (
	dialTimeout = 5 * time.Second
	// idleTimeout is shorter than that of common servers, of which Node.js' is the shortest with 5 s: a connection that
	// both sides could use is ended by us, never by the app while a request is on its way.
	idleTimeout = 4 * time.Second
	// idleConnections are kept for an endpoint: as many requests at once as one app gets on one machine.
	idleConnections = 256
)

// endpoint is an instance at an address. It does not change; one of which anything is different is another.
type endpoint struct {
	identity
	transport *http.Transport
	// asideUntil is the time in nanoseconds until which others are asked first, since it failed; 0 for no time.
	asideUntil atomic.Int64

	// routes are those that it is registered for. The table guards them.
	routes map[*route]struct{}
}

// identity is what is registered of an endpoint beside its routes.
type identity struct {
	// address is host:port.
	address string
	// app is the app's guid, id the instance's, index its number. All may be empty.
	app, id, index string
	// tls tells that it speaks TLS, with a certificate for san.
	tls   bool
	san   string
	http2 bool
}

// identify reads a registration. False is one without an address.
func identify(m routing.RegistryMessage) (identity, bool) {
	port := m.Port
	if m.TLSPort != 0 {
		port = m.TLSPort
	}
	if m.Host == "" || port == 0 {
		return identity{}, false
	}
	return identity{
		address: m.Host + ":" + strconv.Itoa(int(port)), // an IPv6 host has its brackets already
		app:     m.App, id: m.PrivateInstanceID,
		index: m.PrivateInstanceIndex, tls: m.TLSPort != 0, san: m.ServerCertDomainSAN,
		http2: m.Protocol == routing.ProtocolHTTP2,
	}, true
}

// newEndpoint makes an endpoint that is in no route yet. authorities are trusted to sign its certificate; nil for the
// machine's.
func newEndpoint(i identity, authorities *x509.CertPool) *endpoint {
	dialer := &net.Dialer{Timeout: dialTimeout}
	e := &endpoint{identity: i, routes: map[*route]struct{}{}}
	e.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &countingConn{Conn: conn}, nil
		},
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, ServerName: i.san, RootCAs: authorities},
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: idleConnections,
		IdleConnTimeout:     idleTimeout,
		// What the app compresses goes to the client as it is.
		DisableCompression:    true,
		ExpectContinueTimeout: time.Second,
	}
	if i.http2 {
		e.transport.Protocols = new(http.Protocols)
		e.transport.Protocols.SetHTTP2(i.tls)
		e.transport.Protocols.SetUnencryptedHTTP2(!i.tls)
	}
	return e
}

func (e *endpoint) isAside(now time.Time) bool {
	until := e.asideUntil.Load()
	return until != 0 && now.UnixNano() < until
}

// putAside has others asked first for a while.
func (e *endpoint) putAside(until time.Time) { e.asideUntil.Store(until.UnixNano()) }

// countingConn counts what is written to a connection, to tell a request of which nothing was sent.
type countingConn struct {
	net.Conn
	written atomic.Int64
}

// Write counts what it writes.
func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// CloseWrite ends one direction of an upgraded connection.
func (c *countingConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// counted finds the counter of a connection, beneath TLS too.
func counted(conn net.Conn) *countingConn {
	if outer, ok := conn.(*tls.Conn); ok {
		conn = outer.NetConn()
	}
	c, _ := conn.(*countingConn)
	return c
}
