package activities_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
	return execute(t.Context(), t, n.packages().Fetch, request)
}

func TestFetch(t *testing.T) {
	n, s := newNode(t), filledStore(t)
	request := stagingRequest(s)
	request.Properties.Meta.Command = "./run"
	n.config.Staging.MaxStagingDuration = 1500 * time.Millisecond
	result, err := fetchIt(t, n, request)
	require.NoError(t, err)
	of := func(key string, fetched bool) activities.FetchedBuildpack {
		zipped := s.files["/"+key]
		digest := sha256.Sum256(zipped)
		return activities.FetchedBuildpack{
			Key: key, SHA256: hex.EncodeToString(digest[:]), Bytes: int64(len(zipped)), Fetched: fetched,
		}
	}
	require.Equal(t, activities.FetchResult{
		PackageBytes: 7, CacheBytes: 9, Buildpacks: []activities.FetchedBuildpack{of("go", true), of("static", true)},
	}, result)
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
	require.Equal(t, activities.FetchResult{
		PackageBytes: 7, CacheBytes: 9, Buildpacks: []activities.FetchedBuildpack{of("go", false), of("static", false)},
	}, again)
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
		"too large":      func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 1<<20+1)) },
		"no redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://h%zz")
			w.WriteHeader(http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, s := newNode(t), filledStore(t)
			n.config.Staging.Limits.PackageMB = 1
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
		"buildpack has no program": {
			func(s *store, _ *api.StagingRequest) { s.put("/go", zipFiles(t, map[string]string{"bin/detect": "x"})) },
			api.ErrStager, true, `the buildpack "go" has no program bin/compile, bin/finalize or bin/supply`,
		},
		"buildpack of a repository": {
			func(s *store, _ *api.StagingRequest) {
				s.put("/go", zipFiles(t, map[string]string{"go-1/bin/compile": "x"}))
			},
			api.ErrStager, true, `the buildpack "go" has all its files in one directory, "go-1", as an archive`,
		},
		"buildpack leads outside": {
			func(s *store, _ *api.StagingRequest) { s.put("/go", zipFiles(t, map[string]string{"../x": "x"})) },
			api.ErrStager, true, `the buildpack "go" is no zip that can be unpacked: "../x" leaves the directory`,
		},
		"buildpack too large": {
			func(s *store, _ *api.StagingRequest) { s.put("/go", make([]byte, 2<<20+1)) },
			api.ErrStager, true, `the buildpack "go" is larger than 2 MB, the most that this node takes`,
		},
		"buildpack unpacks to too much": {
			func(s *store, _ *api.StagingRequest) {
				s.put("/go", deflated(t, map[string]string{"bin/compile": strings.Repeat("x", 4<<20)}))
			},
			api.ErrStager, true, `the buildpack "go" unpacks to more than 3 MB or 4 files, the most that this node takes`,
		},
		"buildpack unpacks to too many": {
			func(s *store, _ *api.StagingRequest) {
				s.put("/go", zipFiles(t, map[string]string{"bin/compile": "", "1": "", "2": "", "3": ""}))
			},
			api.ErrStager, true, `the buildpack "go" unpacks to more than 3 MB or 4 files`,
		},
		"package too large": {
			func(s *store, _ *api.StagingRequest) { s.put("/package", make([]byte, 1<<20+1)) },
			api.ErrStaging, true, "the app's package is larger than 1 MB, the most that this node takes",
		},
		"package too large, of an unknown size": {
			func(s *store, _ *api.StagingRequest) {
				s.answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/package" {
						w.(http.Flusher).Flush()
						_, _ = w.Write(make([]byte, 2<<20))
						return true
					}
					return false
				}
			},
			api.ErrStaging, true, "the app's package is larger than 1 MB, the most that this node takes",
		},
		"a redirect with secrets to nowhere": {
			func(s *store, _ *api.StagingRequest) {
				s.answer = func(w http.ResponseWriter, r *http.Request) bool {
					w.Header().Set("Location", "http://u:"+secret+"@h%zz/?"+secret)
					w.WriteHeader(http.StatusFound)
					return true
				}
			},
			api.ErrControllerUnreachable, false, "redirects the request",
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
			limits := &n.config.Staging.Limits
			limits.PackageMB, limits.BuildpackMB, limits.BuildpackUnpackedMB, limits.Entries = 1, 2, 3, 4
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

// A buildpack stays for as long as a workspace's staging uses it or a request has named it within its lifetime.
func TestFetchRemovesBuildpacksThatNobodyWants(t *testing.T) {
	n, s := newNode(t), filledStore(t)
	has := func(key string) bool {
		_, err := os.Stat(buildpackstore.Dir(n.base, key))
		return err == nil
	}
	stage := func(task string, buildpacks ...api.AdminBuildpack) {
		t.Helper()
		request := stagingRequest(s)
		request.TaskID, request.AdminBuildpacks = task, buildpacks
		_, err := fetchIt(t, n, request)
		require.NoError(t, err)
	}
	all := stagingRequest(s).AdminBuildpacks
	n.config.Staging.BuildpackLifetime = 0
	stage("one/task", all[0])
	stage("two", all[1])
	require.True(t, has("go"), "its workspace is there, for this and every later worker")
	require.True(t, has("static"))

	require.NoError(t, n.workspaces.Remove("one/task"))
	n.config.Staging.BuildpackLifetime = time.Hour
	stage("three", all[1])
	require.True(t, has("go"), "it was named within its lifetime")
	n.config.Staging.BuildpackLifetime = 0
	stage("four", all[1])
	require.False(t, has("go"))
	require.True(t, has("static"))
	require.Equal(t, 1, s.count("/static"))

	chosen := stagingRequest(s)
	chosen.TaskID, chosen.Properties.BuildpackKey = "five", "static"
	_, err := fetchIt(t, n, chosen)
	require.NoError(t, err)
	require.False(t, has("go"), "only what is chosen is fetched")
}

// A staging that fails makes room, too.
func TestFetchRemovesBuildpacksAlsoWhenItFails(t *testing.T) {
	n, s := newNode(t), filledStore(t)
	_, err := fetchIt(t, n, stagingRequest(s))
	require.NoError(t, err)
	require.NoError(t, n.workspaces.Remove("task"))
	n.config.Staging.BuildpackLifetime = 0
	failing := stagingRequest(s)
	failing.TaskID, failing.DownloadURI, failing.AdminBuildpacks = "failing", s.url("/none"), failing.AdminBuildpacks[:1]
	_, err = fetchIt(t, n, failing)
	require.Error(t, err)
	require.DirExists(t, buildpackstore.Dir(n.base, "go"))
	require.NoDirExists(t, buildpackstore.Dir(n.base, "static"))
}

// A worker that dies in a step of Fetch leaves what the next attempt goes on with, and nothing that stays.
func TestFetchAfterADeathInEveryStep(t *testing.T) {
	const in, packs = "staging/task/in/", "admin_buildpacks/"
	for name, files := range map[string]map[string]string{
		"before the workspace":   {},
		"the use was noted":      {packs + ".uses/task": `["go","static"]`},
		"within the note":        {packs + ".parts/task.use": `["go"`},
		"mid-download":           {in + "package.zip.part": "pack", in + "cache.tgz.part": "x", packs + ".parts/go.part": "PK"},
		"the package is here":    {in + "package.zip": "package", packs + ".parts/static.zip": "PK"},
		"mid-unpack":             {in + "package.zip": "package", packs + ".parts/static.new/bin/compile": "half"},
		"within the order":       {in + ".spec.json.123": "{", packs + ".parts/go.new/bin/compile": "half"},
		"an order of no meaning": {in + "spec.json": "{"},
		"mid-removal":            {packs + ".parts/old.0.gone/bin/compile": "", packs + ".records/old.json": "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			n, s := newNode(t), filledStore(t)
			n.config.Staging.BuildpackLifetime = 0
			for file, content := range files {
				path := filepath.Join(n.base, file)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
			}
			_, err := fetchIt(t, n, stagingRequest(s))
			require.NoError(t, err)
			space := n.workspaces.Path("task")
			requireFile(t, space.Package(), []byte("package"))
			requireFile(t, space.Cache(), []byte("the cache"))
			_, err = runspec.ReadSpec(space.Spec())
			require.NoError(t, err)
			var left []string
			for _, dir := range []string{"", ".parts", ".records", ".uses"} {
				entries, err := os.ReadDir(filepath.Join(n.base, packs, dir))
				require.NoError(t, err)
				for _, entry := range entries {
					left = append(left, filepath.Join(dir, entry.Name()))
				}
			}
			require.Equal(t, []string{
				".parts", ".records", ".uses", "go", "static", ".records/go.json", ".records/static.json", ".uses/task",
			}, left)
			require.NoError(t, n.workspaces.Remove("task"))
			require.NoDirExists(t, space.Dir())
		})
	}
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
	_, err := execute(ctx, t, n.packages().Fetch, stagingRequest(s))
	require.ErrorContains(t, err, "cancel")
	require.NoFileExists(t, n.workspaces.Path("task").Spec())
}

// deflated makes a zip that is smaller than what is in it.
func deflated(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		f, err := w.Create(name)
		require.NoError(t, err)
		_, err = f.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}
