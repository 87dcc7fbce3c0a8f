package main_test

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/durable-dea/dea/internal/gittest"
	"github.com/durable-dea/dea/internal/runspec"
)

// shownKey stands for what may be shown of a URL.
const shownKey = "https://shown.example/pack"

// orderGit orders a staging by one buildpack from git.
func (c *container) orderGit(url, ref string) {
	c.t.Helper()
	c.pack(files{"a": ""})
	c.order(func(s *runspec.Spec) {
		s.SkipDetect = true
		s.Buildpacks = []runspec.Buildpack{{Key: shownKey, Dir: runspec.PathClone(0), Git: &runspec.Git{URL: url, Ref: ref}}}
	})
}

// version is a buildpack that says which one it is.
func version(name string) files {
	pack := classic("echo Git pack", "echo this is "+name, releaseWeb)
	pack["name"] = name
	return pack
}

func TestCloneByEveryKindOfRef(t *testing.T) {
	t.Parallel()
	all := newRepositories(t)
	pack := all.Make("pack.git", version("first"))
	first := pack.Git(pack.Work, "rev-parse", "HEAD")
	pack.Git(pack.Work, "tag", "v1")
	pack.Commit(version("second"))
	pack.Git(pack.Work, "tag", "--annotate", "--message=m", "v2")
	pack.Git(pack.Work, "checkout", "--quiet", "-b", "feature/x")
	feature := pack.Commit(version("feature"))
	pack.Git(pack.Work, "checkout", "--quiet", "main")
	last := pack.Commit(version("last"))
	pack.Git(filepath.Join(all.Root, "pack.git"), "update-server-info")

	for transport, url := range map[string]string{
		"file":  all.File("pack.git"),
		"http":  "http://" + serve(t, all.HTTP()) + "/pack.git",
		"git":   "git://" + all.daemon(t) + "/pack.git",
		"plain": "http://" + serve(t, http.FileServer(http.Dir(all.Root))) + "/pack.git",
	} {
		for _, test := range []struct{ ref, name, commit string }{
			{"", "last", last},
			{"feature/x", "feature", feature},
			{"v1", "first", first},
			{"v2", "second", ""},
			{first, "first", first},
			{first[:8], "first", first},
		} {
			t.Run(fmt.Sprintf("%s %q", transport, test.ref), func(t *testing.T) {
				t.Parallel()
				c := newContainer(t)
				c.orderGit(url, test.ref)
				status, result := c.stage()
				require.Equal(t, runspec.ExitOK, status, c.log())
				require.Equal(t, runspec.PhaseClone, result.Phases[0].Name)
				require.Empty(t, result.BuildpackKey, "the operator has no such buildpack")
				require.Equal(t, "Git pack", result.DetectedBuildpack)
				require.Equal(t, runspec.PathClone(0), c.info().BuildpackPath)
				require.Contains(t, c.log(), "this is "+test.name+"\n")
				require.Contains(t, c.log(), "-----> Cloned buildpack "+shownKey+" at "+test.commit[:min(12, len(test.commit))])
				require.True(t, strings.HasPrefix(c.log(), "-----> Cloning buildpack "+shownKey+"\n-----> Cloned "), c.log())
			})
		}
	}
}

// leftOf are the names of what git itself needs that are left beneath a directory.
func leftOf(t *testing.T, dir string) []string {
	t.Helper()
	var left []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), ".git") && filepath.Base(path) != ".gitmodules" {
			left = append(left, path)
		}
		return err
	}))
	return left
}

