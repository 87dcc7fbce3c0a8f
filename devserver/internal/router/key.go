package router

import (
	"net"
	"strings"
)

// key is what a route goes by, in lower case.
type key struct {
	// host is without its port. In a wildcard it is what follows "*.".
	host     string
	wildcard bool
	// path begins with a slash and does not end in one; empty is every path.
	path string
}

// parseKey reads a route as it is registered: a host, or a host and a path, which is also returned as it was written. False is
// none that a request could ever have.
func parseKey(uri string) (k key, path string, ok bool) {
	uri, _, _ = strings.Cut(uri, "?")
	host, path, _ := strings.Cut(uri, "/")
	k.host, k.wildcard = strings.CutPrefix(strings.ToLower(withoutPort(host)), "*.")
	if k.host == "" {
		return key{}, "", false
	}
	if path = strings.TrimRight(path, "/"); path != "" {
		path = "/" + path
	}
	k.path = strings.ToLower(path)
	return k, path, true
}

// String is the route as it is registered.
func (k key) String() string {
	if k.wildcard {
		return "*." + k.host + k.path
	}
	return k.host + k.path
}

// covers tells whether a request's path, in lower case, is the route's or beneath it.
func (k key) covers(path string) bool {
	rest, ok := strings.CutPrefix(path, k.path)
	return ok && (rest == "" || rest[0] == '/' || k.path == "")
}

// withoutPort is the host of host:port, and of one without a port.
func withoutPort(host string) string {
	if !strings.Contains(host, ":") {
		return host
	}
	if only, _, err := net.SplitHostPort(host); err == nil {
		return only
	}
	return strings.Trim(host, "[]")
}
