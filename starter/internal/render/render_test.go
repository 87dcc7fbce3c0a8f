package render_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/cleantext"
	"github.com/durable-dea/dea/starter/internal/render"
)

// update writes the golden files anew: go test ./starter/internal/render -update
func update() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the golden files anew")
	flag.Parse()
	os.Exit(m.Run())
}

var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func apps() []api.AppStatus {
	retry := now.Add(30 * time.Second)
	return []api.AppStatus{
		{
			AppID: "hello", Name: "hello", Version: "v2", URIs: []string{"hello.localhost"}, Desired: 3, Running: 2,
			Instances: []api.InstanceStatus{
				{InstanceID: "i-2", AppID: "hello", Version: "v2", Index: 2, Node: "n2", State: api.StateStarting, Since: now.Add(-3 * time.Second)},
				{InstanceID: "i-0", AppID: "hello", Version: "v2", Index: 0, Node: "n1", State: api.StateRunning, Since: now.Add(-26 * time.Hour), Address: "127.0.0.1:61001", FilesURL: "http://127.0.0.1:1"},
				{InstanceID: "i-1", AppID: "hello", Version: "v2", Index: 1, Node: "n2", State: api.StateRunning, Since: now.Add(-90 * time.Minute), Address: "127.0.0.1:61002"},
			},
		},
		{
			AppID: "broken", Name: "broken", Version: "v1", Desired: 1, Problem: "instance 0: app\ninstance exited\x1b[31m", RetryAt: &retry,
			Instances: []api.InstanceStatus{{
				InstanceID: "i-9", Index: 0, Node: "n1", State: api.StateCrashed, Since: now.Add(-75 * time.Second),
				Address: "127.0.0.1:61003", Exit: &api.InstanceExit{Status: 1, Description: api.ExitAppExited},
			}},
		},
		{AppID: "idle", Name: "idle", Version: "v1"},
		{AppID: "old", Name: "old", Version: "v1", Deleting: true},
	}
}

func files() render.Files {
	return render.Files{InstanceID: "i-1", Node: "n1", FileListing: api.FileListing{Path: "app", Truncated: true, Entries: []api.FileEntry{
		{Name: "a\tb\x1b]0;owned\a", Type: api.FileTypeFile, Size: 12, Mode: "0644", Modified: now},
		{Name: "current", Type: api.FileTypeLink, Mode: "0777", Modified: now.Add(-time.Hour)},
		{Name: "empty", Type: api.FileTypeFile, Mode: "0600", Modified: now.Add(-300 * 24 * time.Hour)},
		{Name: "pipe", Type: api.FileTypeOther, Mode: "0600", Modified: now},
		{Name: "src", Type: api.FileTypeDirectory, Mode: "1755", Modified: now},
	}}}
}

func nodes() []api.NodeStatus {
	return []api.NodeStatus{
		{
			Node: "n1", State: api.NodeReady, Zone: "default", Stacks: []string{"host", "lucid64"}, Host: "127.0.0.1",
			Capacity: api.Resources{MemoryMB: 8192, DiskMB: 16384}, Reserved: api.Resources{MemoryMB: 1280, DiskMB: 3072},
			Remaining: api.Resources{MemoryMB: 6912, DiskMB: 13312},
			Reservations: []api.Reservation{
				{ID: "i-0", Kind: api.KindInstance}, {ID: "staging-t", Kind: api.KindStaging}, {ID: "i-9", Kind: api.KindInstance},
			},
		},
		{Node: "n2", State: api.NodeDraining, Zone: "z2", Stacks: []string{"host"}},
	}
}

// unready is an instance whose readiness check fails, with routes of its own.
func unready() api.InstanceStatus {
	return api.InstanceStatus{
		InstanceID: "i-5", AppID: "hello", Version: "v3", Index: 5, Node: "n1\x1b[31m", State: api.StateRunning, Unready: true,
		Since: now.Add(-time.Minute), Address: "127.0.0.1:61005", URIs: []string{"a.example.org", "b.example.org"},
	}
}

