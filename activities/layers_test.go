package activities_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/wardentest"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// logged makes the node's containers anew, as a worker that starts does, and gives what they say in the log.
func (i *instanceTest) logged(temporal activities.WorkflowStarter) *bytes.Buffer {
	var said bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Output: &said, Level: hclog.Info})
	i.containers = activities.NewContainers(activities.ContainersDeps{
		Warden: i.server.Client, Config: i.config, Workspaces: i.workspaces, Cache: i.droplets,
		Droplets: activities.NewDroplets(activities.DropletsDeps{
			Node: "n", Temporal: temporal, Cache: i.droplets, Warden: i.server.Client, HTTP: i.http, Log: log,
		}),
		Supervisor: i.supervisor, Runner: filepath.Dir(wardentest.Program("dea-runner")), Log: log,
	})
	return &said
}

// stack gives the node a stack with a directory, which has this etc/passwd.
func (i *instanceTest) stack(t *testing.T, passwd string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc", "passwd"), []byte(passwd), 0o644))
	i.config.Stacks = []config.Stack{{Name: "host", PackagePath: dir}}
	return dir
}

const vcapsLine = "vcap:x:2000:2000::/home/vcap:/bin/bash\n"

func (i *instanceTest) layers(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(i.base, "droplets", ".layers", "*"))
	require.NoError(t, err)
	return found
}

// The process backend knows no layers, which is found out once.
func TestDropletIsUnpackedInsideByAWardenWithoutLayers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("layers are root's")
	}
	i := newInstanceTest(t, writesOnce)
	i.stack(t, vcapsLine)
	said := i.logged(nil)
	require.NoError(t, i.launch(t, i.create(t)))
	i.awaitFile(t, "tmp/starts")
	i.retire(t, activities.RetireParams{})
	require.Len(t, i.layers(t), 1)
	require.NoError(t, os.RemoveAll(i.layers(t)[0]))
	i.create(t)
	require.Empty(t, i.layers(t), "it is not tried again")
	require.FileExists(t, filepath.Join(i.home(t), "app", "run"))
	i.retire(t, activities.RetireParams{})
	require.Equal(t, 1, strings.Count(said.String(), "droplets are unpacked"), said)
	require.Regexp(t, `droplets are unpacked in each container: stack=host because=.*rootfs .*:.* not found`, said.String())
}

func TestStacksWithoutLayers(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	for name, c := range map[string]struct {
		prepare func()
		words   string
	}{
		"no directory": {func() { i.config.Stacks = []config.Stack{{Name: "host"}} }, "the stack has no package_path"},
		"no vcap":      {func() { i.stack(t, "root:x:0:0::/root:/bin/bash\n") }, "vcap cannot be read: .*no such user"},
		"no passwd": {func() {
			require.NoError(t, os.Remove(filepath.Join(i.stack(t, vcapsLine), "etc", "passwd")))
		}, "vcap cannot be read: .*no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "no directory" && os.Geteuid() != 0 {
				t.Skip("layers are root's")
			}
			c.prepare()
			said := i.logged(nil)
			for range 2 {
				i.create(t)
				require.FileExists(t, filepath.Join(i.home(t), "app", "run"))
			}
			i.retire(t, activities.RetireParams{})
			require.Empty(t, i.layers(t))
			require.Equal(t, 1, strings.Count(said.String(), "droplets are unpacked in each container"), said)
			require.Regexp(t, c.words, said.String())
		})
	}
}

// brokenDroplet is one that cannot be unpacked.
func (i *instanceTest) brokenDroplet(t *testing.T) string {
	t.Helper()
	content := []byte("no tar.gz")
	part, err := i.droplets.Part(sum(content))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(part, content, 0o600))
	require.NoError(t, i.droplets.Move(sum(content), part))
	return sum(content)
}

// largeDroplet is one that takes 3 MiB.
func (i *instanceTest) largeDroplet(t *testing.T) string {
	t.Helper()
	content := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(content, "app"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(content, "app", "big"), make([]byte, 3<<20), 0o644))
	packed, err := archive.PackFile(t.Context(), content, filepath.Join(i.base, "large.tgz"))
	require.NoError(t, err)
	require.NoError(t, i.droplets.Move(packed.SHA1, filepath.Join(i.base, "large.tgz")))
	return packed.SHA1
}

