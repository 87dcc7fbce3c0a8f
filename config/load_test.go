package config

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// minimal is a file with the required keys; encryption.key stands beside it.
const minimal = `base_dir: base
warden_socket: warden.sock
stacks: [{name: plain}]
temporal: {encryption_key_file: encryption.key}
`

// noEnv keeps the machine's environment out of a test.
func noEnv(string) string { return "" }

func envOfMap(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// inDir writes a configuration into a directory of its own, with a key file beside it, and gives its name.
func inDir(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "encryption.key"), nil, 0o600))
	file := filepath.Join(dir, "dea.yml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func loadText(t *testing.T, text string) (*Node, error) {
	t.Helper()
	return LoadNode(LoadOptions{File: inDir(t, text), Env: noEnv})
}

func TestMinimalFileGivesDefaults(t *testing.T) {
	file := inDir(t, minimal)
	node, err := LoadNode(LoadOptions{File: file, Env: noEnv})
	require.NoError(t, err)

	want := DefaultNode()
	dir := filepath.Dir(file)
	want.BaseDir = filepath.Join(dir, "base")
	want.WardenSocket = filepath.Join(dir, "warden.sock")
	want.Stacks = []Stack{{Name: "plain"}}
	want.Temporal.EncryptionKeyFile = filepath.Join(dir, "encryption.key")
	assert.Equal(t, &want, node)
}

func TestEverythingWrongIsToldAtOnce(t *testing.T) {
	_, err := loadText(t, `base_dir: base
warden_sockt: /tmp/x
resources:
  memory_mb: "2048"
  memory-overcommit: 2
  disk_mb: 0
  disk_overcommit_factor: .nan
memory_mb: 5
stacks:
  - name: a
  - nam: b
  - name: a
pid_filename: /tmp/x
staging:
  enabled: maybe
  memory_limit_mb: 1.5
  disk_limit_mb: 99999999999999999999
  max_staging_duration: soon
  environment: {A: 1, "B-": x, C: [1]}
  bandwidth_limit: {rate: 5}
hooks:
  before_strt: x
  after_stop: nowhere
cc_url: "ftp://user:hunter2@h"
index: 0
index: 1
logging: {level: inof, format: 7}
intervals: [1]
bind_mounts: [{dst_path: /a/../b, mode: rx}, 5]
nats_servers: ["nats://u:hunter2@[", null]
instance: {min_cpu_share_limit: 300, nproc: 4, log_rate_bytes: 4095, log_burst_bytes: 0}
node_grace: 0
telemetry: {metrics_listen: "9464"}
temporal:
  address: localhost
  api_key: 12345
  tls: {cert_file: c.pem}
droplets: {max_mb: -1, unused_lifetime: -1}
drains: {ca_file: nowhere, denied_networks: [10.0.0.1, "::1/128", "::ffff:10.0.0.0/104"], allowed_networks: [nowhere], max: 0, max_age: 0}
`)
	require.Error(t, err)
	type place struct {
		path  string
		line  int
		words string
	}
	var got []place
	for _, p := range Problems(err) {
		got = append(got, place{p.Path, p.Line, p.Words})
		assert.NotContains(t, p.Error(), "hunter2")
	}
	assert.NotContains(t, err.Error(), "12345")
	for _, want := range []place{
		{"warden_sockt", 2, "did you mean warden_socket?"},
		{"warden_socket", 0, "is missing"},
		{"resources.memory_mb", 4, `must be a whole number, is the text "2048"`},
		{"resources.memory-overcommit", 5, "did you mean memory_overcommit_factor?"},
		{"resources.disk_mb", 6, "must be from 1 to"},
		{"resources.disk_overcommit_factor", 7, "must be a number, is .nan"},
		{"memory_mb", 8, "did you mean resources.memory_mb?"},
		{"stacks[1].nam", 11, "did you mean name?"},
		{"stacks[1].name", 11, "is missing"},
		{"stacks[2].name", 12, `"a" stands in the list already`},
		{"pid_filename", 13, "is not used any more"},
		{"staging.enabled", 15, `must be true or false, is the text "maybe"`},
		{"staging.memory_limit_mb", 16, "must be a whole number, is 1.5"},
		{"staging.disk_limit_mb", 17, "must be a whole number"},
		{"staging.max_staging_duration", 18, "a time such as 15m"},
		{"staging.environment.B-", 19, "no name of an environment variable"},
		{"staging.environment.C", 19, "must be text, is a list"},
		{"staging.bandwidth_limit.burst", 20, "is missing"},
		{"hooks.before_strt", 22, "did you mean before_start?"},
		{"hooks.after_stop", 23, "there is no file"},
		{"cc_url", 24, "must be an address such as http://"},
		{"index", 26, "stands in line 25 already"},
		{"logging.level", 27, "did you mean info?"},
		{"logging.format", 27, "must be text, is 7: put it in quotes"},
		{"intervals", 28, "must be a section with keys, is a list"},
		{"bind_mounts[0].src_path", 29, "is missing"},
		{"bind_mounts[0].dst_path", 29, "must be an absolute path"},
		{"bind_mounts[0].mode", 29, "must be one of ro, rw"},
		{"bind_mounts[1]", 29, "must be a section with keys, is 5"},
		{"nats_servers[0]", 30, "must be an address such as nats://"},
		{"nats_servers[1]", 30, "must not be empty"},
		{"instance.min_cpu_share_limit", 31, "at most instance.max_cpu_share_limit"},
		{"instance.nproc", 31, "did you mean nproc_limit?"},
		{"instance.log_rate_bytes", 31, "must be 0, for no limit, or from 4096 to"},
		{"instance.log_burst_bytes", 31, "must be from 65536 to"},
		{"node_grace", 32, "must be above 0 seconds"},
		{"telemetry.metrics_listen", 33, "must be host:port"},
		{"temporal.address", 35, "must be host:port"},
		{"temporal.api_key", 36, "must be text"},
		{"temporal.tls.cert_file", 37, "there is no file"},
		{"temporal.tls.key_file", 37, "is missing: cert_file is set"},
		{"temporal.encryption_key_file", 34, "is missing"},
		{"droplets.max_mb", 38, "must be from 0 to"},
		{"droplets.unused_lifetime", 38, "must be 0 seconds or more"},
		{"drains.ca_file", 39, "there is no file"},
		{"drains.denied_networks[0]", 39, "must be a network such as 10.0.0.0/8"},
		{"drains.denied_networks[2]", 39, "must be a network such as 10.0.0.0/8"},
		{"drains.allowed_networks[0]", 39, "must be a network such as 10.0.0.0/8"},
		{"drains.max", 39, "must be"},
		{"drains.max_age", 39, "must be above 0 seconds"},
	} {
		found := false
		for i, p := range got {
			if p.path == want.path && p.line == want.line && strings.Contains(p.words, want.words) {
				got[i].path, found = "", true
				break
			}
		}
		assert.True(t, found, "%+v is not told; told are %+v", want, got)
	}
	for _, p := range got {
		assert.Empty(t, p.path, "told, and not expected: %+v", p)
	}
}

