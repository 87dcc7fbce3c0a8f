package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// wholeRequest is a request with every field of the wire, as a cloud controller sends it.
const wholeRequest = `{
  "app_id": "app-1", "task_id": "task-1", "stack": "cflinuxfs2",
  "properties": {
    "services": [{
      "name": "db", "label": "mysql", "tags": ["sql"], "plan": "free", "plan_option": "p", "provider": "core",
      "credentials": {"uri": "mysql://u:swordfish@h/d"}, "syslog_drain_url": "syslog://x", "volume_mounts": []
    }],
    "resources": {"memory": 256, "disk": 512, "fds": 100},
    "environment": ["A=1", "B=x=y"],
    "meta": {"command": "./run"},
    "buildpack": "https://u:swordfish@h/b.git#v1", "buildpack_git_url": "https://u:swordfish@h/b.git#v1", "buildpack_key": "go",
    "buildpacks": ["go", "https://h/c.git"]
  },
  "download_uri": "http://u:swordfish@cc/app", "upload_uri": "http://u:swordfish@cc/droplet",
  "buildpack_cache_download_uri": "http://cc/cache", "buildpack_cache_upload_uri": "http://cc/cache/up",
  "start_message": {
    "droplet": "app-1", "version": "v1", "name": "hello", "uris": ["hello.localhost"], "index": 2,
    "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709", "executableUri": "http://cc/d", "stack": "cflinuxfs2",
    "cc_partition": "default", "limits": {"mem": 256, "disk": 512, "fds": 100}, "env": ["A=1"],
    "services": [{"name": "db", "label": "mysql"}], "start_command": "./run", "health_check_timeout": 60,
    "egress_network_rules": [{"protocol": "all", "destination": "10.0.0.0/8"}], "vcap_application": {"name": "hello"}
  },
  "admin_buildpacks": [{"key": "go", "url": "http://cc/go"}],
  "egress_network_rules": [
    {"protocol": "tcp", "destination": "10.0.0.0/8", "ports": "80,443", "log": true},
    {"protocol": "icmp", "destination": "0.0.0.0/0", "type": 0, "code": -1}
  ],
  "memory_limit": 1024, "disk_limit": 2048, "accepts_http": true
}`

func whole() api.StagingRequest {
	url := "https://u:" + hush + "@h/b.git#v1"
	zero, minus := int32(0), int32(-1)
	return api.StagingRequest{
		AppID: "app-1", TaskID: "task-1", Stack: "cflinuxfs2",
		Properties: api.StagingProperties{
			Services: []api.Service{{
				Name: "db", Label: "mysql", Tags: []string{"sql"}, Plan: "free", PlanOption: "p", Provider: "core",
				Credentials: map[string]any{"uri": "mysql://u:" + hush + "@h/d"}, SyslogDrainURL: "syslog://x", VolumeMounts: []any{},
			}},
			Resources:   api.Limits{MemoryMB: 256, DiskMB: 512, FDs: 100},
			Environment: []string{"A=1", "B=x=y"}, Meta: api.StagingMeta{Command: "./run"},
			Buildpack: url, BuildpackGitURL: url, BuildpackKey: "go", Buildpacks: []string{"go", "https://h/c.git"},
		},
		DownloadURI: "http://u:" + hush + "@cc/app", UploadURI: "http://u:" + hush + "@cc/droplet",
		BuildpackCacheDownloadURI: "http://cc/cache", BuildpackCacheUploadURI: "http://cc/cache/up",
		StartMessage: &api.StartMessage{
			AppID: "app-1", Version: "v1", Name: "hello", URIs: []string{"hello.localhost"}, Index: 2, SHA1: someSHA1,
			ExecutableURI: "http://cc/d", Stack: "cflinuxfs2", CCPartition: "default",
			Limits: api.Limits{MemoryMB: 256, DiskMB: 512, FDs: 100}, Env: []string{"A=1"},
			Services: []api.Service{{Name: "db", Label: "mysql"}}, StartCommand: "./run", HealthCheckTimeout: 60,
			EgressNetworkRules: []api.EgressRule{{Protocol: "all", Destination: "10.0.0.0/8"}},
			VCAPApplication:    map[string]any{"name": "hello"},
		},
		AdminBuildpacks: []api.AdminBuildpack{{Key: "go", URL: "http://cc/go"}},
		EgressNetworkRules: []api.EgressRule{
			{Protocol: "tcp", Destination: "10.0.0.0/8", Ports: "80,443", Log: true},
			{Protocol: "icmp", Destination: "0.0.0.0/0", Type: &zero, Code: &minus},
		},
		MemoryLimit: 1024, DiskLimit: 2048, AcceptsHTTP: true,
	}
}

