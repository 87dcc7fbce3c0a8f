package api_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

func TestDefaultsOfChecks(t *testing.T) {
	process := api.HealthCheck{Type: api.CheckProcess, Interval: 30, InvocationTimeout: 1, Threshold: 1}
	port, http := process, process
	port.Type, http.Type, http.Endpoint = api.CheckPort, api.CheckHTTP, "/"
	own := api.HealthCheck{Type: api.CheckHTTP, Endpoint: "/up?deep=1", Interval: 5, InvocationTimeout: 2, Threshold: 3}
	routes := []string{"hello.localhost"}
	for name, test := range map[string]struct {
		message             api.StartMessage
		liveness, readiness api.HealthCheck
	}{
		"none, no routes":     {api.StartMessage{}, process, process},
		"none, routes":        {api.StartMessage{URIs: routes}, port, process},
		"a type alone":        {api.StartMessage{HealthCheck: &api.HealthCheck{Type: api.CheckHTTP}}, http, process},
		"empty, routes":       {api.StartMessage{URIs: routes, HealthCheck: &api.HealthCheck{}, ReadinessCheck: &api.HealthCheck{}}, port, process},
		"process, routes":     {api.StartMessage{URIs: routes, HealthCheck: &api.HealthCheck{Type: api.CheckProcess}}, process, process},
		"own":                 {api.StartMessage{HealthCheck: &own, ReadinessCheck: &own}, own, own},
		"readiness by itself": {api.StartMessage{ReadinessCheck: &api.HealthCheck{Type: api.CheckPort}}, process, port},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.liveness, test.message.Liveness())
			require.Equal(t, test.readiness, test.message.Readiness())
		})
	}
	require.Equal(t, api.HealthCheck{Type: api.CheckHTTP, Endpoint: "/up?deep=1", Interval: 5, InvocationTimeout: 2, Threshold: 3},
		own, "what the message has is not written to")
}

// TestLaterRules are for what is accepted: workflows of earlier messages go on with them.
func TestLaterRules(t *testing.T) {
	for words, set := range map[string]func(*api.StartMessage){
		"health_check.endpoint must be as a request has it": func(m *api.StartMessage) {
			m.HealthCheck = &api.HealthCheck{Type: api.CheckHTTP, Endpoint: "/%zz"}
		},
		"readiness_health_check.endpoint must be as a request": func(m *api.StartMessage) {
			m.ReadinessCheck = &api.HealthCheck{Type: api.CheckHTTP, Endpoint: "/a#b"}
		},
		"start_command holds a NUL": func(m *api.StartMessage) { m.StartCommand = "exec \x00 ./run" },
	} {
		m := message()
		set(&m)
		refused(t, m.Validate(), words)
		refused(t, api.AppSpec{Message: m}.Validate(), "message."+words)
		m.SHA1 = strings.Repeat("a", 40)
		require.NoError(t, m.ValidateStaged())
	}
}

func TestChecksOfHealth(t *testing.T) {
	for words, check := range map[string]api.HealthCheck{
		"":                                    {},
		".type must be port, http or process": {Type: "tcp"},
		".endpoint is for a check of type":    {Type: api.CheckPort, Endpoint: "/up"},
		".endpoint must be a path that":       {Type: api.CheckHTTP, Endpoint: "up"},
		".endpoint must be a path":            {Type: api.CheckHTTP, Endpoint: "/a b"},
		".endpoint must be":                   {Type: api.CheckHTTP, Endpoint: "/a\r\nHost: " + hush},
		".endpoint is too long":               {Type: api.CheckHTTP, Endpoint: "/" + strings.Repeat("a", 1024)},
		".interval must be from 0 to 3600":    {Interval: 3601},
		".interval must be from":              {Interval: -1},
		".invocation_timeout must be from":    {InvocationTimeout: 3601},
		".threshold must be from 0 to 100":    {Threshold: 101},
		".threshold must be from 0":           {Threshold: -1},
	} {
		liveness, readiness := message(), message()
		liveness.HealthCheck, readiness.ReadinessCheck = &check, &check
		if words == "" {
			require.NoError(t, liveness.Validate())
			require.NoError(t, readiness.Validate())
			continue
		}
		refused(t, liveness.Validate(), "health_check"+words)
		refused(t, readiness.Validate(), "readiness_health_check"+words)
		staged := request()
		staged.StartMessage = &liveness
		refused(t, staged.Validate(), "start_message.health_check"+words)
	}
	good := message()
	good.HealthCheck = &api.HealthCheck{Type: api.CheckHTTP, Endpoint: "/" + strings.Repeat("a", 1023), Interval: 3600, InvocationTimeout: 3600, Threshold: 100}
	good.ReadinessCheck = &api.HealthCheck{Type: api.CheckPort}
	require.NoError(t, good.Validate())
}
