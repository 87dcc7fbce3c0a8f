package appenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/durable-dea/dea/api"
)

// boundService is a service as an app sees it in VCAP_SERVICES: these keys and no other.
type boundService struct {
	Name           string         `json:"name"`
	Label          string         `json:"label"`
	Tags           []string       `json:"tags"`
	Plan           string         `json:"plan,omitempty"`
	PlanOption     any            `json:"plan_option,omitempty"`
	Credentials    map[string]any `json:"credentials"`
	SyslogDrainURL string         `json:"syslog_drain_url,omitempty"`
}

// vcapServices groups the services by their labels.
func vcapServices(services []api.Service) (string, error) {
	groups := make(map[string][]boundService)
	for _, s := range services {
		bound := boundService{
			Name: s.Name, Label: s.Label, Tags: s.Tags, Plan: s.Plan, PlanOption: s.PlanOption,
			Credentials: s.Credentials, SyslogDrainURL: s.SyslogDrainURL,
		}
		// A controller always sends these two; what is empty is dropped on the way to here, and apps look for both.
		if bound.Tags == nil {
			bound.Tags = []string{}
		}
		if bound.Credentials == nil {
			bound.Credentials = map[string]any{}
		}
		groups[s.Label] = append(groups[s.Label], bound)
	}
	return toJSON("VCAP_SERVICES", groups)
}

// adapters are the schemes of relational databases, and the names by which Rails knows them.
var adapters = map[string]string{
	"mysql": "mysql2", "mysql2": "mysql2",
	"postgres": "postgres", "postgresql": "postgres",
	"db2": "ibmdb", "informix": "ibmdb",
}

var production = regexp.MustCompile(`prod(uction)?$`)

// databaseURL is the URI of the relational database among the services: of several the first whose name ends in
// "production" or "prod", else the first. Empty when there is none.
func databaseURL(services []api.Service) string {
	first := ""
	for _, s := range services {
		uri, ok := s.Credentials["uri"].(string)
		if !ok {
			continue
		}
		scheme, rest, ok := strings.Cut(uri, "://")
		adapter := adapters[scheme]
		if !ok || adapter == "" {
			continue
		}
		// Only the scheme changes: a password in it may be no valid part of a URL, and is passed on all the same.
		uri = adapter + "://" + rest
		if production.MatchString(s.Name) {
			return uri
		}
		if first == "" {
			first = uri
		}
	}
	return first
}

// toJSON encodes without the HTML escapes of encoding/json, which no other encoder makes.
func toJSON(name string, value any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encode %s: %w", name, err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
