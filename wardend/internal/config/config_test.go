package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func load(t *testing.T, content string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "warden.yml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	c := Default()
	err := c.LoadFile(path)
	return c, err
}

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	require.NoError(t, c.Validate())
	require.EqualValues(t, 0o600, c.SocketMode)
}

func TestOriginalsFile(t *testing.T) {
	c, err := load(t, `
server:
  container_klass: Warden::Container::Linux
  container_grace_time: 300
  unix_domain_path: /var/vcap/warden.sock
  unix_domain_permissions: 0777
  container_rootfs_path: /var/vcap/rootfs
  container_depot_path: /var/vcap/depot
  container_rlimits:
    core: 0
    nofile: 8192
  job_output_limit: 1048576
  quota:
    disk_quota_enabled: false
  allow_nested_warden: true
health_check_server:
  port: 2345
logging:
  file: /var/vcap/log
  level: debug2
network:
  pool_start_address: 10.254.0.0
  pool_size: 256
  deny_networks: ["192.0.2.0/24", 198.51.100.7]
  allow_networks: [192.0.2.1]
port:
  pool_start_port: 61001
  pool_size: 4000
user:
  pool_start_uid: 20000
  pool_size: 25
`)
	require.NoError(t, err)
	require.NoError(t, c.Validate())
	require.Equal(t, BackendOCI, c.Backend, "isolation that was asked for by name is not dropped in silence")
	require.EqualValues(t, 300, c.GraceTime)
	require.Equal(t, "/var/vcap/warden.sock", c.Socket)
	require.EqualValues(t, 0o777, c.SocketMode)
	require.Equal(t, "/var/vcap/rootfs", c.Rootfs)
	require.Equal(t, "/var/vcap/depot", c.Depot)
	require.EqualValues(t, 8192, c.Rlimits.GetNofile())
	require.NotNil(t, c.Rlimits.Core)
	require.Nil(t, c.Rlimits.As)
	require.EqualValues(t, 1048576, c.JobOutputLimit)
	require.Equal(t, "/var/vcap/log", c.LogFile)
	require.Equal(t, "debug", c.LogLevel)
	require.Equal(t, netip.MustParsePrefix("10.254.0.0/22"), c.PoolNetwork)
	require.EqualValues(t, 61001, c.PortStart)
	require.EqualValues(t, 4000, c.PortSize)
	require.ElementsMatch(t, []string{
		"server.quota", "server.allow_nested_warden", "health_check_server", "user",
	}, c.Ignored)
}

func TestFileVariants(t *testing.T) {
	c, err := load(t, "")
	require.NoError(t, err)
	require.Equal(t, Default(), c, "an empty file changes nothing")
	c, err = load(t, "server: {container_klass: 'Warden::Container::Insecure', unix_domain_permissions: 0o660}\nnetwork: {pool_network: 10.1.0.0/16}")
	require.NoError(t, err)
	require.Equal(t, BackendProcess, c.Backend)
	require.EqualValues(t, 0o660, c.SocketMode)
	require.Equal(t, "10.1.0.0/16", c.PoolNetwork.String())
}

func TestFileRefused(t *testing.T) {
	for content, words := range map[string]string{
		"server: {container_deport_path: /x}":       "container_deport_path",
		"servre: {}":                                "servre",
		"server:\n  container_grace_time: soon":     "line 2",
		"server: {unix_domain_permissions: rw}":     "unix_domain_permissions (line 1)",
		"server: {container_klass: Other}":          "container_klass",
		"server: {container_rlimits: {nofiles: 1}}": "nofiles",
		"network: {pool_network: x}":                "pool_network",
		"network: {pool_start_address: x}":          "pool_start_address",
		"port: {pool_start_port: 1}":                "belong together",
		"[":                                         "configuration",
	} {
		_, err := load(t, content)
		require.ErrorContains(t, err, words, content)
	}
	c := Default()
	require.ErrorIs(t, c.LoadFile("/nowhere/x.yml"), os.ErrNotExist)
}

func TestValidateSaysAllAtOnce(t *testing.T) {
	c := Config{SocketMode: 0o10000, Backend: "docker", PortStart: 70000, JobOutputLimit: -1, LogLevel: "loud", LogFormat: "xml", Rootfs: "rel"}
	err := c.Validate()
	for _, name := range []string{"socket:", "socket-mode:", "depot:", "backend:", "pool-network:", "port-pool:", "job-output-limit:", "log-level:", "log-format:", "rootfs:"} {
		require.ErrorContains(t, err, name)
	}
}

func TestParse(t *testing.T) {
	start, size, err := ParsePortPool("61001:100")
	require.NoError(t, err)
	require.EqualValues(t, 61001, start)
	require.EqualValues(t, 100, size)
	for _, s := range []string{"", "1", "a:b", "1:-1", "70000:1"} {
		_, _, err := ParsePortPool(s)
		require.Error(t, err, s)
	}
	_, err = ParseMode("0689")
	require.Error(t, err)
}