func TestProblemsAreInTheOrderOfTheFile(t *testing.T) {
	_, err := loadText(t, "zone: x\nindex: -1\nresources: {memory_mb: a}\n")
	last := 0
	for _, p := range Problems(err) {
		if p.Line == 0 {
			last = 1 << 30
			continue
		}
		assert.GreaterOrEqual(t, p.Line, last)
		last = p.Line
	}
	assert.Contains(t, err.Error(), "dea.yml:2: index: must be from 0 to")
}

func TestFilesThatAreNoConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		line  int
		words string
	}{
		"no YAML":       {"base_dir: [a\nindex: 1\n", 2, "is no YAML"},
		"tab":           {"base_dir: x\nresources:\n\tmemory_mb: 1\n", 3, "is no YAML"},
		"two documents": {minimal + "---\nindex: 1\n", 5, "is one document"},
		"a list":        {"- base_dir\n", 1, "must be a section with keys, is a list"},
		"a word":        {"base_dir\n", 1, `must be a section with keys, is the text "base_dir"`},
		"merge":         {minimal + "resources:\n  <<: {memory_mb: 1}\n", 6, "merge keys"},
		"key no text":   {minimal + "? [a]\n: 1\n", 5, "a key must be text, is a list"},
		"own tag":       {minimal + "domain: !x example\n", 5, "must be text, is of the type !x"},
		"unknown alias": {minimal + "domain: *x\n", 5, "is no YAML"},
		"not UTF-8":     {minimal + "domain: \xff\n", 5, "is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadText(t, c.text)
			require.Error(t, err)
			first := Problems(err)[0]
			assert.Contains(t, first.Words, c.words)
			assert.Equal(t, c.line, first.Line, first)
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	_, err := LoadNode(LoadOptions{File: filepath.Join(dir, "none.yml"), Env: noEnv})
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.Contains(t, err.Error(), "none.yml: there is no such file")
	require.Len(t, Problems(err), 1)

	_, err = LoadNode(LoadOptions{File: dir, Env: noEnv})
	require.ErrorContains(t, err, "cannot be read: is a directory")

	_, err = loadText(t, minimal+strings.Repeat("#", maxFile))
	require.ErrorContains(t, err, "is over 1048576 bytes")

	_, err = LoadNode(LoadOptions{Env: noEnv})
	require.ErrorContains(t, err, "--config or DEA_CONFIG")
	assert.Nil(t, Problems(errors.New("another")))
}

func TestAnEmptyFileLacksTheRequiredKeys(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "base_dir:\nstacks:\n"} {
		_, err := loadText(t, text)
		var missing []string
		for _, p := range Problems(err) {
			missing = append(missing, p.Path)
		}
		assert.ElementsMatch(t, []string{"base_dir", "warden_socket", "stacks", "temporal.encryption_key_file"}, missing, text)
	}
}

