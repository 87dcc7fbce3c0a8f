package cli

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/backend/oci"
	"github.com/durable-dea/dea/wardend/internal/config"
	"github.com/durable-dea/dea/wardend/internal/container"
)

// parse gives what the command line makes of a configuration.
func parse(t *testing.T, args ...string) (config.Config, error) {
	t.Helper()
	var f flags
	set := pflag.NewFlagSet("wardend", pflag.ContinueOnError)
	f.addAll(set)
	require.NoError(t, set.Parse(args))
	var got config.Config
	err := withConfig(set, &f, os.Stderr, func(r run) error {
		got = r.cfg
		return nil
	})
	return got, err
}

func TestDefaults(t *testing.T) {
	got, err := parse(t)
	require.NoError(t, err)
	require.Equal(t, config.Default(), got)
}

func TestFlagsWin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "warden.yml")
	require.NoError(t, os.WriteFile(file, []byte(`
server: {unix_domain_path: /file, container_depot_path: /file, container_grace_time: 5, job_output_limit: 7, unix_domain_permissions: 0777}
`), 0o600))
	got, err := parse(t, "--config", file, "--socket", "/flag", "--grace-time", "0")
	require.NoError(t, err)
	require.Equal(t, "/flag", got.Socket)
	require.Zero(t, got.GraceTime)
	require.Equal(t, "/file", got.Depot)
	require.EqualValues(t, 7, got.JobOutputLimit)
	require.EqualValues(t, 0o777, got.SocketMode)
}

func TestEveryFlagIsTaken(t *testing.T) {
	got, err := parse(t, "--socket", "/s", "--socket-mode", "0660", "--depot", "/d", "--backend", "process", "--runtime", "/r",
		"--rootfs", "/root", "--pool-network", "10.1.0.0/24", "--port-pool", "61001:10", "--grace-time", "9", "--job-output-limit", "8",
		"--log-level", "debug", "--log-format", "json", "--name", "n1", "--socket-group", "adm", "--scratch", "image", "--scratch-size", "3G",
		"--pids-limit", "7", "--allow-network", "192.0.2.1", "--deny-network", "192.0.2.0/24,198.51.100.0/24")
	require.NoError(t, err)
	networks := func(list ...string) []netip.Prefix {
		all, err := config.ParseNetworks(list)
		require.NoError(t, err)
		return all
	}
	require.Equal(t, config.Config{
		Name: "n1", SocketGroup: "adm", Scratch: "image", ScratchSize: 3 << 30, PidsLimit: 7,
		AllowNetworks: networks("192.0.2.1/32"), DenyNetworks: networks("192.0.2.0/24", "198.51.100.0/24"),
		Socket: "/s", SocketMode: 0o660, Depot: "/d", Backend: "process", Runtime: "/r", Rootfs: "/root",
		PoolNetwork: netip.MustParsePrefix("10.1.0.0/24"), PortStart: 61001, PortSize: 10, GraceTime: 9, JobOutputLimit: 8,
		LogLevel: "debug", LogFormat: "json",
	}, got)
}

func TestRefused(t *testing.T) {
	for words, args := range map[string][]string{
		"--socket-mode":  {"--socket-mode", "rw"},
		"--port-pool":    {"--port-pool", "all"},
		"port-pool":      {"--port-pool", "65535:9"},
		"--pool-network": {"--pool-network", "x"},
		"backend":        {"--backend", "docker"},
		"--deny-network": {"--deny-network", "2001:db8::/32"},
		"--scratch-size": {"--scratch-size", "17179869184G"},
		"scratch":        {"--scratch", "tape"},
		"name":           {"--name", "Node 1"},
		"no such file":   {"--config", "/no/such/file"},
	} {
		_, err := parse(t, args...)
		require.ErrorContains(t, err, words)
	}
	for _, args := range [][]string{{"--no-such-flag"}, {"argument"}, {"init"}, {"no-such-command"}} {
		cmd := New(&bytes.Buffer{})
		cmd.SetArgs(args)
		require.Error(t, cmd.Execute(), "%v", args)
	}
	cmd := New(&bytes.Buffer{})
	cmd.SetArgs([]string{"--backend", "oci", "--runtime", "/no/such/runtime", "--depot", t.TempDir()})
	require.ErrorIs(t, cmd.Execute(), oci.ErrUnusable)
}

func TestHelpNamesTheCommands(t *testing.T) {
	cmd := New(&bytes.Buffer{})
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--help"})
	require.NoError(t, cmd.Execute())
	require.Contains(t, out.String(), "destroy-all")
	require.Contains(t, out.String(), "--port-pool")
	require.NotContains(t, out.String(), "Be the init", "not for people")
}

func TestDestroyAllOfNothing(t *testing.T) {
	depot := filepath.Join(t.TempDir(), "new")
	cmd := New(&bytes.Buffer{})
	cmd.SetArgs([]string{"destroy-all", "--depot", depot})
	require.NoError(t, cmd.Execute())
	require.NotErrorIs(t, cmd.Execute(), container.ErrDepotInUse)
}
