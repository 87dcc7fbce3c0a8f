package compose

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/deploy/temporal"
	"github.com/durable-dea/dea/internal/codec"
)

// oneShots run to their end before anything that needs what they make.
var oneShots = []string{"schema", "namespace", "setup"}

// pinned is an image with a version of three numbers, or two, and perhaps what it is built on.
var pinned = regexp.MustCompile(`^[a-z0-9/-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?$`)

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	require.NoError(t, err)
	return dir
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{root(t)}, path...)...))
	require.NoError(t, err)
	return string(content)
}

// load is strict: the loader checks the file against the specification's schema, refuses keys that it does not know,
// and checks that what is named (services, volumes, secrets) is there.
func load(t *testing.T) *types.Project {
	t.Helper()
	file := filepath.Join(root(t), "docker-compose.yml")
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  root(t),
		ConfigFiles: []types.ConfigFile{{Filename: file}},
		Environment: types.Mapping{},
	})
	require.NoError(t, err)
	return project
}

func TestServicesArePinned(t *testing.T) {
	project := load(t)
	assert.Equal(t, []string{
		"codec", "namespace", "nats", "postgres", "schema", "setup", "temporal", "ui", "wardend", "worker",
	}, project.ServiceNames())
	for name, service := range project.Services {
		assert.Regexp(t, pinned, service.Image, "image of %s", name)
		assert.NotContains(t, service.Image, "auto-setup", "image of %s", name)
	}
	for line := range strings.Lines(read(t, "deploy", "Dockerfile")) {
		if from, ok := strings.CutPrefix(line, "FROM "); ok {
			assert.NotContains(t, from, "latest")
		}
	}
}

// The versions that are embedded in devserver are those that run apart.
func TestTemporalIsTheVersionThatIsEmbedded(t *testing.T) {
	project := load(t)
	versions := map[string]string{}
	for line := range strings.Lines(read(t, "devserver", "go.mod")) {
		fields := strings.Fields(line)
		if len(fields) >= 2 {
			versions[fields[0]] = strings.TrimPrefix(fields[1], "v")
		}
	}
	server, ui := versions["go.temporal.io/server"], versions["github.com/temporalio/ui-server/v2"]
	assert.Equal(t, "temporalio/server:"+server, project.Services["temporal"].Image)
	assert.Equal(t, "temporalio/admin-tools:"+server, project.Services["schema"].Image)
	assert.Equal(t, "temporalio/admin-tools:"+server, project.Services["namespace"].Image)
	assert.Equal(t, "temporalio/ui:"+ui, project.Services["ui"].Image)
}

func TestOneShotsCompleteBeforeTheirDependants(t *testing.T) {
	project := load(t)
	for name, service := range project.Services {
		for dependency, how := range service.DependsOn {
			if slices.Contains(oneShots, dependency) {
				assert.Equal(t, types.ServiceConditionCompletedSuccessfully, how.Condition, "%s on %s", name, dependency)
				continue
			}
			assert.Equal(t, types.ServiceConditionHealthy, how.Condition, "%s on %s", name, dependency)
			assert.NotNil(t, project.Services[dependency].HealthCheck, "health check of %s", dependency)
		}
		if slices.Contains(oneShots, name) {
			assert.True(t, strings.HasPrefix(service.Restart, "on-failure"), "%s must end", name)
		} else {
			assert.Equal(t, types.RestartPolicyUnlessStopped, service.Restart, name)
			assert.NotNil(t, service.HealthCheck, "health check of %s", name)
		}
	}
	assert.Contains(t, project.Services["temporal"].DependsOn, "schema")
	assert.Contains(t, project.Services["setup"].DependsOn, "namespace")
	assert.Contains(t, project.Services["worker"].DependsOn, "setup")
	assert.Contains(t, project.Services["worker"].DependsOn, "wardend")
}

func TestDataIsOnNamedVolumes(t *testing.T) {
	project := load(t)
	for service, target := range map[string]string{
		"postgres": "/var/lib/postgresql/data", "wardend": "/var/dea", "worker": "/var/dea",
	} {
		found := slices.IndexFunc(project.Services[service].Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Target == target
		})
		require.NotEqual(t, -1, found, service)
		volume := project.Services[service].Volumes[found]
		assert.Equal(t, types.VolumeTypeVolume, volume.Type, service)
		assert.Contains(t, project.Volumes, volume.Source, service)
	}
}

