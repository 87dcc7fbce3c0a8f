package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

const (
	someSHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	hush     = "swordfish"
)

func request() api.StagingRequest {
	return api.StagingRequest{
		AppID: "hello", TaskID: "0a1b-2c", Stack: "lucid64",
		DownloadURI: "http://u:" + hush + "@cc/staging/apps/hello", UploadURI: "https://cc/up?async=true",
		AdminBuildpacks: []api.AdminBuildpack{{Key: "go", URL: "http://cc/go"}},
	}
}

func message() api.StartMessage {
	return api.StartMessage{
		AppID: "hello", Version: "v1", SHA1: someSHA1, ExecutableURI: "http://cc/d", Stack: "lucid64",
		URIs: []string{"hello.localhost", "example.org:8080/path"}, Limits: api.Limits{MemoryMB: 64, DiskMB: 64, FDs: 100},
		Env: slices.Concat([]string{"A=", "_B1=x=y\n", "C=" + strings.Repeat("x", 1<<19)}, slices.Repeat([]string{"D=1"}, 997)),
	}
}

// refused checks that an error is of the right type and says words, and no secret.
func refused(t *testing.T, err error, words string) {
	t.Helper()
	require.Error(t, err, words)
	info := api.Explain(err, "")
	require.Equal(t, api.ErrInvalidRequest, info.Type)
	require.Contains(t, info.Message, words)
	require.NotContains(t, info.Message, hush)
}

func TestStagingRequestValidate(t *testing.T) {
	require.NoError(t, request().Validate())
	start := message()
	start.SHA1, start.ExecutableURI = "", ""
	for words, change := range map[string]func(*api.StagingRequest){
		"":                                        func(r *api.StagingRequest) { r.StartMessage = &start },
		"app_id is missing":                       func(r *api.StagingRequest) { r.AppID = " " },
		"app_id may hold only":                    func(r *api.StagingRequest) { r.AppID = "../x" },
		"app_id is longer":                        func(r *api.StagingRequest) { r.AppID = strings.Repeat("a", 201) },
		"task_id may hold only":                   func(r *api.StagingRequest) { r.TaskID = "a/b" },
		"stack is missing":                        func(r *api.StagingRequest) { r.Stack = "" },
		"download_uri is missing":                 func(r *api.StagingRequest) { r.DownloadURI = "" },
		"download_uri must be":                    func(r *api.StagingRequest) { r.DownloadURI = "http://u:" + hush + "@cc:%zz/" },
		"upload_uri must be":                      func(r *api.StagingRequest) { r.UploadURI = "ftp://u:" + hush + "@cc/" },
		"cache_download_uri must":                 func(r *api.StagingRequest) { r.BuildpackCacheDownloadURI = "cc" },
		"cache_upload_uri must":                   func(r *api.StagingRequest) { r.BuildpackCacheUploadURI = "http://" },
		"memory_limit must be":                    func(r *api.StagingRequest) { r.MemoryLimit = -1 },
		"disk_limit must be":                      func(r *api.StagingRequest) { r.DiskLimit = 1 << 40 },
		"resources.mem must":                      func(r *api.StagingRequest) { r.Properties.Resources.MemoryMB = -1 },
		"environment[0] must be":                  func(r *api.StagingRequest) { r.Properties.Environment = []string{hush} },
		"environment[1] needs":                    func(r *api.StagingRequest) { r.Properties.Environment = []string{"A=1", "A-B=" + hush} },
		"environment[0] holds":                    func(r *api.StagingRequest) { r.Properties.Environment = []string{"A=" + hush + "\x00"} },
		"services[0].name is":                     func(r *api.StagingRequest) { r.Properties.Services = []api.Service{{Label: "l"}} },
		"admin_buildpacks[0].key":                 func(r *api.StagingRequest) { r.AdminBuildpacks[0].Key = "" },
		"admin_buildpacks[0].key holds a control": func(r *api.StagingRequest) { r.AdminBuildpacks[0].Key = "go\x00" },
		"key holds a control character":           func(r *api.StagingRequest) { r.AdminBuildpacks[0].Key = "go\x1b[2J" },
		"environment has 1001 variables, more than 1000": func(r *api.StagingRequest) {
			r.Properties.Environment = slices.Repeat([]string{"A=" + hush}, 1001)
		},
		"environment has 1048577 bytes, more than 1048576": func(r *api.StagingRequest) {
			r.Properties.Environment = []string{"A=" + strings.Repeat("x", 1<<20-1)}
		},
		"admin_buildpacks[0].url": func(r *api.StagingRequest) { r.AdminBuildpacks[0].URL = "go.zip" },
		"admin_buildpacks[1].key is there twice": func(r *api.StagingRequest) {
			r.AdminBuildpacks = append(r.AdminBuildpacks, r.AdminBuildpacks[0])
		},
		"names none of": func(r *api.StagingRequest) { r.Properties.BuildpackKey = "ruby" },
		"cannot stand beside": func(r *api.StagingRequest) {
			r.Properties.BuildpackKey, r.Properties.Buildpack = "go", "https://x/y.git"
		},
		"start_message.version is missing": func(r *api.StagingRequest) {
			m := start
			m.Version = ""
			r.StartMessage = &m
		},
		"must be the same app": func(r *api.StagingRequest) {
			m := start
			m.AppID = "other"
			r.StartMessage = &m
		},
	} {
		r := request()
		change(&r)
		if words == "" {
			require.NoError(t, r.Validate())
			continue
		}
		refused(t, r.Validate(), words)
	}
}

