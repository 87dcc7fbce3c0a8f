package main_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// repositories is a directory with repositories that servers serve.
type repositories struct {
	t    *testing.T
	root string
}

func newRepositories(t *testing.T) *repositories {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(root), 0o755))
	return &repositories{t: t, root: root}
}

// repository is a bare one, with a work tree beside it to commit in.
type repository struct {
	*repositories
	name, work string
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
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, gitEnv()
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "git %q: %s", args, out)
	return strings.TrimSpace(string(out))
}

// make makes a repository with one commit on the branch main.
func (r *repositories) make(name string, content files) *repository {
	r.t.Helper()
	made := &repository{repositories: r, name: name, work: r.t.TempDir()}
	r.git(r.root, "init", "--quiet", "--bare", "--initial-branch=main", name)
	r.git(made.work, "init", "--quiet", "--initial-branch=main")
	r.git(made.work, "remote", "add", "origin", filepath.Join(r.root, name))
	made.commit(content)
	return made
}

// commit commits files and pushes all there is. It gives the commit.
func (r *repository) commit(content files) string {
	r.t.Helper()
	writeFiles(r.t, r.work, content)
	r.git(r.work, "add", "--all")
	r.git(r.work, "commit", "--quiet", "--message=c")
	r.push()
	return r.git(r.work, "rev-parse", "HEAD")
}

func (r *repository) push() {
	r.t.Helper()
	r.git(r.work, "push", "--quiet", "--all", "origin")
	r.git(r.work, "push", "--quiet", "--tags", "origin")
}

func (r *repositories) file(name string) string { return "file://" + filepath.Join(r.root, name) }

// smart is git's own HTTP server.
func (r *repositories) smart() http.Handler {
	r.t.Helper()
	backend := filepath.Join(r.git(r.root, "--exec-path"), "git-http-backend")
	require.FileExists(r.t, backend)
	return &cgi.Handler{
		Path: backend, Dir: r.root, Stderr: io.Discard,
		Env: gitEnv("GIT_PROJECT_ROOT="+r.root, "GIT_HTTP_EXPORT_ALL=1"),
	}
}

// serve starts an HTTP server and gives its host and port.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// guarded wants a name and a password, and says whom it did not let in.
func guarded(inner http.Handler, user, password string) http.Handler {
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

// listen has every connection handled until the test ends. It gives host and port.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer connection.Close()
				handle(connection)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	return listener.Addr().String()
}

// daemon serves git's own protocol, by git's own daemon.
func (r *repositories) daemon() string {
	r.t.Helper()
	return listen(r.t, func(connection net.Conn) {
		cmd := exec.Command("git", "daemon", "--inetd", "--export-all", "--base-path="+r.root)
		cmd.Env = gitEnv()
		end, err := connection.(*net.TCPConn).File()
		if err != nil {
			return
		}
		defer end.Close()
		cmd.Stdin, cmd.Stdout = end, end
		_ = cmd.Run()
	})
}

// secureShell is an ssh server that knows git-upload-pack alone. It lets in whom allow does.
func (r *repositories) secureShell(config *ssh.ServerConfig) string {
	r.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(r.t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(r.t, err)
	config.AddHostKey(signer)
	return listen(r.t, func(connection net.Conn) {
		server, channels, requests, err := ssh.NewServerConn(connection, config)
		if err != nil {
			return
		}
		defer server.Close()
		go ssh.DiscardRequests(requests)
		for offered := range channels {
			channel, requests, err := offered.Accept()
			if err != nil {
				return
			}
			r.session(channel, requests)
		}
	})
}

var uploadPack = regexp.MustCompile(`^git-upload-pack '/([\w.-]+)'$`)

func (r *repositories) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for request := range requests {
		if request.Type != "exec" {
			_ = request.Reply(request.Type == "env", nil)
			continue
		}
		var command struct{ Line string }
		_ = ssh.Unmarshal(request.Payload, &command)
		_ = request.Reply(true, nil)
		status := struct{ Code uint32 }{128}
		if found := uploadPack.FindStringSubmatch(command.Line); found != nil {
			status.Code = r.upload(channel, found[1])
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
		return
	}
}

func (r *repositories) upload(channel ssh.Channel, name string) uint32 {
	cmd := exec.Command("git", "upload-pack", filepath.Join(r.root, name))
	cmd.Env = gitEnv()
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return uint32(exit.ExitCode())
	}
	return 0
}
