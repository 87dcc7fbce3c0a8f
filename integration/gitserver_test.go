package integration

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/gittest"
)

// tree is a gittest.Content, with the files' modes.
type tree []entry

func (c tree) WriteTo(t *testing.T, dir string) {
	t.Helper()
	for _, e := range c {
		file := filepath.Join(dir, filepath.FromSlash(e.name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(e.content), e.mode.Perm()))
	}
}

// submodule puts another repository into one, at an address beside it.
func submodule(in, other *gittest.Repository, at string) {
	in.Git(in.Work, "submodule", "--quiet", "add", in.File(other.Name), at)
	in.Git(in.Work, "config", "--file=.gitmodules", "submodule."+at+".url", "../"+other.Name)
	in.Commit(tree(nil))
}

// serve starts an HTTP server and gives its host and port.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
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
