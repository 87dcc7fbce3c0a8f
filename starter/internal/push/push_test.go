package push

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/starter/internal/cloudcontroller"
)

func options() Options {
	return Options{
		Source: ".", Name: "hello", Instances: 2, Memory: 256, Disk: 1024, Domain: DefaultDomain, Stack: "lucid64",
		Env: []string{"A=1", "B=x=y"}, Command: "./run", HealthCheckTimeout: 90 * time.Second,
	}
}

func urls(t *testing.T) (*cloudcontroller.Client, cloudcontroller.URLs) {
	t.Helper()
	c, err := cloudcontroller.New("http://staging:pw@cc.example")
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, c.URLs("hello")
}

var operators = []cloudcontroller.Buildpack{
	{AdminBuildpack: api.AdminBuildpack{Key: "go-1f", URL: "http://cc/go"}, Name: "go"},
	{AdminBuildpack: api.AdminBuildpack{Key: "static-2e", URL: "http://cc/static"}},
}

func TestStagingRequest(t *testing.T) {
	_, u := urls(t)
	request, err := stagingRequest(options(), "task-1", u, operators)
	require.NoError(t, err)
	require.NoError(t, request.Validate())
	require.Equal(t, api.StagingRequest{
		AppID: "hello", TaskID: "task-1", Stack: "lucid64",
		Properties: api.StagingProperties{
			Resources:   api.Limits{MemoryMB: 256, DiskMB: 1024, FDs: 16384},
			Environment: []string{"A=1", "B=x=y"},
			Meta:        api.StagingMeta{Command: "./run"},
		},
		DownloadURI:               "http://staging:pw@cc.example/staging/apps/hello",
		UploadURI:                 "http://staging:pw@cc.example/staging/droplets/hello/upload?async=true",
		BuildpackCacheDownloadURI: "http://staging:pw@cc.example/staging/buildpack_cache/hello/download",
		BuildpackCacheUploadURI:   "http://staging:pw@cc.example/staging/buildpack_cache/hello/upload",
		AdminBuildpacks:           []api.AdminBuildpack{operators[0].AdminBuildpack, operators[1].AdminBuildpack},
		MemoryLimit:               256, DiskLimit: 1024, AcceptsHTTP: true,
	}, request)
}

func TestBuildpack(t *testing.T) {
	_, u := urls(t)
	for _, test := range []struct {
		flags    []string
		key, git string
		several  []string
		refused  string
	}{
		{flags: []string{"go"}, key: "go-1f"},
		{flags: []string{"go-1f"}, key: "go-1f"},
		{flags: []string{"static-2e"}, key: "static-2e"},
		{flags: []string{"https://example.org/bp.git#v2"}, git: "https://example.org/bp.git#v2"},
		{flags: []string{"git@example.org:bp"}, git: "git@example.org:bp"},
		{flags: []string{"deploy@example.org:bp"}, git: "deploy@example.org:bp"},
		{flags: nil},
		{flags: []string{" "}},
		{
			flags:   []string{"static-2e", "https://example.org/bp.git#v2", "go"},
			several: []string{"static-2e", "https://example.org/bp.git#v2", "go-1f"},
		},
		{flags: []string{"ruby"}, refused: "there are go, static-2e"},
		{flags: []string{"go", "ruby"}, refused: "there are go, static-2e"},
	} {
		o := options()
		o.Buildpacks = test.flags
		require.NoError(t, o.Validate())
		request, err := stagingRequest(o, "t", u, operators)
		if test.refused != "" {
			require.ErrorIs(t, err, ErrUsage)
			require.ErrorContains(t, err, test.refused)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, valid(o, request))
		require.Equal(t, test.key, request.Properties.BuildpackKey)
		require.Equal(t, test.git, request.Properties.Buildpack)
		require.Equal(t, test.several, request.Properties.Buildpacks)
	}
	_, err := stagingRequest(options(), "t", u, nil)
	require.ErrorIs(t, err, ErrUsage, "nothing could detect the app")

	o := options()
	o.Buildpacks = []string{"go", "go-1f"} // one by its name and by its key
	request, err := stagingRequest(o, "t", u, operators)
	require.NoError(t, err)
	require.ErrorContains(t, valid(o, request), "is there twice")
}