// nodesUsage has the first node use something.
func nodesUsage(first *api.NodeStats) []render.NodeUsage {
	n := nodes()
	return []render.NodeUsage{{NodeStatus: n[0], Stats: first}, {NodeStatus: n[1]}}
}

func TestGolden(t *testing.T) {
	staging := api.StagingResult{
		TaskID: "t-1", AppID: "hello", NodeID: "n1", DetectedBuildpack: "Go 1.26", BuildpackKey: "go",
		DropletSHA1: "da39a3ee5e6b4b0d3255bfef95601890afd80709", DetectedStartCommand: "./web",
		Procfile: map[string]string{"web": "./web"},
	}
	for name, write := range map[string]func(render.Renderer) error{
		"apps":         func(r render.Renderer) error { return r.Apps(apps()) },
		"no-apps":      func(r render.Renderer) error { return r.Apps(nil) },
		"app":          func(r render.Renderer) error { return r.App(apps()[0]) },
		"app-crashed":  func(r render.Renderer) error { return r.App(apps()[1]) },
		"app-stopped":  func(r render.Renderer) error { return r.App(apps()[2]) },
		"nodes":        func(r render.Renderer) error { return r.Nodes(nodesUsage(nil)) },
		"no-nodes":     func(r render.Renderer) error { return r.Nodes(nil) },
		"instances":    func(r render.Renderer) error { return r.Instances(append(apps()[0].Instances, unready()), "none") },
		"no-instances": func(r render.Renderer) error { return r.Instances(nil, "No such instances.") },
		"instance":     func(r render.Renderer) error { return r.Instance(apps()[1].Instances[0]) },
		"change": func(r render.Renderer) error {
			return r.Change(controller.Change{InstanceStatus: apps()[0].Instances[1]})
		},
		"change-exit": func(r render.Renderer) error {
			return r.Change(controller.Change{InstanceStatus: apps()[1].Instances[0], Missed: true})
		},
		"change-born": func(r render.Renderer) error {
			return r.Change(controller.Change{InstanceStatus: api.InstanceStatus{InstanceID: "i-7", State: api.StateBorn, Since: now}})
		},
		"change-unready": func(r render.Renderer) error { return r.Change(controller.Change{InstanceStatus: unready()}) },
		"node":           func(r render.Renderer) error { return r.Node(nodes()[1]) },
		"staging":        func(r render.Renderer) error { return r.Staging(staging) },
		"deleted":        func(r render.Renderer) error { return r.Deleted(render.Deleted{App: "hello", Gone: true}) },
		"deleting":       func(r render.Renderer) error { return r.Deleted(render.Deleted{App: "hello"}) },
		"nodes-usage": func(r render.Renderer) error {
			return r.Nodes(nodesUsage(&api.NodeStats{
				Node: "n1", At: now, Load: 0.5, Cores: 2, MemoryUsedBytes: 3 << 30, MemoryFreeBytes: 5 << 30,
			}))
		},
		"app-usage": func(r render.Renderer) error {
			return r.AppUsage(render.AppUsage{AppStatus: apps()[0], Stats: []api.InstanceStats{
				{InstanceID: "i-1", AppID: "hello", Index: 1, At: now, CPU: 0.256, MemoryBytes: 12 << 20, DiskBytes: 1 << 20},
			}})
		},
		"nodes-usage-old": func(r render.Renderer) error {
			return r.Nodes(nodesUsage(&api.NodeStats{Node: "n1", At: now.Add(-31 * time.Second), Load: 0.5, Cores: 2}))
		},
		"app-usage-old": func(r render.Renderer) error {
			return r.AppUsage(render.AppUsage{AppStatus: apps()[0], Stats: []api.InstanceStats{
				{InstanceID: "i-0", AppID: "hello", At: now.Add(-30 * time.Second), CPU: 0.5, MemoryBytes: 12 << 20},
				{InstanceID: "i-1", AppID: "hello", Index: 1, At: now.Add(-95 * time.Second), MemoryBytes: 12 << 20},
			}})
		},
		"app-unready": func(r render.Renderer) error {
			return r.App(api.AppStatus{AppID: "hello", Desired: 1, Instances: []api.InstanceStatus{unready()}})
		},
		"files": func(r render.Renderer) error { return r.Files(files()) },
		"files-empty": func(r render.Renderer) error {
			return r.Files(render.Files{FileListing: api.FileListing{Entries: []api.FileEntry{}}})
		},
		"setup": func(r render.Renderer) error {
			return r.Setup(render.Setup{Namespace: "dea", SearchAttributes: []string{"A", "B"}})
		},
		"version": func(r render.Renderer) error {
			return r.Version(render.Version{Version: "v1.2.3", Commit: "abc", Go: "go1.26.8"})
		},
	} {
		for _, format := range []render.Format{render.Text, render.JSON} {
			t.Run(name+"/"+string(format), func(t *testing.T) {
				var out bytes.Buffer
				require.NoError(t, write(render.Renderer{Out: &out, Format: format, Now: func() time.Time { return now }}))
				if format == render.JSON {
					var object map[string]any
					require.NoError(t, json.Unmarshal(out.Bytes(), &object), "one object and nothing else")
				}
				golden := filepath.Join("testdata", name+"."+string(format))
				if update() {
					require.NoError(t, os.MkdirAll("testdata", 0o755))
					require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o644))
				}
				want, err := os.ReadFile(golden)
				require.NoError(t, err)
				require.Equal(t, string(want), out.String())
			})
		}
	}
}