func TestCloneBringsSubmodules(t *testing.T) {
	t.Parallel()
	all := newRepositories(t)
	inner := all.Make("inner.git", files{"text": "innermost"})
	outer := all.Make("outer.git", files{"a": ""})
	outer.Git(outer.Work, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", all.File("inner.git"), "inner")
	outer.Git(outer.Work, "config", "--file=.gitmodules", "submodule.inner.url", "../inner.git")
	outer.Commit(files{"b": ""})
	pack := all.Make("pack.git", classic("echo P", `cat "$(dirname "$0")/../outer/inner/text"`, releaseWeb))
	pack.Git(pack.Work, "submodule", "--quiet", "add", all.File("outer.git"), "outer")
	pack.Git(pack.Work, "config", "--file=.gitmodules", "submodule.outer.url", "../outer.git")
	pack.Commit(files{"c": ""})
	// What the outer ones have is no branch's any more: a shallow clone cannot begin there.
	inner.Commit(files{"text": "later"})
	for _, name := range []string{"pack.git", "outer.git", "inner.git"} {
		all.Git(filepath.Join(all.Root, name), "update-server-info")
	}
	for transport, url := range map[string]string{
		"file":     all.File("pack.git"),
		"http":     "http://" + serve(t, all.HTTP()) + "/pack.git",
		"plain":    "http://" + serve(t, http.FileServer(http.Dir(all.Root))) + "/pack.git",
		"password": "http://user:secret@" + serve(t, gittest.Guarded(all.HTTP(), "user", "secret")) + "/pack.git",
	} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.orderGit(url, "")
			status, _ := c.stage()
			require.Equal(t, runspec.ExitOK, status, c.log())
			require.Contains(t, c.log(), "innermost")
			require.Empty(t, leftOf(t, filepath.Dir(c.path(runspec.PathClone(0)))), "git's files hold the URL")
		})
	}
}

// requireSecret looks for secrets in all that leaves the container.
func (c *container) requireSecret(secrets ...string) {
	c.t.Helper()
	for _, secret := range secrets {
		for _, file := range []string{runspec.PathOut + "/" + runspec.FileResult, runspec.PathOut + "/" + runspec.FileLog, runspec.PathStagingInfo} {
			if data, err := os.ReadFile(c.path(file)); err == nil {
				require.NotContains(c.t, string(data), secret, file)
			}
		}
	}
}

func TestCloneWithCredentials(t *testing.T) {
	t.Parallel()
	all := newRepositories(t)
	all.Make("pack.git", version("guarded"))
	const user, password, escaped = "tok-7f3a", "p@ss/w0rd!", "p%40ss%2Fw0rd%21"
	host := serve(t, gittest.Guarded(all.HTTP(), user, password))
	token := serve(t, gittest.Guarded(all.HTTP(), "tok-only", ""))
	tests := map[string]struct {
		url, message string
	}{
		"right":       {"http://" + user + ":" + escaped + "@" + host + "/pack.git", ""},
		"token alone": {"http://tok-only@" + token + "/pack.git", ""},
		"wrong":       {"http://" + user + ":wr0ng%2Fpass@" + host + "/pack.git", "the server refuses the credentials, or wants some"},
		"no password": {"http://" + user + "@" + host + "/pack.git", "the server refuses the credentials, or wants some"},
		"none":        {"http://" + host + "/pack.git", "the server refuses the credentials, or wants some"},
		"query":       {"http://" + user + ":" + escaped + "@" + host + "/pack.git?private=qu3ry", "the repository is not found"},
		"unreachable": {"http://" + user + ":" + escaped + "@127.0.0.1:1/pack.git?private=qu3ry", "the server cannot be reached"},
		"no repo":     {"http://" + user + ":" + escaped + "@" + host + "/none.git", "the repository is not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.orderGit(test.url, "")
			// Whoever looks for a mistake may have set these; they tell all that is sent.
			status, result := c.stage("GIT_TRACE=1", "GIT_CURL_VERBOSE=1", "GIT_TRACE_CURL=1", "GIT_TRACE_REDACT=0")
			c.requireSecret(user, password, escaped, "wr0ng", "tok-only", "qu3ry")
			if test.message == "" {
				require.Equal(t, runspec.ExitOK, status, c.log())
				require.Contains(t, c.log(), "this is guarded\n")
				require.Empty(t, leftOf(t, filepath.Dir(c.path(runspec.PathClone(0)))))
				return
			}
			require.Equal(t, runspec.ExitStaging, status, c.log())
			require.Equal(t, "The buildpack "+shownKey+" cannot be cloned: "+test.message, result.Error.Message)
		})
	}
}

func TestCloneSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	all := newRepositories(t)
	all.Make("pack.git", version("x"))
	all.Make("text.git", files{"README": "no buildpack"})
	all.Git(all.Root, "init", "--quiet", "--bare", "empty.git")
	bad := all.Make("bad.git", version("x"))
	bad.Git(bad.Work, "submodule", "--quiet", "add", all.File("text.git"), "text")
	bad.Git(bad.Work, "config", "--file=.gitmodules", "submodule.text.url", all.File("none.git"))
	bad.Commit(files{"b": ""})
	evil := all.Make("evil.git", version("x"))
	evil.Git(evil.Work, "submodule", "--quiet", "add", all.File("text.git"), "text")
	evil.Git(evil.Work, "config", "--file=.gitmodules", "submodule.text.url", "ext::sh -c touch% "+all.Root+"/run")
	evil.Commit(files{"b": ""})
	secure := httptest.NewTLSServer(all.HTTP())
	t.Cleanup(secure.Close)
	forbidding := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))

	const cannot = "The buildpack " + shownKey + " cannot be cloned: "
	tests := map[string]struct{ url, ref, message string }{
		"no such branch":  {all.File("pack.git"), "nope", cannot + "there is no such branch, tag or commit"},
		"no such commit":  {all.File("pack.git"), strings.Repeat("a", 40), cannot + "there is no such branch, tag or commit"},
		"like a commit":   {all.File("pack.git"), "abcdef0", cannot + "there is no such branch, tag or commit"},
		"no such file":    {all.File("none.git"), "", cannot + "the repository is not found"},
		"empty":           {all.File("empty.git"), "", cannot + "the repository is empty"},
		"no buildpack":    {all.File("text.git"), "", "The repository " + shownKey + " is no buildpack: it has neither bin/compile nor bin/finalize"},
		"a program":       {"ext::sh -c touch% " + all.Root + "/run", "", cannot + "the URL's scheme is not one of https, http, ssh, git and file"},
		"submodule":       {all.File("bad.git"), "", cannot + "of one of its submodules, the repository is not found"},
		"submodule runs":  {all.File("evil.git"), "", cannot + "of one of its submodules, the URL's scheme is not one of https, http, ssh, git and file"},
		"forbidden":       {"http://" + forbidding + "/pack.git", "", cannot + "the server refuses the credentials, or wants some"},
		"no such host":    {"http://nonesuch.invalid/pack.git", "", cannot + "the server cannot be reached"},
		"own certificate": {secure.URL + "/pack.git", "", cannot + "the server's certificate or host key cannot be trusted"},
		"nobody listens":  {"git://127.0.0.1:1/pack.git", "", cannot + "the server cannot be reached"},
		"no such export":  {"git://" + all.daemon(t) + "/none.git", "", cannot + "the repository is not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.orderGit(test.url, test.ref)
			status, result := c.stage()
			require.Equal(t, runspec.ExitStaging, status, c.log())
			require.Equal(t, runspec.ErrStaging, result.Error.Type)
			require.Equal(t, test.message, result.Error.Message, c.log())
			require.Len(t, result.Phases, 1, "nothing else is begun")
			require.NotContains(t, c.log(), c.root, "the user knows no path of the machine")
			require.NoFileExists(t, filepath.Join(all.Root, "run"))
		})
	}
}

func TestCloneBelievesTheUsersCertificates(t *testing.T) {
	t.Parallel()
	all := newRepositories(t)
	all.Make("pack.git", version("secure"))
	secure := httptest.NewTLSServer(all.HTTP())
	t.Cleanup(secure.Close)
	c := newContainer(t)
	c.write(runspec.PathHome+"/.gitconfig", "[http]\n\tsslVerify = false\n", 0o644)
	c.orderGit(secure.URL+"/pack.git", "main")
	status, _ := c.stage()
	require.Equal(t, runspec.ExitOK, status, c.log())
}

func TestCloneOfAnothersFiles(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a repository to somebody else")
	}
	all := newRepositories(t)
	all.Make("pack.git", version("another"))
	require.NoError(t, exec.Command("chown", "-R", "65534:65534", all.Root).Run())
	c := newContainer(t)
	c.orderGit(all.File("pack.git"), "")
	status, _ := c.stage()
	require.Equal(t, runspec.ExitOK, status, c.log())
}

func TestCloneWithoutGit(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.orderGit("https://127.0.0.1:1/pack.git", "")
	status, result := c.stage("PATH=" + t.TempDir())
	require.Equal(t, runspec.ExitStaging, status)
	require.Equal(t, "the stack has no git: the buildpack "+shownKey+" cannot be cloned", result.Error.Message)
}

