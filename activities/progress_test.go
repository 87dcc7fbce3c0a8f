package activities

import (
	"archive/zip"
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/buildpackstore"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/workspace"
)

func TestProgressIsKeptInItsContext(t *testing.T) {
	t.Parallel()
	reportProgress(t.Context(), TransferProgress{Done: 1})
	_, known := currentProgress(t.Context())
	require.False(t, known)
	ctx := withProgress(t.Context())
	_, known = currentProgress(ctx)
	require.False(t, known)
	reportProgress(ctx, TransferProgress{Done: 1, Total: -1})
	reportProgress(ctx, TransferProgress{Done: 2, Total: 3})
	p, known := currentProgress(ctx)
	require.True(t, known)
	require.Equal(t, TransferProgress{Done: 2, Total: 3}, p)
}

func TestTransfersAreSummedUp(t *testing.T) {
	t.Parallel()
	ctx := withProgress(t.Context())
	all := &transfers{ctx: ctx}
	one, two := all.add(), all.add()
	requireProgress := func(done, total int64) {
		t.Helper()
		p, known := currentProgress(ctx)
		require.True(t, known)
		require.Equal(t, TransferProgress{Done: done, Total: total}, p)
	}
	one.moved(5, 10)
	requireProgress(5, -1)
	two.moved(1, -1)
	requireProgress(6, -1)
	two.moved(7, 20)
	requireProgress(12, 30)
	one.moved(0, 10)
	requireProgress(7, 30)
	two.over()
	requireProgress(7, 17)
	one.moved(10, 10)
	one.over()
	requireProgress(17, 17)
}

// All that a Fetch brings is in its progress: the package, the cache and the buildpacks, what is here already as well.
func TestFetchReportsItsProgress(t *testing.T) {
	t.Parallel()
	const size = 1000
	var zipped bytes.Buffer
	writer := zip.NewWriter(&zipped)
	header := &zip.FileHeader{Name: "bin/compile"}
	header.SetMode(0o755)
	_, err := writer.CreateHeader(header)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	files := map[string][]byte{"/p": make([]byte, size), "/c": make([]byte, size), "/b": zipped.Bytes()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(files[r.URL.Path]))
	}))
	defer server.Close()
	node := config.DefaultNode()
	node.BaseDir = t.TempDir()
	client := fetch.New(fetch.Options{})
	defer client.Close()
	packages := NewPackages(PackagesDeps{
		Config: &node, Workspaces: workspace.New(node.BaseDir), Buildpacks: buildpackstore.New(node.BaseDir, client), HTTP: client,
		Log: hclog.NewNullLogger(),
	})
	request := api.StagingRequest{
		TaskID: "t", DownloadURI: server.URL + "/p", BuildpackCacheDownloadURI: server.URL + "/c",
		AdminBuildpacks: []api.AdminBuildpack{{Key: "k", URL: server.URL + "/b"}},
	}
	whole := int64(2*size + zipped.Len())
	for range 2 {
		ctx := withProgress(t.Context())
		_, err = packages.Fetch(ctx, request)
		require.NoError(t, err)
		p, known := currentProgress(ctx)
		require.True(t, known)
		require.Equal(t, TransferProgress{Done: whole, Total: whole}, p)
	}
}