func TestFormat(t *testing.T) {
	var f render.Format
	require.NoError(t, f.Set("json"))
	require.Equal(t, render.JSON, f)
	require.ErrorContains(t, f.Set("yaml"), "text and json")
}

// TestRoutesAreURLsWhereTheRouterIsKnown, but a wildcard, which is no address.
func TestRoutesAreURLsWhereTheRouterIsKnown(t *testing.T) {
	app := api.AppStatus{AppID: "a", URIs: []string{"a.localhost", "example.org/Shop/x", "*.example.org"}}
	for router, want := range map[string]string{
		"http://localhost:7237":  "http://a.localhost:7237, http://example.org:7237/Shop/x, *.example.org",
		"https://router.example": "https://a.localhost, https://example.org/Shop/x, *.example.org",
	} {
		at, err := url.Parse(router)
		require.NoError(t, err)
		var out strings.Builder
		require.NoError(t, render.Renderer{Out: &out, Format: render.Text, Now: time.Now, Router: at}.App(app))
		require.Contains(t, out.String(), "routes "+want+"\n")
	}
}

// TestJSONSteersNoTerminal: what a program reads is what was said, and what a terminal shows is no control.
func TestJSONSteersNoTerminal(t *testing.T) {
	const said = "a\u009b2J\u0085\x7f\x1b\u202e\u2028\ufeff\U000e0001 \u00e9\u3000 <&> \u00a0z"
	for name, write := range map[string]func(render.Renderer) error{
		"object": func(r render.Renderer) error { return r.Object(map[string]string{said: said}) },
		"line":   func(r render.Renderer) error { return r.Line(map[string]string{said: said}) },
		"change": func(r render.Renderer) error {
			r.Format = render.JSON
			return r.Change(controller.Change{InstanceStatus: api.InstanceStatus{Exit: &api.InstanceExit{Description: said}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, write(render.Renderer{Out: &out}))
			text := strings.ReplaceAll(out.String(), "\n", "")
			require.Equal(t, -1, strings.IndexFunc(text, cleantext.Steers), "%q", text)
			require.Contains(t, text, `a\u009b2J\u0085\u007f\u001b\u202e\u2028\ufeff\udb40\udc01 é　 <&>  z`)
			if name != "change" {
				var read map[string]string
				require.NoError(t, json.Unmarshal(out.Bytes(), &read))
				require.Equal(t, map[string]string{said: said}, read)
			}
		})
	}
}
