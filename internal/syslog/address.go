package syslog

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Scheme says how messages travel to a drain.
type Scheme string

// The schemes of drain URLs. The first two are Cloud Foundry's.
const (
	TCP Scheme = "syslog"
	TLS Scheme = "syslog-tls"
	UDP Scheme = "syslog-udp"
)

// ports are those of URLs without one.
var ports = map[Scheme]string{TCP: "514", TLS: "6514", UDP: "514"}

// Address is where a drain's messages go. Nothing in it is secret: a URL's user, password, path and what else its query says
// mean nothing to a syslog server, and are dropped.
type Address struct {
	Scheme Scheme
	// Host is a name or an address, Port a number from 1 to 65535.
	Host, Port string
	// Plain has messages sent without structured data.
	Plain bool
}

// Target is host:port.
func (a Address) Target() string { return net.JoinHostPort(a.Host, a.Port) }

// String is a URL that may be shown.
func (a Address) String() string { return string(a.Scheme) + "://" + a.Target() }

// The errors of ParseURL. Their words are fit for the app's owner, and repeat nothing of the URL.
var (
	// ErrNoURL: it is no URL with a host.
	ErrNoURL = errors.New("its URL is not of the form syslog-tls://host:port")
	// ErrScheme: messages cannot be sent so.
	ErrScheme = errors.New("use syslog://, syslog-tls:// or syslog-udp://")
	// ErrNoLogs: the drain is for something else than logs, as metrics.
	ErrNoLogs = errors.New("it asks for no logs, and there is nothing else to be had")
)

// ParseURL reads the URL of a drain. Of Cloud Foundry's options in the query these are known:
//
//	disable-metadata=true  no structured data
//	drain-type, drain-data  what is wanted, which must be logs or all of it
//
// It fails with an ErrNoURL, an ErrScheme or an ErrNoLogs.
func ParseURL(text string) (Address, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return Address{}, ErrNoURL // That of package url repeats the text.
	}
	a := Address{Scheme: Scheme(u.Scheme), Host: u.Hostname(), Port: u.Port()}
	standard, known := ports[a.Scheme]
	switch {
	case u.Scheme == "https":
		return Address{}, fmt.Errorf("drains over HTTPS are not supported: %w", ErrScheme)
	case !known && u.Scheme != "" && u.Host != "":
		return Address{}, fmt.Errorf("its URL has an unknown scheme: %w", ErrScheme)
	case !known || !isHost(a.Host):
		return Address{}, ErrNoURL
	}
	if a.Port == "" {
		a.Port = standard
	}
	if port, err := strconv.ParseUint(a.Port, 10, 16); err != nil || port == 0 {
		return Address{}, ErrNoURL
	}
	query := u.Query()
	a.Plain = query.Get("disable-metadata") == "true"
	for _, option := range []string{"drain-type", "drain-data"} {
		if wanted := query.Get(option); wanted != "" && wanted != "logs" && wanted != "all" {
			return Address{}, ErrNoLogs
		}
	}
	return a, nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

// isHost tells whether something can be looked up, and shown.
func isHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == "" || hostName.MatchString(ip.Zone())
	}
	return len(host) <= 253 && hostName.MatchString(host)
}