func TestAllThatIsWrongIsToldAtOnce(t *testing.T) {
	err := api.StagingRequest{MemoryLimit: -1}.Validate()
	for _, words := range []string{"app_id", "task_id", "stack", "download_uri", "upload_uri", "memory_limit"} {
		refused(t, err, words)
	}
}

func TestStartMessageValidate(t *testing.T) {
	require.NoError(t, message().Validate())
	for words, change := range map[string]func(*api.StartMessage){
		"droplet is missing":         func(m *api.StartMessage) { m.AppID = "" },
		"version is missing":         func(m *api.StartMessage) { m.Version = "" },
		"sha1 is missing":            func(m *api.StartMessage) { m.SHA1 = "" },
		"sha1 must be 40":            func(m *api.StartMessage) { m.SHA1 = "abc" },
		"executableUri is missing":   func(m *api.StartMessage) { m.ExecutableURI = "" },
		"stack is missing":           func(m *api.StartMessage) { m.Stack = "" },
		"index must be":              func(m *api.StartMessage) { m.Index = -1 },
		"limits.mem must be":         func(m *api.StartMessage) { m.Limits.MemoryMB = 0 },
		"limits.disk must be":        func(m *api.StartMessage) { m.Limits.DiskMB = -5 },
		"limits.fds must be":         func(m *api.StartMessage) { m.Limits.FDs = -1 },
		"health_check_timeout must":  func(m *api.StartMessage) { m.HealthCheckTimeout = 3601 },
		"env[0] needs":               func(m *api.StartMessage) { m.Env = []string{"=" + hush} },
		"services[0].label is":       func(m *api.StartMessage) { m.Services = []api.Service{{Name: "n"}} },
		"uris[1] must be":            func(m *api.StartMessage) { m.URIs = []string{"a.b", "http://a.b"} },
		"uris[0] must be":            func(m *api.StartMessage) { m.URIs = []string{"u:" + hush + "@a.b"} },
		"egress_network_rules[0].pr": func(m *api.StartMessage) { m.EgressNetworkRules = []api.EgressRule{{Protocol: "sctp"}} },
	} {
		m := message()
		change(&m)
		refused(t, m.Validate(), words)
	}
}