func TestWhatIsMountedIsInTheRepository(t *testing.T) {
	project := load(t)
	for name, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				assert.FileExists(t, volume.Source, name)
				assert.True(t, volume.ReadOnly, "%s: %s", name, volume.Target)
			}
		}
		if service.Build == nil {
			continue
		}
		dockerfile := read(t, service.Build.Dockerfile)
		assert.Contains(t, dockerfile, " AS "+service.Build.Target+"\n", name)
	}
}

func TestDynamicConfigIsTheOneThatIsEmbedded(t *testing.T) {
	project := load(t)
	server := project.Services["temporal"]
	target := server.Environment["DYNAMIC_CONFIG_FILE_PATH"]
	require.NotNil(t, target)
	for _, volume := range server.Volumes {
		if volume.Target == *target {
			content, err := os.ReadFile(volume.Source)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(temporal.DynamicConfig(), content))
			return
		}
	}
	t.Fatalf("nothing is mounted at %s", *target)
}

// Nothing is published but on the loopback: none of it asks who is there.
func TestPortsAreOnTheLoopback(t *testing.T) {
	published := map[string]string{}
	for name, service := range load(t).Services {
		for _, port := range service.Ports {
			assert.Equal(t, "127.0.0.1", port.HostIP, name)
			assert.Empty(t, published[port.Published], "port %s of %s", port.Published, name)
			published[port.Published] = name
		}
	}
	assert.NotEmpty(t, published)
}

// Who reaches the codec server can read every history, and apps are in the network of wardend.
func TestAppsDoNotReachTheCodecServer(t *testing.T) {
	services := load(t).Services
	assert.NotEmpty(t, services["codec"].Networks)
	for name, service := range services {
		if name == "codec" {
			continue
		}
		for network := range service.Networks {
			assert.NotContains(t, services["codec"].Networks, network, name)
		}
	}
}

