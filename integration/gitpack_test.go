package integration

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/gittest"
	"github.com/durable-dea/dea/internal/runspec"
)

// example is an example app as a zip.
func example(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := stack.Example(name)
	require.NoError(t, err)
	return zipOf(t, filesOf(t, dir)...)
}

// TestOurBuildpacks stages with the project's own buildpacks as the operator's: one by its key, and all in turn. (That
// whole pushes work with them is in push_test.go.)
func TestOurBuildpacks(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		for name, detected := range map[string]string{"static": "Static", "procfile": "Procfile"} {
			for _, how := range []string{"by key", "by detection"} {
				t.Run(name+" "+how, func(t *testing.T) {
					t.Parallel()
					request := asksFor(t, example(t, name))
					all, err := shared.StagingRequest(t.Context(), request.AppID)
					require.NoError(t, err)
					request.AdminBuildpacks = all.AdminBuildpacks
					key := keyOf(t, request, name)
					if how == "by key" {
						request.Properties.BuildpackKey = key
					}
					result := stages(t, request)
					assert.Equal(t, detected, result.DetectedBuildpack)
					assert.Equal(t, key, result.BuildpackKey)
					assert.NotEmpty(t, result.DetectedStartCommand)
					droplet := dropletOf(t, request.AppID, result.DropletSHA1)
					assert.Equal(t, result.DetectedStartCommand, infoOf(t, droplet).StartCommand)
				})
			}
		}
	})
	clean(t, shared)
}

// keyOf is the key of an operator's buildpack by the name of its directory.
func keyOf(t *testing.T, request api.StagingRequest, name string) string {
	t.Helper()
	for _, pack := range request.AdminBuildpacks {
		if strings.HasPrefix(pack.Key, name+"-") {
			return pack.Key
		}
	}
	require.Fail(t, "no such buildpack", "%s in %v", name, request.AdminBuildpacks)
	return ""
}

// TestStaticFromGit runs what our static buildpack makes of a site when it comes from git, its bin/ a submodule.
func TestStaticFromGit(t *testing.T) {
	all := gittest.New(t)
	bin := all.Make("bin.git", tree(strip(ours(t, "static"), "bin/")))
	submodule(all.Make("static.git", tree{file("README", "a static buildpack")}), bin, "bin")
	request := asksFor(t, example(t, "static"))
	request.Properties.BuildpackGitURL = "http://" + serve(t, all.HTTP()) + "/static.git"
	result := stages(t, request)
	assert.Equal(t, "Static", result.DetectedBuildpack)
	assert.Empty(t, result.BuildpackKey, "it is none of the operator's")

	instance := runs(t, request.AppID, result.DropletSHA1, nil)
	status, body, err := stack.Get(t.Context(), "http://"+instance.Address)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "<html")
}

// TestGitRefs stages with our procfile buildpack from git by each kind of ref, from a server and from a directory.
func TestGitRefs(t *testing.T) {
	all := gittest.New(t)
	version := func(name string) []entry {
		files := ours(t, "procfile")
		for i := range files {
			if files[i].name == "bin/compile" {
				files[i].content += "\necho this is " + name + "\n"
			}
		}
		return files
	}
	pack := all.Make("procfile.git", tree(version("the first")))
	first := pack.Git(pack.Work, "rev-parse", "HEAD")
	pack.Git(pack.Work, "tag", "--annotate", "--message=m", "v1.0")
	pack.Git(pack.Work, "checkout", "--quiet", "-b", "feature/x")
	pack.Commit(tree(version("a feature")))
	pack.Git(pack.Work, "checkout", "--quiet", "main")
	pack.Commit(tree(version("the last")))
	content := example(t, "procfile")
	t.Run("all", func(t *testing.T) {
		for transport, url := range map[string]string{
			"file": all.File("procfile.git"), "http": "http://" + serve(t, all.HTTP()) + "/procfile.git",
		} {
			for _, c := range []struct{ ref, name string }{
				{"", "the last"}, {"#feature/x", "a feature"}, {"#v1.0", "the first"}, {"#" + first, "the first"},
			} {
				t.Run(transport+c.ref, func(t *testing.T) {
					t.Parallel()
					request := asksFor(t, content, offer(t, "badcompile"))
					request.Properties.Buildpack = url + c.ref
					result := stages(t, request)
					assert.Equal(t, "Procfile", result.DetectedBuildpack)
					assert.Empty(t, result.BuildpackKey)
					inOrder(t, logOf(t, request), "-----> Cloning buildpack "+url+c.ref+"\n", "-----> Cloned buildpack ",
						"-----> Downloaded app package (", "this is "+c.name+"\n")
					assert.Equal(t, runspec.PathClone(0), infoOf(t, dropletOf(t, request.AppID, result.DropletSHA1)).BuildpackPath)
				})
			}
		}
	})
	clean(t, shared)
}

