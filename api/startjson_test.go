package api_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// wholeStart is a start message with every field of the wire, as a cloud controller sends it, and ours.
const wholeStart = `{
  "droplet": "app-1", "version": "v1", "name": "hello", "uris": ["hello.localhost"], "index": 2,
  "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709", "executableUri": "http://u:swordfish@cc/d", "stack": "cflinuxfs2",
  "cc_partition": "default", "limits": {"mem": 256, "disk": 512, "fds": 100}, "env": ["A=1", "B=x=y"],
  "services": [{"name": "db", "label": "mysql", "credentials": {"uri": "mysql://u:swordfish@h/d"}}],
  "start_command": "./run", "health_check_timeout": 60,
  "egress_network_rules": [{"protocol": "all", "destination": "10.0.0.0/8"}], "vcap_application": {"name": "hello"},
  "health_check": {"type": "http", "endpoint": "/up", "interval": 5, "invocation_timeout": 2, "threshold": 3},
  "readiness_health_check": {"type": "port"},
  "prod": false, "debug": null, "console": true, "executableFile": null
}`

func wholeMessage() api.StartMessage {
	return api.StartMessage{
		AppID: "app-1", Version: "v1", Name: "hello", URIs: []string{"hello.localhost"}, Index: 2, SHA1: someSHA1,
		ExecutableURI: "http://u:" + hush + "@cc/d", Stack: "cflinuxfs2", CCPartition: "default",
		Limits: api.Limits{MemoryMB: 256, DiskMB: 512, FDs: 100}, Env: []string{"A=1", "B=x=y"},
		Services: []api.Service{{
			Name: "db", Label: "mysql", Credentials: map[string]any{"uri": "mysql://u:" + hush + "@h/d"},
		}},
		StartCommand: "./run", HealthCheckTimeout: 60,
		EgressNetworkRules: []api.EgressRule{{Protocol: "all", Destination: "10.0.0.0/8"}},
		VCAPApplication:    map[string]any{"name": "hello"},
		HealthCheck: &api.HealthCheck{
			Type: api.CheckHTTP, Endpoint: "/up", Interval: 5, InvocationTimeout: 2, Threshold: 3,
		},
		ReadinessCheck: &api.HealthCheck{Type: api.CheckPort},
	}
}

func parseStart(t *testing.T, text string) api.StartMessage {
	t.Helper()
	message, err := api.ParseStartMessage([]byte(text))
	require.NoError(t, err, text)
	return message
}

// aliases are the second names of a start message's fields.
func aliases() map[string]string {
	return map[string]string{
		"index": "instance_index", "droplet": "application_id", "version": "application_version",
		"name": "application_name", "uris": "application_uris", "sha1": "droplet_sha1", "executableUri": "droplet_uri",
	}
}

func TestEveryFieldOfAStartIsRead(t *testing.T) {
	got := parseStart(t, wholeStart)
	require.Equal(t, wholeMessage(), got)
	require.NoError(t, got.Validate())
	require.Equal(t, got, parseStart(t, marshal(t, got)))
}

func TestAStartIsReadByEitherName(t *testing.T) {
	all := object(t, wholeStart)
	for name, alias := range aliases() {
		o := object(t, wholeStart)
		o[alias] = o[name]
		require.Equal(t, wholeMessage(), parseStart(t, marshal(t, o)), "both, alike")
		delete(o, name)
		require.Equal(t, wholeMessage(), parseStart(t, marshal(t, o)), alias)
		o[name] = nil
		require.Equal(t, wholeMessage(), parseStart(t, marshal(t, o)), "null is as absent")
		all[alias] = all[name]
		delete(all, name)
	}
	all["environment"] = map[string]any{"A": "1", "B": "x=y"}
	delete(all, "env")
	require.Equal(t, wholeMessage(), parseStart(t, marshal(t, all)))
}

func TestNamesThatDisagreeAreRefused(t *testing.T) {
	for name, alias := range aliases() {
		o := object(t, wholeStart)
		switch o[name].(type) {
		case string:
			o[alias] = hush
		case float64:
			o[alias] = 0 // is there, and no default
		default:
			o[alias] = []string{hush}
		}
		_, err := api.ParseStartMessage([]byte(marshal(t, o)))
		refused(t, err, alias+" says something else than "+name)
	}
}

