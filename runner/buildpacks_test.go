package main_test

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/runspec"
)

// nobody is a user without rights, home and password.
const nobody = 65534

// goroot is where the go tool that runs the tests has its home: the buildpack must find one somewhere.
func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	return "GOROOT=" + strings.TrimSpace(string(out))
}

// readDir gives the files beneath a directory.
func readDir(t *testing.T, dir string) files {
	t.Helper()
	all := files{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if info.Mode()&0o100 != 0 {
			name += "*"
		}
		all[name] = string(data)
		return err
	}))
	return all
}

// shipped is a buildpack of this repository as it is packed for use.
func shipped(t *testing.T, name string) files {
	t.Helper()
	pack := readDir(t, "../buildpacks/"+name)
	if name == "static" {
		server, err := os.ReadFile(filepath.Join(programs, "staticd"))
		require.NoError(t, err)
		pack["bin/staticd*"] = string(server)
	}
	return pack
}

// allShipped are ours, in the order of detection.
func allShipped(t *testing.T) []files {
	t.Helper()
	return []files{shipped(t, "go"), shipped(t, "procfile"), shipped(t, "static")}
}

// asNobody runs the runner as a user without rights, where the tests may.
func (c *container) asNobody(cmd *exec.Cmd) *exec.Cmd {
	c.t.Helper()
	if os.Geteuid() != 0 {
		return cmd
	}
	require.NoError(c.t, os.Chmod(filepath.Dir(c.root), 0o755))
	require.NoError(c.t, exec.Command("chown", "-R", "65534:65534", c.root).Run())
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// stageExample stages an app of this repository with all buildpacks of this repository.
func stageExample(t *testing.T, app files, cache string, env ...string) (*container, runspec.Result) {
	t.Helper()
	c := newContainer(t)
	c.pack(app)
	if cache != "" {
		c.write(runspec.PathIn+"/"+runspec.FileCache, cache, 0o644)
	}
	c.order(func(s *runspec.Spec) { s.TimeoutSeconds = 900 }, allShipped(t)...)
	cmd := c.asNobody(c.command(env, "stage"))
	_ = cmd.Run()
	result := c.result()
	require.Nil(t, result.Error, c.log())
	return c, result
}

// serve unpacks the droplet in an instance's container, launches it on a free port and gives its URL.
func (c *container) serve(env ...string) (string, *container, *exec.Cmd) {
	c.t.Helper()
	i := c.instance()
	require.NoError(c.t, i.asNobody(i.command(nil, "unpack")).Run())
	port := freePort(c.t)
	cmd := i.asNobody(i.command(append(env, "PORT="+port), "launch"))
	require.NoError(c.t, cmd.Start())
	c.t.Cleanup(func() { _ = syscall.Kill(cmd.Process.Pid, syscall.SIGKILL) })
	url := "http://127.0.0.1:" + port
	require.Eventually(c.t, func() bool {
		connection, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err != nil {
			return false
		}
		return connection.Close() == nil
	}, patience, 10*time.Millisecond)
	return url, i, cmd
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := (&http.Client{Timeout: patience}).Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestGoBuildpack(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles the standard library")
	}
	staged := testHello(t)
	// What was compiled for hello is there for the others, too.
	testGoApps(t, staged.path(runspec.PathCache))
}

func testHello(t *testing.T) *container {
	t.Helper()
	app := readDir(t, "../examples/hello")
	first, result := stageExample(t, app, "", goroot(t))
	require.Equal(t, "Go", result.DetectedBuildpack)
	require.Equal(t, "bp0", result.BuildpackKey)
	require.Equal(t, "./bin/hello", result.StartCommand)
	require.Regexp(t, `-----> Using go1\.\d+`, first.log())

	url, instance, cmd := first.serve("CF_INSTANCE_INDEX=2")
	status, body := get(t, url+"/")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "Hello from instance 2 of hello\n", body)
	_, body = get(t, url+"/exit?status=3")
	require.Contains(t, body, "ends with status 3")
	require.Equal(t, 3, await(t, cmd))
	require.Contains(t, instance.read(runspec.PathStderr), "asked to end with status 3")

	// The second time nothing of the standard library is compiled.
	cache := first.read(runspec.PathOut + "/" + runspec.FileBuildpackCache)
	_, again := stageExample(t, app, cache, goroot(t))
	require.Less(t, compileTime(again), compileTime(result)/2)
	return first
}