// What is wrong with a droplet is told in the same words either way.
func TestDropletsThatCannotBeUnpacked(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	good := i.message.SHA1
	fails := func(t *testing.T, sha1 string) {
		t.Helper()
		i.message.SHA1 = sha1
		_, err := execute(t.Context(), t, i.containers.Create, activities.CreateParams{InstanceID: anInstance, Message: i.message})
		require.Equal(t, api.ErrorInfo{Type: api.ErrStartFailed, Message: api.ExitFailedToStart}, api.Explain(err, ""))
		i.retire(t, activities.RetireParams{})
		uses, err := i.droplets.Uses()
		require.NoError(t, err)
		require.Empty(t, uses)
	}
	t.Run("inside", func(t *testing.T) { fails(t, i.brokenDroplet(t)) })
	if os.Geteuid() != 0 {
		t.Skip("layers are root's")
	}
	i.stack(t, vcapsLine)
	t.Run("as a layer", func(t *testing.T) { fails(t, i.brokenDroplet(t)) })
	i.message.Limits.DiskMB = 2
	t.Run("larger than the disk", func(t *testing.T) { fails(t, i.largeDroplet(t)) })
	require.Empty(t, i.layers(t))
	i.message.SHA1 = good
	i.create(t)
	i.retire(t, activities.RetireParams{})
}

func TestInstanceUsesItsDroplet(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	used := func() []droplets.Use {
		uses, err := i.droplets.Uses()
		require.NoError(t, err)
		return uses
	}
	created := i.create(t)
	reaped, err := i.droplets.Reap(t.Context(), droplets.Keep{})
	require.NoError(t, err)
	require.Empty(t, reaped)
	require.Equal(t, []droplets.Use{{SHA1: i.message.SHA1, Instance: anInstance}}, used())
	i.retire(t, activities.RetireParams{Created: created})
	require.Empty(t, used())
	reaped, err = i.droplets.Reap(t.Context(), droplets.Keep{})
	require.NoError(t, err)
	require.Equal(t, []string{i.message.SHA1}, reaped)
	i.retire(t, activities.RetireParams{Created: created})
}

func TestLostInstancesUseNothing(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	d := activities.NewDroplets(activities.DropletsDeps{
		Cache: i.droplets, Warden: i.server.Client, HTTP: i.http, Log: hclog.NewNullLogger(),
	})
	require.NoError(t, i.droplets.Claim("odd/id", i.message.SHA1))
	require.NoError(t, i.droplets.Claim("lost", i.message.SHA1))
	i.create(t)
	earlier := d.Uses()
	require.NoError(t, i.droplets.Claim("new", i.message.SHA1))
	users := func() []string {
		var ids []string
		for _, use := range d.Uses() {
			ids = append(ids, use.Instance)
		}
		return ids
	}
	ledger := api.NodeStatus{Reservations: []api.Reservation{{ID: "odd/id"}}}
	require.NoError(t, d.Forget(t.Context(), earlier, ledger))
	require.Len(t, users(), 3)
	require.Contains(t, users(), anInstance, "it is in Warden")
	require.Contains(t, users(), "new", "it may be in a later ledger")
	_, err := i.server.Client.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: proto.String(anInstance)})
	require.NoError(t, err)
	require.NoError(t, d.Forget(t.Context(), d.Uses(), api.NodeStatus{}))
	require.Empty(t, users())
	require.NoError(t, d.Forget(t.Context(), d.Uses(), api.NodeStatus{}))
}

// A droplet that is cleared away after it was fetched, by whomever, is fetched again.
func TestDropletThatGoesIsFetchedAgain(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	path, err := i.droplets.Path(i.message.SHA1)
	require.NoError(t, err)
	kept := filepath.Join(i.base, "kept.tgz")
	require.NoError(t, os.Rename(path, kept))
	var fetched atomic.Int32
	bring := func(api.FetchDropletInput) error {
		if fetched.Add(1) == 1 {
			return nil // It came, and went.
		}
		content, err := os.ReadFile(kept)
		if err != nil {
			return err
		}
		part, err := i.droplets.Part(i.message.SHA1)
		if err != nil {
			return err
		}
		if err := os.WriteFile(part, content, 0o600); err != nil {
			return err
		}
		return i.droplets.Move(i.message.SHA1, part)
	}
	i.logged(&starter{fetch: bring})
	i.create(t)
	require.EqualValues(t, 2, fetched.Load())
	require.FileExists(t, filepath.Join(i.home(t), "app", "run"))
	i.retire(t, activities.RetireParams{})

	require.NoError(t, os.Remove(path))
	fetched.Store(0)
	i.logged(&starter{fetch: func(api.FetchDropletInput) error { fetched.Add(1); return nil }})
	_, err = execute(context.Background(), t, i.containers.Create, activities.CreateParams{InstanceID: anInstance, Message: i.message})
	requireFault(t, err, api.ErrDroplet, false, "not in the node's cache")
	require.EqualValues(t, 3, fetched.Load(), "it is given up in the end")
	i.retire(t, activities.RetireParams{})
}

func TestCreateRefusesWhatNamesNoDroplet(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.message.SHA1 = "../" + i.message.SHA1[3:]
	_, err := execute(t.Context(), t, i.containers.Create, activities.CreateParams{InstanceID: anInstance, Message: i.message})
	requireFault(t, err, api.ErrDroplet, true, "40 hexadecimal digits")
	i.retire(t, activities.RetireParams{})
}
