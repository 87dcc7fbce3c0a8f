// Package gittest makes git repositories for tests and serves them, by git itself. It needs git on the path.
package gittest

import (
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Content is what is put into a repository's work tree.
type Content interface {
	// WriteTo writes it beneath a directory.
	WriteTo(t *testing.T, dir string)
}

// Repositories is a directory of bare repositories that servers serve.
type Repositories struct {
	t *testing.T
	// Root is the directory.
	Root string
}

// Repository is one of them, with a work tree beside it to commit in.
type Repository struct {
	*Repositories
	// Name is its name beneath Root, and Work the directory of its work tree.
	Name, Work string
}

// New makes a directory without repositories, for as long as the test runs. Other users of the machine may go into it, as
// containers do.
func New(t *testing.T) *Repositories {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(root), 0o755))
	return &Repositories{t: t, Root: root}
}

// Env is what git runs with in the tests: nothing of this machine's user.
func Env(more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_ALLOW_PROTOCOL=file",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com",
	}, more...)
}

// Git runs git in a directory and gives what it says.
func (r *Repositories) Git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir, cmd.Env = dir, Env()
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "git %q: %s", args, out)
	return strings.TrimSpace(string(out))
}

// Make makes a repository with one commit on the branch main.
func (r *Repositories) Make(name string, content Content) *Repository {
	r.t.Helper()
	made := &Repository{Repositories: r, Name: name, Work: r.t.TempDir()}
	r.Git(r.Root, "init", "--quiet", "--bare", "--initial-branch=main", name)
	r.Git(made.Work, "init", "--quiet", "--initial-branch=main")
	r.Git(made.Work, "remote", "add", "origin", filepath.Join(r.Root, name))
	made.Commit(content)
	return made
}

// Commit commits content, with all else that the work tree has, and pushes every branch and tag. It gives the commit.
func (r *Repository) Commit(content Content) string {
	r.t.Helper()
	content.WriteTo(r.t, r.Work)
	r.Git(r.Work, "add", "--all")
	r.Git(r.Work, "commit", "--quiet", "--message=c")
	r.Git(r.Work, "push", "--quiet", "--all", "origin")
	r.Git(r.Work, "push", "--quiet", "--tags", "origin")
	return r.Git(r.Work, "rev-parse", "HEAD")
}

// File is the URL by which a repository is cloned from the disk.
func (r *Repositories) File(name string) string { return "file://" + filepath.Join(r.Root, name) }

// HTTP is git's own HTTP server.
func (r *Repositories) HTTP() http.Handler {
	r.t.Helper()
	backend := filepath.Join(r.Git(r.Root, "--exec-path"), "git-http-backend")
	require.FileExists(r.t, backend)
	return &cgi.Handler{
		Path: backend, Dir: r.Root, Stderr: io.Discard,
		Env: Env("GIT_PROJECT_ROOT="+r.Root, "GIT_HTTP_EXPORT_ALL=1"),
	}
}

// Guarded wants a name and a password, and is so unwise as to repeat those that it does not let in.
func Guarded(inner http.Handler, user, password string) http.Handler {
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