func TestEnvironmentHasTwoForms(t *testing.T) {
	for text, want := range map[string][]string{
		`"environment":{"B":"2","A":"=1"}`:                 {"A==1", "B=2"},
		`"environment":{}`:                                 nil,
		`"environment":null,"env":["A=1"]`:                 {"A=1"},
		`"environment":{"A":"1"},"env":["A=1"]`:            {"A=1"},
		`"environment":{"A":"2"},"env":["A=1","A=2"]`:      {"A=1", "A=2"},
		`"environment":{"A":"1","B":"2"},"env":null`:       {"A=1", "B=2"},
		`"env":["A=1"]`:                                    {"A=1"},
		`"environment":{"A":""},"env":["A="],"unknown":{}`: {"A="},
	} {
		require.Equal(t, want, parseStart(t, `{`+text+`}`).Env, text)
	}
	for text, words := range map[string]string{
		`"environment":{"A":"swordfish"},"env":["A=1"]`:         "environment says something else than env",
		`"environment":{"A":"1","B":"swordfish"},"env":["A=1"]`: "environment says something else than env",
		`"environment":{"A=B":"swordfish"}`:                     "environment needs names",
		`"environment":{"A":1}`:                                 "has a number where a text must be",
		`"environment":["A=swordfish"]`:                         "environment has a list where an object must be",
		`"env":{"A":"swordfish"}`:                               "env has an object where a list of texts must be",
	} {
		_, err := api.ParseStartMessage([]byte(`{` + text + `}`))
		refused(t, err, words)
	}
}

// TestAWrongKindInAStart: for each field of the wire and each second name, in turn, and without its value.
func TestAWrongKindInAStart(t *testing.T) {
	var all []string
	paths("", object(t, wholeStart), func(path string, _ map[string]any, _ string) { all = append(all, path) })
	for _, alias := range aliases() {
		all = append(all, alias)
	}
	dropped := map[string]bool{"prod": true, "debug": true, "console": true, "executableFile": true}
	for _, wanted := range all {
		if dropped[wanted] || strings.HasPrefix(wanted, "vcap_application.") || strings.Contains(wanted, ".credentials.") {
			continue
		}
		o := object(t, wholeStart)
		o["application_uris"] = o["uris"]
		for name, alias := range aliases() {
			o[alias] = o[name]
		}
		paths("", o, func(path string, parent map[string]any, key string) {
			if path != wanted {
				return
			}
			if _, text := parent[key].(string); text {
				parent[key] = []string{hush}
			} else {
				parent[key] = hush
			}
		})
		_, err := api.ParseStartMessage([]byte(marshal(t, o)))
		refused(t, err, "the request's "+strings.ReplaceAll(wanted, "[].", "")+" has a ")
	}
}

func TestWhatAStartDrops(t *testing.T) {
	o := object(t, wholeStart)
	for _, key := range []string{
		"prod", "debug", "console", "executableFile", "users", "tags", "instance_id", "private_instance_id",
		"warden_handle", "unknown",
	} {
		o[key] = hush + "-dropped"
	}
	read := parseStart(t, marshal(t, o))
	require.Equal(t, wholeMessage(), read)
	require.NotContains(t, marshal(t, read), "dropped")
}

func TestWhatIsNoStart(t *testing.T) {
	for text, words := range map[string]string{
		``:                       "no JSON",
		`{"secret":"swordfish"`:  "no JSON",
		`["swordfish"]`:          "the request has a list where an object must be",
		`{"index":1.5}`:          "index has a fraction or too large a number",
		`{"health_check":"http"`: "no JSON",
		`{"name":"` + strings.Repeat("a", api.MaxStartMessageBytes) + `"}`: "longer than",
	} {
		_, err := api.ParseStartMessage([]byte(text))
		refused(t, err, words)
	}
	refused(t, parseStart(t, `null`).Validate(), "droplet is missing")
	big := message()
	big.StartCommand = strings.Repeat("<", 1<<20)
	refused(t, big.Validate(), "the whole takes")
}

// FuzzParseStartMessage: whatever is read, an error is of the one type, and what was read travels as it is.
func FuzzParseStartMessage(f *testing.F) {
	for _, seed := range []string{
		wholeStart, `{}`, `null`, `[]`, `{"instance_index":1,"index":null}`, `{"environment":{"A":"1"},"env":["A=1"]}`,
		`{"application_uris":[],"uris":null}`, `{"limits":{"memory":1}}`, `{"health_check":{"interval":1e1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		read, err := api.ParseStartMessage(text)
		if err == nil {
			once := marshal(t, read)
			require.JSONEq(t, once, marshal(t, parseStart(t, once)))
			err = read.Validate()
		}
		if err != nil {
			require.Equal(t, api.ErrInvalidRequest, api.Explain(err, "").Type)
		}
	})
}