// A server that says nothing holds nobody up longer than the staging may take.
func TestCloneFromAHangingServer(t *testing.T) {
	t.Parallel()
	hanging := listen(t, func(connection net.Conn) { _, _ = io.Copy(io.Discard, connection) })
	for _, server := range []string{"http://user:secret@", "git://", "ssh://git@"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.orderGit(server+hanging+"/pack.git", "")
			spec, err := runspec.ReadSpec(c.path(runspec.PathIn + "/" + runspec.FileSpec))
			require.NoError(t, err)
			spec.TimeoutSeconds = 2
			require.NoError(t, spec.Write(c.path(runspec.PathIn+"/"+runspec.FileSpec)))
			begun := time.Now()
			status, result := c.stage()
			require.Less(t, time.Since(begun), 20*time.Second)
			require.Equal(t, runspec.ExitTimeExpired, status, c.read(runspec.PathOut+"/"+runspec.FileResult))
			require.Equal(t, "Staging time expired", result.Error.Message)
			require.True(t, strings.HasSuffix(c.log(), "Staging failed: Staging time expired\n"), c.log())
			c.requireSecret("secret")
		})
	}
}

// sshHome is a directory with a program ssh that is this machine's, kept from its user's files.
func sshHome(t *testing.T) string {
	t.Helper()
	machines, err := exec.LookPath("ssh")
	require.NoError(t, err, "git's ssh transport is tested with this machine's ssh")
	dir := t.TempDir()
	writeFiles(t, dir, files{"ssh*": "#!/bin/sh\n" +
		`printf '%s\n' "$@" > "` + dir + `/said"` + "\n" +
		"exec " + machines + " -F none -o UserKnownHostsFile=" + dir + `/known_hosts "$@"` + "\n"})
	return dir
}

func TestCloneBySSH(t *testing.T) {
	t.Parallel()
	all := newRepositories(t)
	all.Make("pack.git", version("by ssh"))
	open := all.secureShell(t, &ssh.ServerConfig{NoClientAuth: true})
	closed := all.secureShell(t, &ssh.ServerConfig{
		PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, io.EOF },
	})
	tests := map[string]struct{ url, message string }{
		"let in":     {"ssh://git@" + open + "/pack.git", ""},
		"none there": {"ssh://git@" + open + "/none.git", "the repository is not found"},
		"kept out":   {"ssh://git@" + closed + "/pack.git", "the server refuses the credentials, or wants some"},
		"nobody":     {"ssh://git@127.0.0.1:1/pack.git", "the server cannot be reached"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, home := newContainer(t), sshHome(t)
			c.orderGit(test.url, "")
			status, result := c.stage("PATH=" + home + ":/bin:/usr/bin")
			if test.message != "" {
				require.Equal(t, runspec.ExitStaging, status, c.log())
				require.Equal(t, "The buildpack "+shownKey+" cannot be cloned: "+test.message, result.Error.Message, c.log())
				return
			}
			require.Equal(t, runspec.ExitOK, status, c.log())
			require.Contains(t, c.log(), "this is by ssh\n")
			said, err := os.ReadFile(filepath.Join(home, "said"))
			require.NoError(t, err)
			require.Contains(t, string(said), "BatchMode=yes\n")
			require.Contains(t, string(said), "StrictHostKeyChecking=accept-new\n")
		})
	}
}

// A user who says how to call ssh knows better.
func TestCloneByTheUsersOwnSSH(t *testing.T) {
	t.Parallel()
	all := newRepositories(t)
	all.Make("pack.git", version("by ssh"))
	open := all.secureShell(t, &ssh.ServerConfig{NoClientAuth: true})
	c, home := newContainer(t), sshHome(t)
	c.orderGit("ssh://git@"+open+"/pack.git", "")
	status, _ := c.stage("GIT_SSH_COMMAND=" + home + "/ssh -o StrictHostKeyChecking=no -o LogLevel=ERROR")
	require.Equal(t, runspec.ExitOK, status, c.log())
	said, err := os.ReadFile(filepath.Join(home, "said"))
	require.NoError(t, err)
	require.NotContains(t, string(said), "BatchMode")
}

// A cloned buildpack may be one of those that are tried in turn.
func TestCloneForDetection(t *testing.T) {
	t.Parallel()
	all := newRepositories(t)
	all.Make("pack.git", version("cloned"))
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(func(s *runspec.Spec) {
		s.Buildpacks = append(s.Buildpacks, runspec.Buildpack{Key: shownKey, Dir: runspec.PathClone(1), Git: &runspec.Git{URL: all.File("pack.git")}})
	}, classic("exit 1", "exit 9", "exit 9"))
	status, result := c.stage()
	require.Equal(t, runspec.ExitOK, status, c.log())
	require.Equal(t, "Git pack", result.DetectedBuildpack)
	require.Equal(t, runspec.PathClone(1), c.info().BuildpackPath)
}