func compileTime(r runspec.Result) time.Duration {
	for _, p := range r.Phases {
		if p.Name == runspec.PhaseCompile {
			return p.Duration()
		}
	}
	return 0
}

func TestStaticSiteIsServed(t *testing.T) {
	t.Parallel()
	c, result := stageExample(t, readDir(t, "../examples/static"), "")
	require.Equal(t, "Static", result.DetectedBuildpack)
	require.Equal(t, "./staticd -root public", result.StartCommand)
	require.Empty(t, c.read(runspec.PathOut+"/"+runspec.FileBuildpackCache))
	url, _, cmd := c.serve()
	status, body := get(t, url+"/")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "<h1>A static site</h1>")
	_, body = get(t, url+"/docs")
	require.Contains(t, body, "<h1>Docs</h1>")
	status, body = get(t, url+"/nowhere")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, body, "<h1>Not here</h1>")
	status, _ = get(t, url+"/Staticfile")
	require.Equal(t, http.StatusNotFound, status)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Equal(t, 0, await(t, cmd))
}

func TestStaticfileNamesTheRoot(t *testing.T) {
	t.Parallel()
	_, result := stageExample(t, files{"Staticfile": "# mine\nroot: \"dist/site\" # built\n", "dist/site/index.html": "i"}, "")
	require.Equal(t, "./staticd -root dist/site", result.StartCommand)
	_, result = stageExample(t, files{"public/index.html": "i", "README": "r"}, "")
	require.Equal(t, "./staticd -root public", result.StartCommand)

	for root, words := range map[string]string{
		"../..": "within the app", "/etc": "within the app", "none": "not a directory", "a;b": "may have letters",
	} {
		out, err := compile(t, "static", files{"Staticfile": "root: " + root + "\n"}, t.TempDir())
		require.Error(t, err)
		require.Contains(t, out, words)
	}
}

func TestProcfileChosenWithoutAProcfile(t *testing.T) {
	t.Parallel()
	out, err := compile(t, "procfile", files{"index.html": "x"}, t.TempDir())
	require.Error(t, err)
	require.Equal(t, " !     The app has no file Procfile. It needs one, with a line 'web: COMMAND'.\n", out)
}

func TestProcfileWorkerRunsAndEnds(t *testing.T) {
	t.Parallel()
	app := readDir(t, "../examples/procfile")
	// Tools that know no modes pack it so.
	app["work.sh"] = app["work.sh*"]
	delete(app, "work.sh*")
	c, result := stageExample(t, app, "")
	require.Equal(t, "Procfile", result.DetectedBuildpack)
	require.Equal(t, "./work.sh", result.StartCommand)
	require.Contains(t, c.log(), "       web: ./work.sh\n       Making work.sh executable\n")

	i := c.instance()
	require.NoError(t, i.asNobody(i.command(nil, "unpack")).Run())
	cmd := i.asNobody(i.command([]string{"CF_INSTANCE_INDEX=4", "INTERVAL=0.05"}, "launch"))
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	i.awaitOutput("round 2\n")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Equal(t, 0, await(t, cmd))
	require.Contains(t, i.read(runspec.PathStdout), "instance 4 begins\n")
	require.Contains(t, i.read(runspec.PathStdout), "told to end after")
}

// compile runs a buildpack's bin/compile alone, as nobody's home and with nothing of the machine's environment.
func compile(t *testing.T, pack string, app files, cache string, env ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, app)
	home := t.TempDir()
	writeFiles(t, home, shipped(t, pack))
	cmd := exec.Command(filepath.Join(home, "bin/compile"), dir, cache)
	cmd.Env = append([]string{"PATH=/bin:/usr/bin"}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), err
	}
	release := exec.Command(filepath.Join(home, "bin/release"), dir)
	release.Env = cmd.Env
	yaml, err := release.Output()
	return string(out) + string(yaml), err
}

func writeFiles(t *testing.T, dir string, content files) {
	t.Helper()
	for name, text := range content {
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, "*") {
			mode = 0o755
		}
		path := filepath.Join(dir, strings.TrimSuffix(name, "*"))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
	}
}

