package container

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// openSaying opens a depot and answers what was logged meanwhile, as lines of JSON.
func openSaying(t *testing.T, depot string) (*Registry, string) {
	t.Helper()
	var log bytes.Buffer
	opts := options(t, depot)
	opts.Log = hclog.New(&hclog.LoggerOptions{Output: &log, JSONFormat: true})
	r := open(t, opts)
	return r, log.String()
}

func handles(t *testing.T, r *Registry) []string {
	t.Helper()
	list, err := r.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	return list.GetHandles()
}

// TestStrays: what others put among the containers is neither served nor removed, and no container takes its place.
func TestStrays(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	kept := create(t, r)
	r.Close()
	containers := filepath.Join(depot, containersName)
	record, err := os.ReadFile(filepath.Join(kept.spec.Dir, recordName))
	require.NoError(t, err)
	files := []string{
		filepath.Join(containers, "notes"), filepath.Join(containers, "directory", "notes"), filepath.Join(containers, "copy", recordName),
	}
	for _, file := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, record, 0o600))
	}
	require.NoError(t, os.Symlink(kept.spec.Dir, filepath.Join(containers, "link")))

	r, log := openSaying(t, depot)
	defer r.Close()
	require.Equal(t, []string{kept.handle}, handles(t, r))
	for _, name := range []string{"notes", "directory", "copy", "link"} {
		require.Contains(t, log, `"path":"`+filepath.Join(containers, name)+`"`)
	}
	for _, handle := range []string{"notes", "directory", "copy", "link"} {
		_, err := r.Create(t.Context(), &wardenpb.CreateRequest{Handle: proto.String(handle)}, nil)
		require.ErrorIs(t, err, errStray)
	}
	for _, file := range files {
		require.FileExists(t, file)
	}
	require.FileExists(t, filepath.Join(containers, "link", recordName))
	found, err := r.find(kept.handle)
	require.NoError(t, err)
	require.EqualValues(t, 3, link(t, found, spawn(t, found, "exit 3")).GetExitStatus())
}

// TestServerRecordLost: containers outlive it, and no id is given out twice, also one whose job left no trace.
func TestServerRecordLost(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"empty":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"torn":    func(path string) error { return os.WriteFile(path, []byte(`{"version":1,"ba`), 0o600) },
		"null":    func(path string) error { return os.WriteFile(path, []byte("null"), 0o600) },
		"missing": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			depot := t.TempDir()
			cleanUp(t, depot)
			r := open(t, options(t, depot))
			c := create(t, r)
			running, taken := spawn(t, c, "sleep 1000"), spawn(t, c, "true")
			link(t, c, taken)
			r.Close()
			require.NoError(t, lose(filepath.Join(depot, serverName)))

			r, log := openSaying(t, depot)
			require.Contains(t, log, `"@level":"error"`)
			require.Contains(t, log, serverName)
			found, err := r.find(c.handle)
			require.NoError(t, err)
			require.Contains(t, found.jobs, running)
			next := spawn(t, found, "sleep 1000")
			require.Greater(t, next, taken)
			r.Close()

			r, log = openSaying(t, depot)
			defer r.Close()
			require.NotContains(t, log, `"@level":"error"`, "it is whole again")
			found, err = r.find(c.handle)
			require.NoError(t, err)
			require.Greater(t, spawn(t, found, "true"), next)
		})
	}
	t.Run("of another backend's containers", func(t *testing.T) {
		depot := t.TempDir()
		dir := filepath.Join(depot, containersName, "x")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, recordName), []byte(`{"version":1,"backend":"oci","phase":"ready","handle":"eA=="}`), 0o600))
		_, err := Open(t.Context(), options(t, depot))
		require.ErrorContains(t, err, "belongs to backend oci")
		require.FileExists(t, filepath.Join(dir, recordName), "it is left alone")
	})
}

// TestContainerRecordDamaged: the container is ended, its owner can find out which one it was, and the others go on.
func TestContainerRecordDamaged(t *testing.T) {
	for name, damaged := range map[string]string{
		"empty":   "",
		"torn":    `{"version":1`,
		"null":    "null",
		"network": `{"version":1,"phase":"ready","handle":"c2FmZQ==","network":"x"}`,
		"request": `{"version":1,"phase":"ready","handle":"c2FmZQ==","create":"/w=="}`,
	} {
		t.Run(name, func(t *testing.T) {
			depot := t.TempDir()
			cleanUp(t, depot)
			r := open(t, options(t, depot))
			kept := create(t, r)
			_, err := r.Create(t.Context(), &wardenpb.CreateRequest{Handle: proto.String("safe")}, nil)
			require.NoError(t, err)
			c, err := r.find("safe")
			require.NoError(t, err)
			spawn(t, c, "sleep 1000")
			pid := c.b.Init().PID()
			r.Close()
			require.NoError(t, os.WriteFile(filepath.Join(c.spec.Dir, recordName), []byte(damaged), 0o600))

			r, log := openSaying(t, depot)
			defer r.Close()
			require.Contains(t, log, "A CONTAINER IS LOST")
			require.Contains(t, log, `"handle":"safe"`)
			require.Equal(t, []string{kept.handle}, handles(t, r))
			require.Eventually(t, func() bool { return gone(pid) }, wait, tick)
			require.NoDirExists(t, c.spec.Dir)
			_, err = r.Create(t.Context(), &wardenpb.CreateRequest{Handle: proto.String("safe")}, nil)
			require.NoError(t, err, "it can be made again")
		})
	}
}