func parse(t *testing.T, text string) api.StagingRequest {
	t.Helper()
	request, err := api.ParseStagingRequest([]byte(text))
	require.NoError(t, err, text)
	return request
}

func TestEveryFieldOfTheWireIsRead(t *testing.T) {
	got := parse(t, wholeRequest)
	require.Equal(t, whole(), got)
	text, err := json.Marshal(got)
	require.NoError(t, err)
	again := parse(t, string(text))
	again.Properties.Services[0].VolumeMounts = []any{} // an empty list is left out
	require.Equal(t, got, again)
}

// paths gives the place of each value in a JSON object, with "[]" for a list's entries.
func paths(at string, value any, add func(path string, parent map[string]any, key string)) {
	switch v := value.(type) {
	case map[string]any:
		for key, one := range v {
			add(at+key, v, key)
			paths(at+key+".", one, add)
		}
	case []any:
		for _, one := range v {
			paths(at+"[].", one, add)
		}
	}
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &o))
	return o
}

func marshal(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return string(text)
}

// free is what is the service's or the app's own and not of the wire.
func free(path string) bool {
	return strings.HasPrefix(path, "properties.services.[].credentials.") || strings.HasPrefix(path, "start_message.vcap_application.")
}

// TestNullIsAsAbsent: for each field of the wire, in turn.
func TestNullIsAsAbsent(t *testing.T) {
	var all []string
	paths("", object(t, wholeRequest), func(path string, _ map[string]any, _ string) { all = append(all, path) })
	require.Greater(t, len(all), 50)
	for _, wanted := range all {
		if free(wanted) {
			continue
		}
		with, without := object(t, wholeRequest), object(t, wholeRequest)
		paths("", with, func(path string, parent map[string]any, key string) {
			if path == wanted {
				parent[key] = nil
			}
		})
		paths("", without, func(path string, parent map[string]any, key string) {
			if path == wanted {
				delete(parent, key)
			}
		})
		require.Equal(t, parse(t, marshal(t, without)), parse(t, marshal(t, with)), wanted)
	}
}

// TestAWrongKindIsToldByItsField: for each field of the wire, in turn, and without its value.
func TestAWrongKindIsToldByItsField(t *testing.T) {
	var all []string
	paths("", object(t, wholeRequest), func(path string, _ map[string]any, _ string) { all = append(all, path) })
	for _, wanted := range all {
		if free(wanted) || strings.HasSuffix(wanted, "plan_option") { // which may be of any kind
			continue
		}
		o := object(t, wholeRequest)
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
		_, err := api.ParseStagingRequest([]byte(marshal(t, o)))
		refused(t, err, "the request's "+strings.ReplaceAll(wanted, "[].", "")+" has a ")
	}
}

func TestUnknownFieldsAreDropped(t *testing.T) {
	o := object(t, wholeRequest)
	known := marshal(t, parse(t, wholeRequest))
	for _, key := range []string{"prod", "debug", "console", "executableFile"} { // of the wire, and without a meaning here
		o["start_message"].(map[string]any)[key] = hush + "-unknown"
	}
	var objects []map[string]any
	paths("", o, func(path string, parent map[string]any, _ string) {
		if !free(path) {
			objects = append(objects, parent)
		}
	})
	for _, one := range objects {
		one["unknown"] = map[string]any{"x": []any{hush + "-unknown"}}
	}
	read := parse(t, marshal(t, o))
	require.JSONEq(t, known, marshal(t, read))
	require.NotContains(t, marshal(t, read), "unknown")
}

func TestAnEmptyStartMessageIsNone(t *testing.T) {
	for _, text := range []string{`{}`, `{"start_message":{}}`, `{"start_message":null}`, `{"start_message":{"prod":true}}`} {
		require.Nil(t, parse(t, text).StartMessage, text)
	}
	require.NotNil(t, parse(t, `{"start_message":{"droplet":"a"}}`).StartMessage)
	refused(t, parse(t, `{"start_message":{"name":"a"}}`).Validate(), "start_message.droplet is missing")
}

func TestMemoryHasTwoNames(t *testing.T) {
	for text, want := range map[string]int64{
		`{"memory":512}`: 512, `{"mem":512}`: 512, `{"mem":512,"memory":64}`: 512, `{"memory":64,"mem":512}`: 512,
		`{"mem":0,"memory":64}`: 64, `{"mem":null,"memory":64}`: 64, `{}`: 0, `null`: 0,
	} {
		require.Equal(t, want, parse(t, `{"properties":{"resources":`+text+`}}`).Properties.Resources.MemoryMB, text)
		require.Equal(t, want, parse(t, `{"start_message":{"name":"a","limits":`+text+`}}`).StartMessage.Limits.MemoryMB, text)
	}
}