func TestEgressRules(t *testing.T) {
	for _, test := range []struct {
		rule api.EgressRule
		ok   bool
	}{
		{api.EgressRule{Protocol: "tcp", Destination: "10.0.0.0/8", Ports: "80,443"}, true},
		{api.EgressRule{Protocol: "udp", Destination: "10.0.0.1-10.0.0.9", Ports: "8000-9000"}, true},
		{api.EgressRule{Protocol: "all", Destination: "0.0.0.0/0"}, true},
		{api.EgressRule{Protocol: "icmp", Destination: "fe80::1"}, true},
		{api.EgressRule{Protocol: "tcp", Destination: "10.0.0.0/8"}, false},
		{api.EgressRule{Protocol: "all", Destination: "10.0.0.0/8", Ports: "80"}, false},
		{api.EgressRule{Protocol: "tcp", Destination: "10.0.0.9-10.0.0.1", Ports: "80"}, false},
		{api.EgressRule{Protocol: "tcp", Destination: "10.0.0.1-::1", Ports: "80"}, false},
		{api.EgressRule{Protocol: "tcp", Destination: "example.org", Ports: "80"}, false},
		{api.EgressRule{Protocol: "tcp", Destination: "10.0.0.1", Ports: "0"}, false},
		{api.EgressRule{Protocol: "tcp", Destination: "10.0.0.1", Ports: "90-80"}, false},
		{api.EgressRule{Protocol: "tcp", Destination: "10.0.0.1", Ports: "65536"}, false},
		{api.EgressRule{Protocol: "tcp", Destination: "10.0.0.1", Ports: "80,"}, false},
	} {
		m := message()
		m.EgressNetworkRules = []api.EgressRule{test.rule}
		if test.ok {
			require.NoError(t, m.Validate(), "%+v", test.rule)
		} else {
			refused(t, m.Validate(), "egress_network_rules[0].")
		}
	}
}

func TestInstancesValidate(t *testing.T) {
	for n, ok := range map[int]bool{-1: false, 0: true, 1: true, api.MaxInstances: true, api.MaxInstances + 1: false} {
		spec := api.AppSpec{Message: message(), Instances: n}
		if ok {
			require.NoError(t, spec.Validate())
			require.NoError(t, api.ScaleRequest{Instances: n}.Validate())
			continue
		}
		refused(t, spec.Validate(), "instances must be from 0 to 500")
		refused(t, api.ScaleRequest{Instances: n}.Validate(), "instances must be")
	}
	refused(t, api.AppSpec{}.Validate(), "message.droplet is missing")
}

func TestInstanceIDValidate(t *testing.T) {
	for _, id := range []string{"a", "0b5a6e0c-8d0e-4f0a-9a57-5d3f6a2c9f11", "hello.1_b", "staging", strings.Repeat("x", 200)} {
		require.NoError(t, api.ValidateInstanceID(id), id)
	}
	for _, id := range []string{"", ".", "..", "-a", "a/b", "a b", "a\n", "ä", "staging-1", strings.Repeat("x", 201)} {
		refused(t, api.ValidateInstanceID(id), "instance_id")
	}
}

// TestDigest: of equal messages alike, also of one that has travelled, and of no others.
func TestDigest(t *testing.T) {
	m := message()
	m.VCAPApplication = map[string]any{"b": 1, "a": []int{2}}
	text, err := json.Marshal(m)
	require.NoError(t, err)
	read, err := api.ParseStartMessage(text)
	require.NoError(t, err)
	require.Equal(t, m.Digest(), read.Digest())
	read.Index++
	require.NotEqual(t, m.Digest(), read.Digest())
}

func FuzzRequestValidate(f *testing.F) {
	f.Add("a", "http://x", "A=1", "10.0.0.0/8", "80-90")
	f.Fuzz(func(t *testing.T, id, uri, env, destination, ports string) {
		r := request()
		r.AppID, r.DownloadURI = id, uri
		r.Properties.Environment = []string{env}
		r.EgressNetworkRules = []api.EgressRule{{Protocol: "tcp", Destination: destination, Ports: ports}}
		if err := r.Validate(); err != nil {
			require.Equal(t, api.ErrInvalidRequest, api.Explain(err, "").Type)
		}
	})
}
