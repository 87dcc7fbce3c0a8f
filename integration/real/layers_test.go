package real

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// TestLayers: two instances of a droplet share what it was unpacked to, and nothing that they write; when both are gone and
// its time is over nothing of the droplet is left on the node.
func TestLayers(t *testing.T) {
	s := startReal(t)
	source, err := stack.Example("static")
	require.NoError(t, err)
	_, err = s.Starter(t.Context(), "push", source, "--name", "site", "--instances", "2")
	require.NoError(t, err)
	answering(t, s)
	c := warden.NewClient(s.Nodes[0].WardenSocket)
	t.Cleanup(func() { _ = c.Close() })
	list, err := c.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetHandles(), 2)
	var both [2]instance
	for n, handle := range list.GetHandles() {
		both[n] = lookInside(t, s, c, handle)
	}
	found, err := filepath.Glob(filepath.Join(ofNode(s, "base"), "droplets", ".layers", "*", "root"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	layer := found[0]
	require.FileExists(t, filepath.Join(layer, "home/vcap/staging_info.yml"))

	t.Run("owners", func(t *testing.T) { owners(t, both) })
	t.Run("one for both", func(t *testing.T) {
		for _, one := range both {
			assert.Empty(t, one.own(t, "home/vcap/app"))
			assert.NotContains(t, one.own(t, "home/vcap"), "staging_info.yml")
			assert.NotEmpty(t, one.own(t, "home/vcap/logs"), "what it writes is its own")
		}
	})
	t.Run("apart", func(t *testing.T) { apart(t, both, layer) })
	t.Run("gone", func(t *testing.T) { gone(t, s, layer) })
}

// instance is one as its node sees it.
type instance struct {
	client *warden.Client
	handle string
	// upper is the directory that takes what it writes.
	upper string
}

func lookInside(t *testing.T, s *stack.Stack, c *warden.Client, handle string) instance {
	t.Helper()
	info, err := c.Info(t.Context(), &wardenpb.InfoRequest{Handle: &handle})
	require.NoError(t, err)
	var found []string
	for _, between := range []string{"", "*"} {
		more, err := filepath.Glob(filepath.Join(ofNode(s, "depot"), "scratch", between, filepath.Base(info.GetContainerPath()), "upper"))
		require.NoError(t, err)
		found = append(found, more...)
	}
	require.Len(t, found, 1)
	return instance{client: c, handle: handle, upper: found[0]}
}

// ofNode is a file of the stack's only node.
func ofNode(s *stack.Stack, name string) string { return filepath.Join(s.Data, "nodes", "1", name) }

// says runs a script as vcap, and gives what it says.
func (i instance) says(t *testing.T, script string) string {
	t.Helper()
	res, err := i.client.Run(t.Context(), &wardenpb.RunRequest{Handle: &i.handle, Script: proto.String(script)})
	require.NoError(t, err)
	require.Zero(t, res.GetExitStatus(), "%s: %s%s", script, res.GetStdout(), res.GetStderr())
	return res.GetStdout()
}

// own are the names in a directory of what the instance itself has written.
func (i instance) own(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(i.upper, dir))
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func owners(t *testing.T, both [2]instance) {
	t.Helper()
	for _, one := range both {
		assert.Equal(t, "vcap:vcap\n", one.says(t, "stat -c %U:%G ~ ~/app ~/logs ~/tmp ~/staging_info.yml | sort -u"))
		assert.Empty(t, one.says(t, "find ~ ! -user vcap"))
		assert.Equal(t, "root:root 755\n", one.says(t, "stat -c '%U:%G %a' / /home | sort -u"))
		assert.Equal(t, "/home/vcap/app\n", one.says(t, "readlink -e /app"))
	}
}

// apart has one instance change what both were given.
func apart(t *testing.T, both [2]instance, layer string) {
	t.Helper()
	before := tree(t, layer)
	name := strings.TrimSpace(both[0].says(t, "cd ~/app && find . -type f | sort | head -n 1"))
	require.NotEmpty(t, name)
	content := both[1].says(t, "cat ~/app/"+name)
	both[0].says(t, "cd /app && echo mine >> "+name+" && mkdir new && echo own > new/file && mv "+name+" moved && chmod 700 .")
	assert.Equal(t, "own\n", both[0].says(t, "cat /home/vcap/app/new/file"))
	assert.Equal(t, content+"mine\n", both[0].says(t, "cat ~/app/moved"))
	assert.Equal(t, content, both[1].says(t, "cat ~/app/"+name))
	assert.Empty(t, both[1].says(t, "cd ~/app && ls -d new moved 2>/dev/null || true"))
	assert.Contains(t, both[0].own(t, "home/vcap/app"), "moved")
	assert.Empty(t, both[1].own(t, "home/vcap/app"))
	assert.Equal(t, before, tree(t, layer))
}

// tree is all that a directory holds: names, modes, owners, sizes and times.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat, _ := info.Sys().(*syscall.Stat_t)
		all[path] = fmt.Sprint(info.Mode(), stat.Uid, stat.Gid, info.Size(), info.ModTime())
		return nil
	}))
	return all
}

// gone has both instances end. The next worker is told to keep nothing.
func gone(t *testing.T, s *stack.Stack, layer string) {
	t.Helper()
	keepNothing(t, s)
	answering(t, s)
	require.DirExists(t, layer, "both use it, which the next worker knows")
	_, err := s.Starter(t.Context(), "delete", "site")
	require.NoError(t, err)
	require.NoError(t, s.Control.AwaitGone(t.Context(), "site"))
	eventually(t, func() error {
		left, err := filepath.Glob(filepath.Join(ofNode(s, "base"), "droplets", "*", "*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left of the droplet: %q", left)
		}
		return err
	})
}

// keepNothing has the worker end by force, and the one that comes after it looks each second for what nobody uses.
func keepNothing(t *testing.T, s *stack.Stack) {
	t.Helper()
	file := ofNode(s, "dea.yml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	settings := map[string]any{}
	require.NoError(t, yaml.Unmarshal(text, &settings))
	settings["droplets"] = map[string]any{"unused_lifetime": 0}
	settings["intervals"] = map[string]any{"droplet_gc": 1}
	text, err = yaml.Marshal(settings)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o600))
	before, err := s.Worker(1)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		now, err := s.Worker(1)
		return err == nil && now.PID != before.PID
	}, later, pause)
}