func TestWhatIsNoRequest(t *testing.T) {
	for text, words := range map[string]string{
		``:                                    "no JSON",
		`{"app_id"`:                           "no JSON",
		`{"secret":"swordfish"`:               "no JSON",
		`{"app_id":"a"} swordfish`:            "no JSON",
		`[1]`:                                 "the request has a list where an object must be",
		`"swordfish"`:                         "the request has a text where an object must be",
		`{"properties":{"environment":[{}]}}`: "properties.environment has an object where a text must be",
		`{"properties":{"resources":[]}}`:     "has a list where an object must be",
		`{"properties":{"resources":{"mem":"1"}}}`:                             "properties.resources.mem has a text where a whole number must be",
		`{"admin_buildpacks":true}`:                                            "admin_buildpacks has true or false where a list of objects must be",
		`{"memory_limit":1.5}`:                                                 "memory_limit has a fraction or too large a number where a whole number must be",
		`{"memory_limit":1e99}`:                                                "memory_limit has a fraction or too large a number",
		`{"disk_limit":9223372036854775808}`:                                   "disk_limit has a fraction or too large a number",
		`{"accepts_http":1}`:                                                   "accepts_http has a number where true or false must be",
		`{"start_message":{"vcap_application":1}}`:                             "start_message.vcap_application has a number where an object must be",
		strings.Repeat("[", 20_000):                                            "no JSON",
		`{"app_id":"` + strings.Repeat("a", api.MaxStagingRequestBytes) + `"}`: "longer than",
	} {
		_, err := api.ParseStagingRequest([]byte(text))
		refused(t, err, words)
	}
	refused(t, parse(t, `null`).Validate(), "app_id is missing")
}

// TestWhatCannotTravelIsRefused: Temporal's JSON is longer than what was read.
func TestWhatCannotTravelIsRefused(t *testing.T) {
	r := request()
	r.Properties.Meta.Command = strings.Repeat("<", 1<<20)
	refused(t, r.Validate(), "the whole takes 6")
	r.Properties.Meta.Command = strings.Repeat("x", 1<<20)
	require.NoError(t, r.Validate())
	r.Properties.Services = []api.Service{{Name: "n", Label: "l", Credentials: map[string]any{"f": func() {}}}}
	refused(t, r.Validate(), "cannot be written as JSON")
}

func TestNullEntriesOfLists(t *testing.T) {
	for text, words := range map[string]string{
		`"properties":{"environment":["A=1",null]}`: "properties.environment[1] must be NAME=value",
		`"properties":{"services":[null]}`:          "properties.services[0].name is missing",
		`"properties":{"buildpacks":[null]}`:        "properties.buildpacks[0] is missing",
		`"admin_buildpacks":[null]`:                 "admin_buildpacks[0].key is missing",
		`"egress_network_rules":[null]`:             "egress_network_rules[0].protocol must be",
	} {
		refused(t, parse(t, `{`+text+`}`).Validate(), words)
	}
}

func TestNeedsAreTheLargestOfWhatIsAskedFor(t *testing.T) {
	for _, test := range []struct{ limit, resource, want int64 }{{0, 0, 1}, {512, 0, 512}, {0, 512, 512}, {512, 1024, 1024}, {1024, 512, 1024}} {
		text := fmt.Sprintf(`{"memory_limit":%d,"disk_limit":%[1]d,"properties":{"resources":{"memory":%d,"disk":%[2]d}}}`, test.limit, test.resource)
		require.Equal(t, api.Resources{MemoryMB: test.want, DiskMB: test.want}, parse(t, text).Needs())
	}
}

// FuzzParseStagingRequest: whatever is read, an error is of the one type, and what was read travels as it is.
func FuzzParseStagingRequest(f *testing.F) {
	for _, seed := range []string{
		wholeRequest, `{}`, `null`, `[]`, `{"start_message":{}}`, `{"properties":{"resources":{"memory":1,"mem":null}}}`,
		`{"memory_limit":1e3}`, `{"properties":{"services":[{"credentials":{"a":[1,{}]},"plan_option":[]}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		read, err := api.ParseStagingRequest(text)
		if err != nil {
			require.Equal(t, api.ErrInvalidRequest, api.Explain(err, "").Type)
			return
		}
		once := marshal(t, read)
		require.JSONEq(t, once, marshal(t, parse(t, once)))
		if err := read.Validate(); err != nil {
			require.Equal(t, api.ErrInvalidRequest, api.Explain(err, "").Type)
			return
		}
		for _, b := range read.Choice().Buildpacks {
			require.True(t, b.Git != nil || b.Admin.Key != "")
		}
	})
}