func TestValuesAsPeopleWriteThem(t *testing.T) {
	node, err := loadText(t, minimal+`
domain: &d example.com
local_route: *d
staging: {enabled: no, max_staging_duration: 1.5, environment: {PORT: 8080, DEBUG: true, EMPTY: ""}}
instance: {nproc_limit: 1_024, max_cpu_share_limit: 0512}
intervals: {heartbeat: 1m30s, advertise: "500ms"}
bind_mounts: [{src_path: share}, {src_path: /a, dst_path: /b, mode: rw}]
directory_server: {advertise_url: "http://files.example.com/"}
logging:
  file:
`)
	require.NoError(t, err)
	assert.Equal(t, "example.com", node.LocalRoute)
	assert.False(t, node.Staging.Enabled)
	assert.Equal(t, 1500*time.Millisecond, node.Staging.MaxStagingDuration)
	assert.Equal(t, map[string]Secret{"PORT": "8080", "DEBUG": "true", "EMPTY": ""}, node.Staging.Environment)
	assert.EqualValues(t, 1024, node.Instance.NProc)
	assert.EqualValues(t, 512, node.Instance.MaxCPUShareLimit)
	assert.Equal(t, 90*time.Second, node.Intervals.Heartbeat)
	assert.Equal(t, 500*time.Millisecond, node.Intervals.Advertise)
	share := filepath.Join(filepath.Dir(node.BaseDir), "share")
	assert.Equal(t, []BindMount{{share, share, "ro"}, {"/a", "/b", "rw"}}, node.BindMounts)
	assert.Equal(t, "http://files.example.com", node.DirectoryServer.AdvertiseURL)
	assert.Empty(t, node.Logging.File)
}

func TestFlagGoesOverEnvironmentOverFileOverDefault(t *testing.T) {
	file := inDir(t, minimal+"index: 1\nlogging: {level: warn}\nresources: {memory_mb: 100, disk_mb: bad}\n")
	flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	NodeFlags(flags)
	require.NoError(t, flags.Parse([]string{"--config", file, "--resources-memory-mb=300"}))
	env := map[string]string{
		"DEA_RESOURCES_MEMORY_MB": "200", "DEA_RESOURCES_DISK_MB": "250", "DEA_INDEX": "2",
		"DEA_NATS_SERVERS": "nats://a:4222, nats://b:4222", "TEMPORAL_NAMESPACE": "staging", "DEA_CONFIG": "/nonexistent",
		"DEA_STAGING_BANDWIDTH_LIMIT_RATE": "7", "DEA_STAGING_BANDWIDTH_LIMIT_BURST": "8",
	}
	node, err := LoadNode(LoadOptions{Flags: flags, Env: envOfMap(env)})
	require.NoError(t, err, "a bad value of the file does not matter when the environment has another")
	assert.EqualValues(t, 300, node.Resources.MemoryMB)
	assert.EqualValues(t, 250, node.Resources.DiskMB)
	assert.Equal(t, 2, node.Index)
	assert.Equal(t, "warn", node.Logging.Level)
	assert.Equal(t, []URL{"nats://a:4222", "nats://b:4222"}, node.NATSServers)
	assert.Equal(t, "staging", node.Temporal.Namespace)
	assert.Equal(t, "default", node.PlacementProperties.Zone)
	assert.Equal(t, &BandwidthLimit{Rate: 7, Burst: 8}, node.Staging.BandwidthLimit)
}

