package routing

import (
	"strings"
	"time"
)

// Subjects of NATS.
const (
	// SubjectStart is where a router says that it has come: RouterStart.
	SubjectStart = "router.start"
	// SubjectGreet is where a node asks for a RouterStart; every router answers to the message's reply subject.
	SubjectGreet = "router.greet"
	// SubjectRegister and SubjectUnregister carry a RegistryMessage.
	SubjectRegister   = "router.register"
	SubjectUnregister = "router.unregister"
)

// RegistryMessage adds an instance to the routes of its URIs, or takes it out of them. An instance is told from others by
// host and port.
type RegistryMessage struct {
	// Host and Port are where the instance answers plain HTTP. Host is as Host writes it. Port is 0 where it does not: then
	// there is a TLSPort.
	Host string `json:"host"`
	Port uint16 `json:"port,omitempty"`
	// TLSPort, where it is not 0, is where it answers TLS. A router then takes this one alone, and expects
	// ServerCertDomainSAN in its certificate.
	TLSPort             uint16 `json:"tls_port,omitempty"`
	ServerCertDomainSAN string `json:"server_cert_domain_san,omitempty"`
	// URIs are the routes: a host, or a host and a path, in any case of letters.
	URIs []string `json:"uris"`
	// App is the app's guid.
	App string `json:"app,omitempty"`
	// PrivateInstanceID is the instance's id, by which sticky sessions find it again; PrivateInstanceIndex its number in
	// decimal.
	PrivateInstanceID    string            `json:"private_instance_id,omitempty"`
	PrivateInstanceIndex string            `json:"private_instance_index,omitempty"`
	Tags                 map[string]string `json:"tags,omitempty"`
	// StaleThresholdInSeconds is how long this registration lasts, where it is not for as long as the router's own
	// PruneThreshold. A router takes it only where it is shorter.
	StaleThresholdInSeconds int `json:"stale_threshold_in_seconds,omitempty"`
	// IsolationSegment and AvailabilityZone are where the instance is.
	IsolationSegment string `json:"isolation_segment,omitempty"`
	AvailabilityZone string `json:"availability_zone,omitempty"`
	// Protocol is what the instance speaks: ProtocolHTTP1 where it is empty.
	Protocol string `json:"protocol,omitempty"`
}

// Host writes an address or a name as a RegistryMessage has it: an IPv6 address in brackets, since gorouter puts a colon and
// the port behind it as it is.
func Host(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "[" + host + "]"
	}
	return host
}

// Key is what a router goes by of a URI: letters of any case are the same to it, a last slash or a query is nothing.
func Key(uri string) string {
	uri, _, _ = strings.Cut(strings.ToLower(uri), "?")
	return strings.TrimSuffix(uri, "/")
}

// Protocols that an instance may speak.
const (
	ProtocolHTTP1 = "http1"
	ProtocolHTTP2 = "http2"
)

// RouterStart is what a router says of itself.
type RouterStart struct {
	ID    string   `json:"id"`
	Hosts []string `json:"hosts"`
	// MinimumRegisterIntervalInSeconds is how often every route is to be registered again.
	MinimumRegisterIntervalInSeconds int `json:"minimumRegisterIntervalInSeconds"`
	// PruneThresholdInSeconds is after how long a route is dropped that was not.
	PruneThresholdInSeconds int `json:"pruneThresholdInSeconds"`
}

// Interval is how often the router wants to hear of a route, 0 where it does not say.
func (r RouterStart) Interval() time.Duration {
	return seconds(r.MinimumRegisterIntervalInSeconds)
}

// PruneThreshold is after how long the router drops a route, 0 where it does not say.
func (r RouterStart) PruneThreshold() time.Duration {
	return seconds(r.PruneThresholdInSeconds)
}

// seconds is 0 for what is less, and a century for what does not fit.
func seconds(n int) time.Duration {
	const century = 100 * 365 * 24 * 3600
	return time.Duration(min(max(n, 0), century)) * time.Second
}