// TestGitFails names repositories that cannot be had: the user's fault, in words that say which it is.
func TestGitFails(t *testing.T) {
	all := gittest.New(t)
	all.Make("procfile.git", tree(ours(t, "procfile")))
	all.Make("text.git", tree{file("README", "no buildpack")})
	served := "http://" + serve(t, all.HTTP())
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct{ url, words string }{
			"no such branch": {all.File("procfile.git") + "#nope", "there is no such branch, tag or commit"},
			"no repository":  {served + "/none.git", "the repository is not found"},
			"no buildpack":   {served + "/text.git", "is no buildpack"},
			"nobody listens": {"http://" + deadAddress(t) + "/procfile.git", "the server cannot be reached"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := asksFor(t, example(t, "procfile"))
				request.Properties.Buildpack = c.url
				info := fails(t, request, api.ErrStaging)
				assert.Contains(t, info.Message, c.words)
				assert.Contains(t, info.Message, c.url, "which repository it is")
			})
		}
	})
	clean(t, shared)
}

// TestGitCredentials has credentials in the buildpack's URL, right and wrong: they are for git alone.
func TestGitCredentials(t *testing.T) {
	all := gittest.New(t)
	bin := all.Make("bin.git", tree(strip(ours(t, "procfile"), "bin/")))
	submodule(all.Make("pack.git", tree{file("README", "a buildpack")}), bin, "bin")
	user, password := "tok-"+uuid.NewString(), "p@ss/"+uuid.NewString()
	host := serve(t, gittest.Guarded(all.HTTP(), user, password))
	with := func(password, host string) string {
		return (&url.URL{Scheme: "http", User: url.UserPassword(user, password), Host: host, Path: "/pack.git"}).String()
	}
	wrong := "wr0ng/" + uuid.NewString()
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct{ url, words string }{
			"right":       {with(password, host), ""},
			"with a ref":  {with(password, host) + "#main", ""},
			"wrong":       {with(wrong, host), "the server refuses the credentials, or wants some"},
			"no branch":   {with(password, host) + "#nope", "there is no such branch, tag or commit"},
			"unreachable": {with(password, deadAddress(t)), "the server cannot be reached"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := asksFor(t, example(t, "procfile"))
				request.Properties.Buildpack = c.url
				result, failed := ends(t, request)
				if c.words == "" {
					require.NoError(t, failed)
				} else {
					require.ErrorIs(t, failed, controller.ErrStagingFailed)
					require.Equal(t, api.ErrStaging, result.ErrorInfo.Type)
					require.Contains(t, result.ErrorInfo.Message, c.words)
				}
				gone(t, request)
				for _, secret := range []string{user, password, wrong, url.PathEscape(password), url.PathEscape(wrong)} {
					tellsNobody(t, request, result, failed, secret)
				}
			})
		}
	})
	clean(t, shared)
	require.Error(t, keptNowhere(shared.Data, "app-testgitcredentials-all-right"), "what is no secret is found")
	for _, secret := range []string{user, password, wrong, url.PathEscape(password), url.PathEscape(wrong)} {
		require.NoError(t, keptNowhere(shared.Data, secret))
	}
}

// strip takes a prefix from the names of files.
func strip(files []entry, prefix string) []entry {
	for i := range files {
		files[i].name = strings.TrimPrefix(files[i].name, prefix)
	}
	return files
}

// tellsNobody looks for a secret in all that a staging tells anybody.
func tellsNobody(t *testing.T, request api.StagingRequest, result api.StagingResult, failed error, secret string) {
	t.Helper()
	assert.NotContains(t, logOf(t, request), secret, "the staging's log")
	assert.NotContains(t, fmt.Sprintf("%+v %+v", result, failed), secret, "the result")
	if result.ErrorInfo != nil {
		assert.NotContains(t, result.ErrorInfo.Message, secret)
	}
	for err := failed; err != nil; err = errors.Unwrap(err) {
		assert.NotContains(t, err.Error(), secret, "the error's causes")
	}
	told, err := shared.Callback(t.Context(), request.AppID, request.TaskID)
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprintf("%+v %+v", told, told.ErrorInfo), secret, "the callback")
	events := history(t, api.StageWorkflowID(request.AppID, request.TaskID))
	keepsSecrets(t, events, secret)
	if failed == nil {
		closed(t, request, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED)
		for name, m := range dropletOf(t, request.AppID, result.DropletSHA1) {
			if strings.Contains(m.content+m.link+name, secret) {
				assert.Fail(t, "a secret in the droplet", name) // and not all of a program in the test's own log
			}
		}
	}
}

// keptNowhere fails when a file beneath a directory holds a secret: logs, Temporal's database, workspaces, anything.
func keptNowhere(dir, secret string) error {
	found, err := exec.Command("grep", "--recursive", "--files-with-matches", "--text", "--fixed-strings", "-e", secret,
		dir).Output()
	var exit *exec.ExitError
	const nothing = 1
	switch {
	case len(bytes.TrimSpace(found)) > 0:
		return fmt.Errorf("a secret is kept in %s", bytes.Fields(found))
	case errors.As(err, &exit) && exit.ExitCode() == nothing:
		return nil
	case err != nil:
		return fmt.Errorf("look for a secret in %s: %w", filepath.Base(dir), err)
	default:
		return nil
	}
}