func TestAppSpec(t *testing.T) {
	c, _ := urls(t)
	const sha1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	spec := appSpec(options(), "v1", sha1, c.DropletURL("hello", sha1))
	require.NoError(t, spec.Validate())
	require.Equal(t, 2, spec.Instances)
	m := spec.Message
	require.Equal(t, []string{"hello.localhost"}, m.URIs)
	require.Equal(t, sha1, m.SHA1)
	require.Equal(t, "http://staging:pw@cc.example/staging/droplets/hello/"+sha1+"/download", m.ExecutableURI)
	require.Equal(t, 90, m.HealthCheckTimeout)
	require.Equal(t, "v1", m.VCAPApplication["application_version"])
	require.Equal(t, []string{"hello.localhost"}, m.VCAPApplication["application_uris"])

	o := options()
	o.NoRoute = true
	require.Empty(t, appSpec(o, "v1", sha1, "x").Message.URIs)
}

func TestWhatThePlatformWouldRefuseIsToldBeforeTheUpload(t *testing.T) {
	_, u := urls(t)
	for words, change := range map[string]func(*Options){
		"properties.environment[1] must be NAME=value": func(o *Options) { o.Env = []string{"A=1", "B"} },
		"needs a name":                 func(o *Options) { o.Env = []string{"1A=secret"} },
		"health_check_timeout must be": func(o *Options) { o.HealthCheckTimeout = 2 * time.Hour },
		"uris[0]":                      func(o *Options) { o.Domain = "no domain" },
	} {
		o := options()
		change(&o)
		request, err := stagingRequest(o, "t", u, operators)
		require.NoError(t, err)
		err = valid(o, request)
		require.ErrorIs(t, err, ErrUsage, words)
		require.ErrorContains(t, err, words)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestOptionsValidate(t *testing.T) {
	require.NoError(t, options().Validate())
	for words, change := range map[string]func(*Options){
		"directory or the zip": func(o *Options) { o.Source = "" },
		"--name":               func(o *Options) { o.Name = "" },
		"host name":            func(o *Options) { o.Name = "-hello" },
		"from 0 to 500":        func(o *Options) { o.Instances = -1 },
		"whole seconds":        func(o *Options) { o.HealthCheckTimeout = time.Millisecond },
		"2 of 2 is blank":      func(o *Options) { o.Buildpacks = []string{"go", ""} },
		"3 of 3 is there":      func(o *Options) { o.Buildpacks = []string{"go", "ruby", "go"} },
		"must be a git URL":    func(o *Options) { o.Buildpacks = []string{"https://u:secret@h/b#-x"} },
		"--buildpack must be":  func(o *Options) { o.Buildpacks = []string{"ext://h/secret"} },
	} {
		o := options()
		change(&o)
		require.ErrorIs(t, o.Validate(), ErrUsage)
		require.ErrorContains(t, o.Validate(), words)
		require.NotContains(t, o.Validate().Error(), "secret")
	}
	for _, name := range []string{"a", "a-1", "0", "x23456789012345678901234567890123456789012345678901234567890123"} {
		o := options()
		o.Name = name
		require.NoError(t, o.Validate(), name)
	}
	for _, name := range []string{"A", "a.b", "a_b", "a-", "é", "x234567890123456789012345678901234567890123456789012345678901234"} {
		o := options()
		o.Name = name
		require.Error(t, o.Validate(), name)
	}
}

func TestDrains(t *testing.T) {
	_, u := urls(t)
	o := options()
	o.Drains = []string{"syslog-tls://u:hunter2@logs.example.com"}
	require.NoError(t, o.Validate())
	bound := []api.Service{{Name: "drain-1", Label: "user-provided", SyslogDrainURL: o.Drains[0]}}
	request, err := stagingRequest(o, "t", u, operators)
	require.NoError(t, err)
	require.Equal(t, bound, request.Properties.Services)
	require.Equal(t, bound, appSpec(o, "v", "sha1", "http://droplet").Message.Services)
	o.Drains = append(o.Drains, "https://u:hunter2@logs.example.com")
	err = o.Validate()
	require.ErrorIs(t, err, ErrUsage)
	require.ErrorContains(t, err, "--drain 2 of 2: drains over HTTPS are not supported")
	require.NotContains(t, err.Error(), "hunter2")
}