func TestWrongFlagsAndVariablesAreNamed(t *testing.T) {
	flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	NodeFlags(flags)
	require.NoError(t, flags.Parse([]string{"--index=many", "--log-level=", "--config=" + inDir(t, minimal)}))
	_, err := LoadNode(LoadOptions{Flags: flags, Env: envOfMap(map[string]string{
		"DEA_INDEX": "bad too", "DEA_RESOURCES_MEMORY_MB": "0", "DEA_CC_URL": "http://u:hunter2@",
	})})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "flag --index: index: must be a whole number")
	assert.NotContains(t, err.Error(), "DEA_INDEX", "the flag goes over it")
	assert.Contains(t, err.Error(), "flag --log-level: logging.level: must be one of")
	assert.Contains(t, err.Error(), "environment DEA_RESOURCES_MEMORY_MB: resources.memory_mb: must be from 1")
	assert.Contains(t, err.Error(), "environment DEA_CC_URL: cc_url: must be an address")
	assert.NotContains(t, err.Error(), "hunter2")
	assert.Len(t, Problems(err), 4)
}

func TestPathsAreRelativeToWhereTheyAreNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	cwd, err := os.Getwd()
	require.NoError(t, err)
	require.NoError(t, os.Mkdir("etc", 0o700))
	require.NoError(t, os.WriteFile("etc/dea.yml", []byte(minimal), 0o600))
	require.NoError(t, os.WriteFile("etc/encryption.key", nil, 0o600))
	node, err := LoadNode(LoadOptions{File: "etc/dea.yml", Env: envOfMap(map[string]string{"DEA_WARDEN_SOCKET": "w.sock"})})
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(cwd, "etc/base"), node.BaseDir)
	assert.Equal(t, filepath.Join(cwd, "w.sock"), node.WardenSocket)
}

func TestClientsFileIsFound(t *testing.T) {
	home := t.TempDir()
	t.Chdir(home) // a client.yml of the working directory must not count
	key := filepath.Join(home, "encryption.key")
	require.NoError(t, os.WriteFile(key, nil, 0o600))
	put := func(name, namespace string) string {
		file := filepath.Join(home, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		text := "temporal: {namespace: " + namespace + ", encryption_key_file: " + key + "}\ncc_url: http://staging:pw@cc\n"
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	put("client.yml", "cwd")
	env := map[string]string{"HOME": home, "DEA_TEMPORAL_ENCRYPTION_KEY_FILE": key}
	load := func(file string) *Client {
		client, err := LoadClient(LoadOptions{File: file, Env: envOfMap(env)})
		require.NoError(t, err)
		return client
	}
	assert.Equal(t, "default", load("").Temporal.Namespace)
	put(".config/dea/client.yml", "home")
	assert.Equal(t, "home", load("").Temporal.Namespace)
	env["XDG_CONFIG_HOME"] = filepath.Join(home, "xdg")
	assert.Equal(t, "default", load("").Temporal.Namespace)
	put("xdg/dea/client.yml", "xdg")
	assert.Equal(t, "xdg", load("").Temporal.Namespace)
	env["DEA_CONFIG"] = put("env.yml", "env")
	assert.Equal(t, "env", load("").Temporal.Namespace)
	assert.Equal(t, "option", load(put("option.yml", "option")).Temporal.Namespace)
	assert.Equal(t, URL("http://staging:pw@cc"), load("").CloudController)
	env["DEA_CONFIG"] = "/nonexistent"
	_, err := LoadClient(LoadOptions{Env: envOfMap(env)})
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestClientFlags(t *testing.T) {
	flags := pflag.NewFlagSet("starter", pflag.ContinueOnError)
	ClientFlags(flags)
	key := filepath.Join(t.TempDir(), "k")
	require.NoError(t, os.WriteFile(key, nil, 0o600))
	require.NoError(t, flags.Parse([]string{"--temporal-address=t:1", "--encryption-key-file=" + key}))
	client, err := LoadClient(LoadOptions{Flags: flags, Env: noEnv})
	require.NoError(t, err)
	assert.Equal(t, "t:1", client.Temporal.Address)
	assert.Equal(t, key, client.Temporal.EncryptionKeyFile)
}

func TestNetworksOfDrains(t *testing.T) {
	node, err := loadText(t, minimal+"\ndrains: {denied_networks: [10.0.0.0/8], allowed_networks: [10.0.3.17/32, \"::1/128\"]}\n")
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, node.Drains.Denied())
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.3.17/32"), netip.MustParsePrefix("::1/128")}, node.Drains.Allowed())
}
