package activities_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/buildpackstore"
	"github.com/durable-dea/dea/internal/runspec"
)

func stagingRequest(s *store) api.StagingRequest {
	return api.StagingRequest{
		AppID: "app", TaskID: "task", Stack: "stack", DownloadURI: s.url("/package"), UploadURI: s.url("/droplet"),
		BuildpackCacheDownloadURI: s.url("/cache"), BuildpackCacheUploadURI: s.url("/newcache"),
		AdminBuildpacks: []api.AdminBuildpack{{Key: "go", URL: s.url("/go")}, {Key: "static", URL: s.url("/static")}},
	}
}

func filledStore(t *testing.T) *store {
	t.Helper()
	s := newStore(t)
	s.put("/package", []byte("package"))
	s.put("/cache", []byte("the cache"))
	s.put("/go", buildpackZip(t))
	s.put("/static", buildpackZip(t))
	return s
}

func fetchIt(t *testing.T, n *node, request api.StagingRequest) (activities.FetchResult, error) {
	t.Helper()
	return execute(t.Context(), t, n.packages().Fetch, activities.FetchParams{Request: request})
}

func TestFetch(t *testing.T) {
	n, s := newNode(t), filledStore(t)
	request := stagingRequest(s)
	request.Properties.Meta.Command = "./run"
	n.config.Staging.MaxStagingDuration = 1500 * time.Millisecond
	result, err := fetchIt(t, n, request)
	require.NoError(t, err)
	require.Equal(t, activities.FetchResult{PackageBytes: 7, CacheBytes: 9, Buildpacks: 2}, result)
	space := n.workspaces.Path("task")
	requireFile(t, space.Package(), []byte("package"))
	requireFile(t, space.Cache(), []byte("the cache"))
	require.FileExists(t, filepath.Join(buildpackstore.Dir(n.base, "static"), "bin", "compile"))
	spec, err := runspec.ReadSpec(space.Spec())
	require.NoError(t, err)
	require.Equal(t, runspec.Spec{
		Buildpacks:   []runspec.Buildpack{{Key: "go", Dir: "/tmp/dea/buildpacks/0"}, {Key: "static", Dir: "/tmp/dea/buildpacks/1"}},
		StartCommand: "./run", TimeoutSeconds: 2, MaxUnpackedBytes: 4 << 30, MaxEntries: 500_000, MaxLogBytes: 64 << 20,
	}, spec)

	again, err := fetchIt(t, n, request)
	require.NoError(t, err)
	require.Equal(t, result, again)
	require.Equal(t, 1, s.count("/package"), "what is there is not fetched again")
	require.Equal(t, 1, s.count("/go"))
}

func TestFetchOfAChosenBuildpackFetchesNoOther(t *testing.T) {
	n, s := newNode(t), filledStore(t)
	request := stagingRequest(s)
	request.Properties.BuildpackKey = "static"
	_, err := fetchIt(t, n, request)
	require.NoError(t, err)
	require.Zero(t, s.count("/go"))
	spec, err := runspec.ReadSpec(n.workspaces.Path("task").Spec())
	require.NoError(t, err)
	require.True(t, spec.SkipDetect)
	require.Equal(t, []runspec.Buildpack{{Key: "static", Dir: "/tmp/dea/buildpacks/0"}}, spec.Buildpacks)
}

func TestFetchDoesWithoutTheCache(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"there is none":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"a fault":        func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"no credentials": func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) },
		"broken off":     func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			n, s := newNode(t), filledStore(t)
			s.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/cache" {
					return false
				}
				answer(w)
				return true
			}
			result, err := fetchIt(t, n, stagingRequest(s))
			require.NoError(t, err)
			require.Zero(t, result.CacheBytes)
			require.NoFileExists(t, n.workspaces.Path("task").Cache())
		})
	}
}

func TestFetchFaults(t *testing.T) {
	down := newStore(t)
	down.Close()
	for name, c := range map[string]struct {
		change func(*store, *api.StagingRequest)
		kind   api.ErrorType
		final  bool
		words  string
	}{
		"package is not there": {
			func(s *store, r *api.StagingRequest) { r.DownloadURI = s.url("/none") },
			api.ErrStaging, true, "the app's package is not there",
		},
		"wrong password": {
			func(s *store, r *api.StagingRequest) { r.DownloadURI = s.URL + "/package?s=" + secret },
			api.ErrStaging, true, "credentials for the app's package were refused",
		},
		"controller away": {
			func(_ *store, r *api.StagingRequest) { r.DownloadURI = down.url("/package") },
			api.ErrControllerUnreachable, false, "the cloud controller at " + down.Listener.Addr().String() + " cannot be reached",
		},
		"controller at fault": {
			func(s *store, _ *api.StagingRequest) {
				s.answer = func(w http.ResponseWriter, r *http.Request) bool {
					w.WriteHeader(http.StatusBadGateway)
					return true
				}
			},
			api.ErrControllerUnreachable, false, "answered 502",
		},
		"no URL": {
			func(_ *store, r *api.StagingRequest) { r.DownloadURI = "//" + secret },
			api.ErrStaging, true, "no http or https URL",
		},
		"buildpack is no zip": {
			func(s *store, _ *api.StagingRequest) { s.put("/go", []byte("x")) },
			api.ErrStager, true, `the buildpack "go" is no zip`,
		},
		"buildpack is not there": {
			func(s *store, r *api.StagingRequest) { r.AdminBuildpacks[1].URL = s.url("/none") },
			api.ErrStager, true, `the buildpack "static" is not there`,
		},
		"no buildpacks": {
			func(_ *store, r *api.StagingRequest) { r.AdminBuildpacks = nil },
			api.ErrNoAppDetected, true, "could not be detected",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, s := newNode(t), filledStore(t)
			request := stagingRequest(s)
			c.change(s, &request)
			_, err := fetchIt(t, n, request)
			requireFault(t, err, c.kind, c.final, c.words)
		})
	}
}

func TestFetchResumesAfterADeath(t *testing.T) {
	n, s := newNode(t), filledStore(t)
	content := make([]byte, 100_000)
	copy(content, "big")
	s.put("/package", content)
	space, err := n.workspaces.Create("task")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(space.Package()+".part", content[:60_000], 0o600))
	_, err = fetchIt(t, n, stagingRequest(s))
	require.NoError(t, err)
	requireFile(t, space.Package(), content)
}

func TestFetchEndsWithItsContext(t *testing.T) {
	n, s := newNode(t), filledStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/package" {
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	}
	_, err := execute(ctx, t, n.packages().Fetch, activities.FetchParams{Request: stagingRequest(s)})
	require.ErrorContains(t, err, "cancel")
	require.NoFileExists(t, n.workspaces.Path("task").Spec())
}

func TestDiscard(t *testing.T) {
	n, s := newNode(t), filledStore(t)
	_, err := fetchIt(t, n, stagingRequest(s))
	require.NoError(t, err)
	for range 2 {
		_, err = execute(t.Context(), t, silently(n.packages().Discard), activities.DiscardParams{TaskID: "task"})
		require.NoError(t, err)
	}
	require.NoDirExists(t, n.workspaces.Path("task").Dir())
	require.DirExists(t, buildpackstore.Dir(n.base, "go"), "buildpacks stay")
}
