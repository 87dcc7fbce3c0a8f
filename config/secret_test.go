package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

const password = "hunter2"

// withSecrets is a configuration that holds a password wherever one can stand.
func withSecrets() Node {
	n := DefaultNode()
	n.NATSServers = []URL{"nats://user:" + password + "@nats:4222", "nats://" + password + "@nats:4222"}
	n.CCURL = "https://staging:" + password + "@cc.example.com"
	n.Temporal.APIKey = password
	n.Staging.Environment = map[string]Secret{"TOKEN": password}
	return n
}

func TestNothingPrintsASecret(t *testing.T) {
	n := withSecrets()
	for _, v := range []any{n, &n, n.CCURL, n.Temporal.APIKey, n.NATSServers, n.Staging.Environment, n.Temporal, &n.Temporal} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%U", "% x", "%10.3s"} {
			said := fmt.Sprintf(verb, v)
			assert.NotContains(t, said, password, "%s of %T", verb, v)
			assert.NotContains(t, strings.ToLower(said), fmt.Sprintf("%x", password), "%s of %T", verb, v)
		}
		asJSON, err := json.Marshal(v)
		require.NoError(t, err)
		assert.NotContains(t, string(asJSON), password)
		asYAML, err := yaml.Dump(v)
		require.NoError(t, err)
		assert.NotContains(t, string(asYAML), password)
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		assert.NotContains(t, log.String(), password)
	}
}

func TestRedactKeepsWhatIsNotSecret(t *testing.T) {
	for address, want := range map[string]string{
		"":                             "",
		"https://cc.example.com/v2":    "https://cc.example.com/v2",
		"https://u:hunter2@cc:1/v2":    "https://u:xxxxx@cc:1/v2",
		"nats://hunter2@nats:4222":     "nats://xxxxx@nats:4222",
		"http://h/p?signature=hunter2": "http://h/p?signature=xxxxx",
		"http://u:hunter2@h:port/":     hidden,
		"mailto:hunter2":               hidden,
		"http://u:hunter2@h/%zz":       hidden,
	} {
		assert.Equal(t, want, Redact(address), address)
	}
	assert.Equal(t, "https://u:xxxxx@h", fmt.Sprint(URL("https://u:p@h")))
	assert.Equal(t, `"https://u:xxxxx@h"`, fmt.Sprintf("%q", URL("https://u:p@h")))
	assert.Empty(t, Secret("").String())
	assert.Equal(t, password, Secret(password).Reveal())
}

func TestWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(key, nil, 0o600))

	want := withSecrets()
	want.BaseDir, want.WardenSocket = "/base", "/w.sock"
	want.Stacks = []Stack{{Name: "true", PackagePath: "/stack: odd # name"}, {Name: "null"}}
	want.BindMounts = []BindMount{{"/a", "/b", "rw"}}
	want.Hooks = map[string]string{HookBeforeStart: key, HookAfterStop: key}
	want.Staging.Enabled = false
	want.Staging.Environment = map[string]Secret{"A": "1", "B": "two\nlines\t\"'", "C": "", "D": " ", "E": "~"}
	want.Staging.BandwidthLimit = &BandwidthLimit{Rate: 1, Burst: 2}
	want.Resources.DiskOvercommitFactor = 1.25
	want.Intervals.Heartbeat = 1234567891 // ns
	want.CrashLifetime = 0
	want.Domain = "1.5"
	want.Temporal.EncryptionKeyFile = key
	want.Temporal.TLS.Enabled = true
	file := filepath.Join(dir, "dea.yml")
	require.NoError(t, os.WriteFile(file, []byte("old"), 0o644))
	require.NoError(t, want.WriteFile(file))
	got, err := LoadNode(LoadOptions{File: file, Env: noEnv})
	require.NoError(t, err)
	assert.Equal(t, &want, got)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "also where another one stood")

	client := DefaultClient()
	client.CloudController = "http://staging:" + password + "@127.0.0.1:9/"
	client.Temporal = want.Temporal
	require.NoError(t, client.WriteFile(filepath.Join(dir, "client.yml")))
	read, err := LoadClient(LoadOptions{File: filepath.Join(dir, "client.yml"), Env: noEnv})
	require.NoError(t, err)
	assert.Equal(t, &client, read)

	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, left, 3, "no temporary file stays")
	assert.Error(t, client.WriteFile(filepath.Join(dir, "none", "client.yml")))
}

func TestDefaultsWrittenAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "client.yml")
	require.NoError(t, DefaultClient().WriteFile(file))
	_, err := LoadClient(LoadOptions{File: file, Env: noEnv})
	require.Len(t, Problems(err), 1)
	assert.Equal(t, "temporal.encryption_key_file", Problems(err)[0].Path)
}

func FuzzLoadNode(f *testing.F) {
	text, err := os.ReadFile("dea.example.yml")
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte(minimal))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("resources: &r {<<: *r}\n"))
	f.Add([]byte("staging: {environment: {A: !!binary x, B: *c}}\n"))
	f.Add([]byte("stacks: [{name: 0x1, package_path: ~}, ]\n---\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(dir, "dea.yml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		node, err := LoadNode(LoadOptions{File: file, Env: noEnv})
		if (node == nil) == (err == nil) {
			t.Fatal("either a configuration or an error")
		}
		if err != nil && len(Problems(err)) == 0 {
			t.Fatalf("an error without a problem: %v", err)
		}
	})
}