func testGoApps(t *testing.T, cache string) {
	t.Helper()
	main := "package main\n\nfunc main() { println(1) }\n"
	tests := []struct {
		name  string
		app   files
		env   []string
		words []string
		fails bool
	}{
		{"module", files{"go.mod": "module example.com/some/tool/v2\n", "main.go": main}, nil, []string{"web: './bin/tool'"}, false},
		{"no module", files{"web.go": main}, nil, []string{"-----> Using go1.", "web: './bin/"}, false},
		{
			"packages",
			files{"go.mod": "module m\n", "lib.go": "package m\n", "cmd/web/main.go": main, "cmd/work/main.go": main},
			[]string{"GO_INSTALL_PACKAGE_SPEC=./cmd/web ./cmd/work"},
			[]string{"web: './bin/web'"},
			false,
		},
		{
			"vendored", files{
				"go.mod":                        "module m\n\ngo 1.24\n\nrequire example.com/dep v1.0.0\n",
				"main.go":                       "package main\n\nimport \"example.com/dep\"\n\nfunc main() { println(dep.X) }\n",
				"vendor/modules.txt":            "# example.com/dep v1.0.0\n## explicit; go 1.24\nexample.com/dep\n",
				"vendor/example.com/dep/dep.go": "package dep\n\nconst X = 1\n",
			}, nil, []string{"web: './bin/m'"}, false,
		},
		{"no main", files{"go.mod": "module m\n", "lib.go": "package m\n"}, nil, []string{"GO_INSTALL_PACKAGE_SPEC", "for example ./cmd/web"}, true},
		{"broken", files{"go.mod": "module m\n", "main.go": "package main\n\nfunc main() { nonesuch() }\n"}, nil, []string{"       ./main.go:3:15: undefined: nonesuch", "!     The app does not build"}, true},
		{
			"missing module",
			files{"go.mod": "module m\n\nrequire example.com/dep v1.0.0\n", "main.go": "package main\n\nimport _ \"example.com/dep\"\n\nfunc main() {}\n"},
			nil,
			[]string{"go mod vendor"},
			true,
		},
		{"newer Go", files{"go.mod": "module m\n\ngo 1.999\n", "main.go": main}, nil, []string{"requires go >= 1.999"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := compile(t, "go", test.app, cache, append(test.env, goroot(t))...)
			require.Equal(t, test.fails, err != nil, out)
			for _, words := range test.words {
				require.Contains(t, out, words)
			}
		})
	}
}

func TestGoBuildpackSaysWhereItLookedForGo(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/local/go/bin/go"); err == nil {
		t.Skip("this machine has a Go where the buildpack looks for one")
	}
	out, err := compile(t, "go", files{"go.mod": "module m\n"}, t.TempDir(), "GOROOT=/nonesuch")
	if err == nil {
		t.Skip("this machine has a Go where the buildpack looks for one")
	}
	require.Contains(t, out, "There is no Go on this machine")
}

func TestDetect(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pack string
		app  files
		name string
	}{
		{"go", files{"go.mod": "module m\n"}, "Go"},
		{"go", files{"a.go": "// A\n\npackage main // it is"}, "Go"},
		{"go", files{"a.go": "package mainly\n"}, ""},
		{"go", files{"sub/a.go": "package main\n"}, ""},
		{"procfile", files{"Procfile": "web: x"}, "Procfile"},
		{"procfile", files{"procfile": "web: x"}, ""},
		{"static", files{"Staticfile": ""}, "Static"},
		{"static", files{"index.html": ""}, "Static"},
		{"static", files{"public/index.html": ""}, "Static"},
		{"static", files{"a.html": ""}, ""},
	}
	for _, test := range tests {
		dir := t.TempDir()
		writeFiles(t, dir, test.app)
		cmd := exec.Command("../buildpacks/"+test.pack+"/bin/detect", dir)
		cmd.Env = []string{"PATH=/bin:/usr/bin"}
		out, err := cmd.Output()
		require.Equal(t, test.name, strings.TrimSpace(string(out)), test.pack)
		require.Equal(t, test.name == "", err != nil, test.pack)
	}
}