// makeSecrets makes the secrets in a directory of the test's, by a copy of the script, which it gives.
func makeSecrets(t *testing.T) (dir string, run func() string) {
	t.Helper()
	parent := t.TempDir()
	dir = filepath.Join(parent, "secrets")
	script := filepath.Join(parent, "secrets.sh")
	require.NoError(t, os.WriteFile(script, []byte(read(t, "deploy", "secrets.sh")), 0o700)) //nolint:gosec // it is run
	require.NoError(t, os.Mkdir(dir, 0o700))
	run = func() string {
		out, err := exec.CommandContext(t.Context(), "bash", script).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	assert.Contains(t, run(), "made")
	return dir, run
}

func TestSecretsAreMadeByTheScript(t *testing.T) {
	project := load(t)
	dir, run := makeSecrets(t)
	for name, secret := range project.Secrets {
		rel, err := filepath.Rel(filepath.Join(root(t), "deploy", "secrets"), secret.File)
		require.NoError(t, err)
		info, err := os.Stat(filepath.Join(dir, rel))
		require.NoError(t, err, name)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	key := filepath.Join(dir, "encryption.key")
	before, err := codec.LoadKeyring(key)
	require.NoError(t, err)
	assert.NotContains(t, run(), "made", "a second run makes nothing anew")
	after, err := codec.LoadKeyring(key)
	require.NoError(t, err)
	assert.Equal(t, before.Derive("test"), after.Derive("test"))
	assert.Equal(t, "*\n!.gitignore\n", read(t, "deploy", "secrets", ".gitignore"), "no secret is ever committed")
}

// exported is the variable that a service's command makes of the secrets that it is given, before it begins the program.
func exported(t *testing.T, project *types.Project, name, secrets, variable string) string {
	t.Helper()
	service := project.Services[name]
	mounted := t.TempDir()
	for _, secret := range service.Secrets {
		file := filepath.Base(project.Secrets[secret.Source].File)
		require.NoError(t, os.Symlink(filepath.Join(secrets, file), filepath.Join(mounted, secret.Source)))
	}
	require.Equal(t, types.ShellCommand{"/bin/sh", "-c"}, service.Entrypoint, name)
	require.Len(t, service.Command, 1, name)
	before, program, found := strings.Cut(service.Command[0], "&& exec ")
	require.True(t, found, name)
	require.NotContains(t, program, "secrets", "what is shown by ps")
	script := strings.ReplaceAll(before, "/run/secrets", mounted) + `&& printf %s "$` + variable + `"`
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", script).Output()
	require.NoError(t, err, name)
	require.NotEmpty(t, out, name)
	return string(out)
}

// TestOnlyTheWorkerSpeaksByNATS: apps reach it as well, and who may speak there leads requests where he likes.
func TestOnlyTheWorkerSpeaksByNATS(t *testing.T) {
	project := load(t)
	secrets, _ := makeSecrets(t)
	t.Setenv("NATS_PASSWORD", exported(t, project, "nats", secrets, "NATS_PASSWORD"))
	file := project.Services["nats"].Volumes[0]
	assert.Contains(t, project.Services["nats"].Command[0], "--config "+file.Target)
	options, err := server.ProcessConfigFile(file.Source)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", options.HTTPHost)
	assert.Contains(t, project.Services["nats"].HealthCheck.Test, fmt.Sprintf("http://127.0.0.1:%d/healthz", options.HTTPPort))

	at, err := url.Parse(exported(t, project, "worker", secrets, "DEA_NATS_SERVERS"))
	require.NoError(t, err)
	assert.Equal(t, strconv.Itoa(options.Port), at.Port())
	options.Host, options.Port, options.HTTPPort = "127.0.0.1", server.RANDOM_PORT, 0
	options.NoSigs, options.NoLog = true, true
	bus, err := server.NewServer(options)
	require.NoError(t, err)
	bus.Start()
	defer bus.WaitForShutdown()
	defer bus.Shutdown()
	require.True(t, bus.ReadyForConnections(time.Minute))
	at.Host = bus.Addr().String()
	client, err := nats.Connect(at.String())
	require.NoError(t, err)
	client.Close()
	for _, stranger := range []*url.Userinfo{nil, url.User(at.User.Username()), url.UserPassword(at.User.Username(), "$NATS_PASSWORD")} {
		at.User = stranger
		_, err := nats.Connect(at.String())
		require.ErrorIs(t, err, nats.ErrAuthorization)
	}
}

func TestScriptsAreSound(t *testing.T) {
	for _, script := range []string{"schema.sh", "namespace.sh"} {
		path := filepath.Join(root(t), "deploy", "temporal", script)
		out, err := exec.CommandContext(t.Context(), "sh", "-n", path).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

// The worker's configuration is understood, with the environment that its service gives it.
func TestTheNodeIsConfigured(t *testing.T) {
	project := load(t)
	worker := project.Services["worker"]
	const keyVariable, keyTarget = "DEA_TEMPORAL_ENCRYPTION_KEY_FILE", "/run/secrets/encryption_key"
	key := filepath.Join(t.TempDir(), "encryption.key")
	_, err := codec.CreateKeyFile(key)
	require.NoError(t, err)
	require.NotNil(t, worker.Environment[keyVariable])
	require.Equal(t, keyTarget, *worker.Environment[keyVariable])
	const servers = "DEA_NATS_SERVERS"
	secrets, _ := makeSecrets(t)
	address := exported(t, project, "worker", secrets, servers)

	node, err := config.LoadNode(config.LoadOptions{
		File: filepath.Join(root(t), "deploy", "dea.yml"),
		Env: func(name string) string {
			switch name {
			case keyVariable:
				return key // the configuration is refused where the file is not
			case servers:
				return address
			}
			if value := worker.Environment[name]; value != nil {
				return *value
			}
			return ""
		},
	})
	require.NoError(t, err)
	assert.Equal(t, "temporal:7233", node.Temporal.Address)
	assert.Equal(t, *project.Services["namespace"].Environment["TEMPORAL_NAMESPACE"], node.Temporal.Namespace)
	assert.Contains(t, project.Services["wardend"].Command, "--socket="+node.WardenSocket)
	require.Len(t, node.NATSServers, 1)
	bus, err := url.Parse(node.NATSServers[0].Reveal())
	require.NoError(t, err)
	assert.Contains(t, project.Services, bus.Hostname())
	assert.Contains(t, worker.DependsOn, bus.Hostname())
	assert.Contains(t, worker.Command[0], " --config "+worker.Volumes[1].Target)
}
