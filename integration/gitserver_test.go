package integration

import (
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/stack"
)

// repositories is a directory of bare git repositories.
type repositories struct {
	t    *testing.T
	root string
}

// repository is one of them, with a work tree to commit in.
type repository struct {
	*repositories
	name, work string
}

func newRepositories(t *testing.T) *repositories {
	t.Helper()
	return &repositories{t: t, root: t.TempDir()}
}

// gitEnv is what git runs with in the tests: nothing of this machine's user.
func gitEnv(more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_ALLOW_PROTOCOL=file",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com",
	}, more...)
}

func (r *repositories) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir, cmd.Env = dir, gitEnv()
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "git %q: %s", args, out)
	return strings.TrimSpace(string(out))
}

// make makes a repository with one commit on the branch main.
func (r *repositories) make(name string, content ...entry) *repository {
	r.t.Helper()
	made := &repository{repositories: r, name: name, work: r.t.TempDir()}
	r.git(r.root, "init", "--quiet", "--bare", "--initial-branch=main", name)
	r.git(made.work, "init", "--quiet", "--initial-branch=main")
	r.git(made.work, "remote", "add", "origin", filepath.Join(r.root, name))
	made.commit(content...)
	return made
}

// commit commits files and pushes all there is. It gives the commit.
func (r *repository) commit(content ...entry) string {
	r.t.Helper()
	for _, e := range content {
		file := filepath.Join(r.work, filepath.FromSlash(e.name))
		require.NoError(r.t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(r.t, os.WriteFile(file, []byte(e.content), e.mode.Perm()))
	}
	r.git(r.work, "add", "--all")
	r.git(r.work, "commit", "--quiet", "--allow-empty", "--message=c")
	r.push()
	return r.git(r.work, "rev-parse", "HEAD")
}

func (r *repository) push() {
	r.t.Helper()
	r.git(r.work, "push", "--quiet", "--all", "origin")
	r.git(r.work, "push", "--quiet", "--tags", "origin")
}

// submodule puts another repository into this one, at an address beside it.
func (r *repository) submodule(other *repository, at string) {
	r.t.Helper()
	r.git(r.work, "submodule", "--quiet", "add", "file://"+filepath.Join(r.root, other.name), at)
	r.git(r.work, "config", "--file=.gitmodules", "submodule."+at+".url", "../"+other.name)
	r.commit()
}

func (r *repositories) file(name string) string { return "file://" + filepath.Join(r.root, name) }

// serve starts git's own HTTP server and gives its host and port.
func (r *repositories) serve(around func(http.Handler) http.Handler) string {
	r.t.Helper()
	backend := filepath.Join(r.git(r.root, "--exec-path"), "git-http-backend")
	require.FileExists(r.t, backend)
	server := httptest.NewServer(around(&cgi.Handler{
		Path: backend, Dir: r.root, Stderr: io.Discard,
		Env: gitEnv("GIT_PROJECT_ROOT="+r.root, "GIT_HTTP_EXPORT_ALL=1"),
	}))
	r.t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// open lets everybody in.
func open(inner http.Handler) http.Handler { return inner }

// guarded wants a name and a password, and is so unwise as to repeat those that it does not let in.
func guarded(user, password string) func(http.Handler) http.Handler {
	return func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u, p, _ := r.BasicAuth()
			if u == user && p == password {
				inner.ServeHTTP(w, r)
				return
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="packs"`)
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "no entry for "+u+" with "+p+"\n")
		})
	}
}

// ours are the files of one of the project's own buildpacks, as devserver offers them.
func ours(t *testing.T, name string) []entry {
	t.Helper()
	root, err := stack.Root()
	require.NoError(t, err)
	files := filesOf(t, filepath.Join(root, "buildpacks", name, "bin"))
	for i := range files {
		files[i].name = "bin/" + files[i].name
	}
	if name == "static" {
		files = append(files, staticd(t, "bin/staticd"))
	}
	return files
}
