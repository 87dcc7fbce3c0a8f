package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

// example gives dea.example.yml with the files that it names made in a directory of the test's. With all, the optional
// keys are there too.
func example(t *testing.T, all bool) string {
	t.Helper()
	text, err := os.ReadFile("dea.example.yml")
	require.NoError(t, err)
	if all {
		text = regexp.MustCompile(`(?m)^(\s*)#([a-zA-Z_]+:|- )`).ReplaceAll(text, []byte("$1$2"))
	}
	dir := t.TempDir()
	for _, name := range []string{
		"encryption.key", "temporal-ca.pem", "temporal.pem", "temporal.key", "nats-ca.pem", "nats.pem", "nats.key", "drains-ca.pem",
		"dea-runner", "exec_authorized_keys",
		"hooks/before_start", "hooks/after_start", "hooks/before_stop", "hooks/after_stop",
	} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, nil, 0o600))
	}
	return strings.NewReplacer("/etc/dea/", dir+"/", "/usr/local/bin/", dir+"/").Replace(string(text))
}

func TestExampleShowsTheDefaults(t *testing.T) {
	node, err := loadText(t, example(t, false))
	require.NoError(t, err)
	want := DefaultNode()
	want.BaseDir = "/var/lib/dea"
	want.WardenSocket = "/run/wardend/warden.sock"
	want.Stacks = []Stack{{Name: "cflinuxfs4", PackagePath: "/var/lib/dea-rootfs/cflinuxfs4"}}
	want.Temporal.EncryptionKeyFile = node.Temporal.EncryptionKeyFile
	assert.Equal(t, &want, node)
}

func TestExampleHasEveryKey(t *testing.T) {
	text := example(t, true)
	_, err := loadText(t, text)
	require.NoError(t, err)

	var doc yaml.Node
	require.NoError(t, yaml.Load([]byte(text), &doc))
	shown := make(map[string]bool)
	showKeys(doc.Content[0], "", shown)
	for _, at := range leaves(reflect.TypeFor[Node](), "") {
		assert.True(t, shown[at.path], "dea.example.yml does not show %s", at.path)
	}
}

func showKeys(node *yaml.Node, path string, shown map[string]bool) {
	shown[path] = true
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(node.Content); i += 2 {
			showKeys(node.Content[i+1], under(path, node.Content[i].Value), shown)
		}
	case yaml.SequenceNode:
		for _, item := range node.Content {
			showKeys(item, path+"[]", shown)
		}
	}
}

// fileWith writes value at one path of the schema and says in which line.
func fileWith(path, value string) (text string, line int) {
	var lines []string
	for i, key := range strings.Split(path, ".") {
		name, list := strings.CutSuffix(key, "[]")
		indent := strings.Repeat("    ", i)
		lines = append(lines, indent+name+":")
		if list {
			lines = append(lines, indent+"  -")
		}
	}
	return strings.Join(lines, "\n") + " " + value + "\n", len(lines)
}

func TestEveryKeyRefusesAWrongType(t *testing.T) {
	for _, at := range leaves(reflect.TypeFor[Node](), "") {
		for _, value := range []string{"{a: {b: c}}", "[[a]]", "!!binary aGk="} {
			text, line := fileWith(at.path, value)
			_, err := loadText(t, text)
			path := strings.ReplaceAll(at.path, "[]", "[0]")
			found := false
			for _, p := range Problems(err) {
				found = found || strings.HasPrefix(p.Path, path) && p.Line == line
			}
			assert.True(t, found, "%s at line %d of\n%s: %v", path, line, text, err)
		}
	}
}

func TestEveryKeyRefusesASlip(t *testing.T) {
	for _, at := range leaves(reflect.TypeFor[Node](), "") {
		text, line := fileWith(at.path+"q", "1")
		_, err := loadText(t, text)
		last := at.path[strings.LastIndex(at.path, ".")+1:]
		found := false
		for _, p := range Problems(err) {
			found = found || p.Line == line && strings.Contains(p.Words, "did you mean "+last)
		}
		assert.True(t, found, "%s: %v", at.path, err)
	}
}

func TestEnvironmentReachesEveryWord(t *testing.T) {
	names := make(map[string]string)
	for _, at := range leaves(reflect.TypeFor[Node](), "") {
		if !at.settable() {
			continue
		}
		name := envOf(at.field, at.path)
		assert.Empty(t, names[name], "%s and %s have one variable", names[name], at.path)
		names[name] = at.path

		node := DefaultNode()
		l, err := newLoader(LoadOptions{Env: envOfMap(map[string]string{name: "1"})}, reflect.TypeFor[Node]())
		require.NoError(t, err)
		root := reflect.ValueOf(&node).Elem()
		l.overrideByEnv(root)
		assert.Empty(t, l.problems)
		text := fmt.Sprintf("%v", reflect.Indirect(valueAt(root, at.path)).Interface())
		assert.Contains(t, []string{"1", "1s", "true", "[1]", hidden, l.cwd + "/1"}, text, at.path)
	}
	assert.Contains(t, names, "DEA_RESOURCES_MEMORY_MB")
	assert.Contains(t, names, "TEMPORAL_API_KEY")
}

func TestFlagsStandForKeys(t *testing.T) {
	paths := make(map[string]leaf)
	for _, at := range leaves(reflect.TypeFor[Node](), "") {
		paths[at.path] = at
	}
	for _, spec := range nodeFlags() {
		at, ok := paths[spec.path]
		require.True(t, ok, spec.path)
		assert.True(t, at.settable(), spec.path)
		assert.False(t, isHidden(at.field.Type), "%s: other users of a machine see the flags of a process", spec.name)
	}
}

func TestSuggestions(t *testing.T) {
	of := keysOf(reflect.TypeFor[Node]())
	for slip, meant := range map[string]string{
		"base-dir": "base_dir", "BASE_DIR": "base_dir", "basedir": "base_dir", "wraden_socket": "warden_socket",
		"nats_server": "nats_servers", "stack": "stacks", "hook": "hooks", "cc_ulr": "cc_url",
		"crash_lifetime": "crash_lifetime_secs", "frobnicate": "", "": "", "x": "",
		strings.Repeat("long", 1000): "",
	} {
		assert.Equal(t, meant, nearest(slip, of), slip)
	}
}

func TestCapacityAndShares(t *testing.T) {
	r := Resources{MemoryMB: 1000, MemoryOvercommitFactor: 1.5, DiskMB: 3, DiskOvercommitFactor: 0.5}
	assert.EqualValues(t, 1500, r.CapacityMemoryMB())
	assert.EqualValues(t, 1, r.CapacityDiskMB())
	i := DefaultNode().Instance
	assert.EqualValues(t, 1, i.CPUShares(4))
	assert.EqualValues(t, 64, i.CPUShares(512))
	assert.EqualValues(t, 256, i.CPUShares(1<<20))
	assert.EqualValues(t, 0, Instance{}.CPUShares(512), "no division by zero")
}
