package api

import (
	"net/url"
	"strings"
	"time"
)

// CheckType is how an instance's health is looked at.
type CheckType string

// The types of a check.
const (
	// CheckPort: the instance's port takes connections.
	CheckPort CheckType = "port"
	// CheckHTTP: a GET of Endpoint at the instance's port is answered with status 200.
	CheckHTTP CheckType = "http"
	// CheckProcess: the instance's process runs; nothing is asked.
	CheckProcess CheckType = "process"
)

// HealthCheck says how an instance's health is looked at once it runs. The names are those of a process in Cloud
// Foundry's v3 API; Threshold is ours.
type HealthCheck struct {
	// Type is empty for the default: the port where the app has routes, else the process.
	Type CheckType `json:"type,omitempty"`
	// Endpoint is the path of an http check, "/" when it is empty.
	Endpoint string `json:"endpoint,omitempty"`
	// Interval is the time between two looks in seconds, 0 for the default of 30.
	Interval int `json:"interval,omitempty"`
	// InvocationTimeout is how long one look may take in seconds, 0 for the default of 1.
	InvocationTimeout int `json:"invocation_timeout,omitempty"`
	// Threshold is how many looks in a row must fail before the check has failed, 0 for the default of 1.
	Threshold int `json:"threshold,omitempty"`
}

// Defaults of a check; Diego's.
const (
	DefaultCheckInterval          = 30 * time.Second
	DefaultCheckInvocationTimeout = time.Second
	DefaultCheckThreshold         = 1
)

// Bounds of a check.
const (
	maxCheckSeconds   = 3600
	maxCheckThreshold = 100
	maxEndpoint       = 1024
)

// Liveness is the check by which a running instance may crash, and by which one that starts is healthy, with every default
// filled in.
func (m StartMessage) Liveness() HealthCheck {
	var check HealthCheck
	if m.HealthCheck != nil {
		check = *m.HealthCheck
	}
	if check.Type == "" {
		check.Type = CheckProcess
		if len(m.URIs) > 0 {
			check.Type = CheckPort
		}
	}
	return check.WithDefaults()
}

// Readiness is the check by which a running instance loses and regains its routes, with every default filled in; of type
// CheckProcess, which never fails, where the message asks for none.
func (m StartMessage) Readiness() HealthCheck {
	check := HealthCheck{Type: CheckProcess}
	if m.ReadinessCheck != nil && m.ReadinessCheck.Type != "" {
		check = *m.ReadinessCheck
	}
	return check.WithDefaults()
}

// WithDefaults is the check with every default filled in but that of the type, which the message decides.
func (c HealthCheck) WithDefaults() HealthCheck {
	if c.Type == CheckHTTP && c.Endpoint == "" {
		c.Endpoint = "/"
	}
	if c.Interval <= 0 {
		c.Interval = int(DefaultCheckInterval / time.Second)
	}
	if c.InvocationTimeout <= 0 {
		c.InvocationTimeout = int(DefaultCheckInvocationTimeout / time.Second)
	}
	if c.Threshold <= 0 {
		c.Threshold = DefaultCheckThreshold
	}
	return c
}

// check says what is wrong with a health check.
func (f *findings) check(field string, c *HealthCheck) {
	if c == nil {
		return
	}
	switch c.Type {
	case "", CheckPort, CheckHTTP, CheckProcess:
	default:
		f.add(field+".type", "must be port, http or process")
	}
	switch {
	case c.Endpoint == "":
	case c.Type != CheckHTTP:
		f.add(field+".endpoint", "is for a check of type http alone")
	case len(c.Endpoint) > maxEndpoint:
		f.add(field+".endpoint", "is too long")
	case !endpointShape.MatchString(c.Endpoint):
		f.add(field+".endpoint", "must be a path that begins with '/', without blanks and control characters")
	}
	f.between(field+".interval", int64(c.Interval), 0, maxCheckSeconds)
	f.between(field+".invocation_timeout", int64(c.InvocationTimeout), 0, maxCheckSeconds)
	f.between(field+".threshold", int64(c.Threshold), 0, maxCheckThreshold)
}

// isRequestURI tells whether a request can be made of a path and query: "/%zz" stands for nothing, and "#" begins what no
// server is sent.
func isRequestURI(endpoint string) bool {
	_, err := url.ParseRequestURI(endpoint)
	return err == nil && !strings.Contains(endpoint, "#")
}
