package buildpackstore_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/buildpackstore"
	"github.com/durable-dea/dea/internal/safename"
)

// there are users that have not gone.
func there(users ...string) func() ([]string, error) {
	return func() ([]string, error) { return users, nil }
}

// tree is all that is beneath a node's base directory but what is in a buildpack, the names of records and uses as well.
func tree(t *testing.T, base string) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"[^.]*", ".parts/*", ".records/*", ".uses/*"} {
		found, err := filepath.Glob(filepath.Join(base, "admin_buildpacks", pattern))
		require.NoError(t, err)
		for _, path := range found {
			name, err := filepath.Rel(filepath.Join(base, "admin_buildpacks"), path)
			require.NoError(t, err)
			names = append(names, name)
		}
	}
	return names
}

func age(t *testing.T, by time.Duration, paths ...string) {
	t.Helper()
	for _, path := range paths {
		at := time.Now().Add(-by)
		require.NoError(t, os.Chtimes(path, at, at))
	}
}

func TestReapKeepsWhatIsUsedOrNamed(t *testing.T) {
	s := serve(t, buildpack(t))
	store, base := newStore(t)
	require.NoError(t, store.Use("a/task", "used", "shared"))
	require.NoError(t, store.Use("other", "shared", "unused"))
	for _, key := range []string{"used", "shared", "unused", "named"} {
		_, err := store.Ensure(t.Context(), order(key, s.URL))
		require.NoError(t, err)
		age(t, 2*time.Hour, filepath.Join(base, "admin_buildpacks", ".records", key+".json"))
	}
	require.NoError(t, store.Named("named", "not here"))
	everybody := there(safename.Of("a/task"), "other")

	reaped, err := store.Reap(t.Context(), everybody, time.Hour)
	require.NoError(t, err)
	require.Empty(t, reaped)
	reaped, err = store.Reap(t.Context(), there(safename.Of("a/task")), time.Hour)
	require.NoError(t, err)
	require.Equal(t, []string{"unused"}, reaped)
	reaped, err = store.Reap(t.Context(), everybody, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"named"}, reaped, "what a user used that was gone is forgotten")
	require.Equal(t, []string{
		"shared", "used", ".records/shared.json", ".records/used.json", ".uses/" + safename.Of("a/task"),
	}, tree(t, base))
	reaped, err = store.Reap(t.Context(), there(), time.Hour)
	require.NoError(t, err)
	slices.Sort(reaped)
	require.Equal(t, []string{"shared", "used"}, reaped)
	require.Empty(t, tree(t, base))
}

func TestReapOfNothing(t *testing.T) {
	store, base := newStore(t)
	reaped, err := store.Reap(t.Context(), there("a"), 0)
	require.NoError(t, err)
	require.Empty(t, reaped)
	require.NoDirExists(t, filepath.Join(base, "admin_buildpacks"))
}

// Whoever does not know what is in use removes nothing.
func TestReapWithoutKnowingRemovesNothing(t *testing.T) {
	s := serve(t, buildpack(t))
	store, base := newStore(t)
	require.NoError(t, store.Use("task", "k"))
	_, err := store.Ensure(t.Context(), order("k", s.URL))
	require.NoError(t, err)
	_, err = store.Reap(t.Context(), func() ([]string, error) { return nil, fs.ErrPermission }, 0)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NoError(t, os.WriteFile(filepath.Join(base, "admin_buildpacks", ".uses", "task"), []byte("{"), 0o600))
	_, err = store.Reap(t.Context(), there("task"), 0)
	require.Error(t, err)
	require.DirExists(t, buildpackstore.Dir(base, "k"))
	reaped, err := store.Reap(t.Context(), there(), 0)
	require.NoError(t, err)
	require.Equal(t, []string{"k"}, reaped)
}

func TestReapFollowsNoLinkAndNoMode(t *testing.T) {
	s := serve(t, buildpack(t))
	store, base := newStore(t)
	got, err := store.Ensure(t.Context(), order("k", s.URL))
	require.NoError(t, err)
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(got.Dir, "bin", "out")))
	require.NoError(t, os.Symlink(outside, filepath.Join(base, "admin_buildpacks", ".parts", "x.new")))
	require.NoError(t, os.Symlink(outside, filepath.Join(base, "admin_buildpacks", "link")))
	require.NoError(t, os.Chmod(filepath.Join(got.Dir, "bin"), 0o000))
	require.NoError(t, os.Chmod(got.Dir, 0o500))
	_, err = store.Reap(t.Context(), there(), 0)
	require.NoError(t, err)
	require.Empty(t, tree(t, base))
	require.FileExists(t, filepath.Join(outside, "kept"))
}

// What a process leaves that dies in a step, and what becomes of it: the buildpack comes, is the server's, has its record,
// and nothing else stays.
func TestDeathInEveryStep(t *testing.T) {
	zipped := buildpack(t)
	record := func(key string) string {
		return fmt.Sprintf(`{"key":%q,"sha256":%q,"bytes":1}`, key, strings.Repeat("0", 64))
	}
	half := func(dir string) map[string]string { return map[string]string{dir + "/bin/compile": "half"} }
	for name, files := range map[string]map[string]string{
		"before anything":                  {},
		"mid-download":                     {".parts/k.part": string(zipped[:50]), ".parts/k.part.version": `"v1"`},
		"mid-download, other version":      {".parts/k.part": "xxx", ".parts/k.part.version": `"v0"`},
		"mid-download, version not known":  {".parts/k.part": "xxx"},
		"between the last byte and rename": {".parts/k.part": string(zipped), ".parts/k.part.version": `"v1"`},
		"before unpacking":                 {".parts/k.zip": string(zipped)},
		"before unpacking, damaged":        {".parts/k.zip": "half"},
		"mid-unpack":                       {".parts/k.zip": string(zipped), ".parts/k.new/bin/compile": "half"},
		"before the record":                {".parts/k.zip": string(zipped), ".parts/k.new/bin/compile": "#!/bin/sh\n"},
		"within the record":                {".parts/k.new/bin/compile": "#!/bin/sh\n", ".parts/k.json": "{"},
		"after the record":                 {".parts/k.new/bin/compile": "#!/bin/sh\n", ".records/k.json": record("k")},
		"without a record":                 half("k"),
		"with a broken record":             {"k/bin/compile": "half", ".records/k.json": "{"},
		"with an empty record":             {"k/bin/compile": "half", ".records/k.json": ""},
		"with another's record":            {"k/bin/compile": "half", ".records/k.json": record("j")},
		"mid-removal: hidden":              {".parts/k.0.gone/bin/compile": "half", ".records/k.json": record("k")},
		"mid-removal: half deleted":        half(".parts/k.0.gone"),
		"mid-removal: several":             {".parts/k.0.gone/x": "", ".parts/k.1.gone/x": "", ".parts/k.new.0.gone/x": ""},
		"mid-note of a use":                {".parts/t.use": "[", ".uses/dead": "["},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, zipped)
			store, base := newStore(t)
			for file, content := range files {
				path := filepath.Join(base, "admin_buildpacks", file)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(content), 0o755))
			}
			require.NoError(t, store.Use("task", "k"))
			got, err := store.Ensure(t.Context(), order("k", s.URL))
			require.NoError(t, err)
			require.True(t, got.Came)
			require.EqualValues(t, len(zipped), got.Bytes)
			content, err := os.ReadFile(filepath.Join(got.Dir, "bin", "compile"))
			require.NoError(t, err)
			require.Equal(t, "#!/bin/sh\n", string(content))
			reaped, err := store.Reap(t.Context(), there("task"), 0)
			require.NoError(t, err)
			require.Empty(t, reaped)
			require.Equal(t, []string{"k", ".records/k.json", ".uses/task"}, tree(t, base))
			again, err := store.Ensure(t.Context(), order("k", s.URL))
			require.NoError(t, err)
			require.False(t, again.Came)
			require.Equal(t, got.Record, again.Record)
		})
	}
}

// What was left of keys that nobody fetches any more goes, too: a part that may still be resumed only once it is old.
func TestReapSweepsWhatIsLeft(t *testing.T) {
	store, base := newStore(t)
	dir := filepath.Join(base, "admin_buildpacks")
	for _, name := range []string{
		".parts/old.part", ".parts/old.part.version", ".parts/young.part", ".parts/young.part.version", ".parts/x.zip",
		".parts/y.new/bin/compile", ".parts/z.0.gone/bin", ".records/none.json", ".uses/nobody", "unknown/bin/compile",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("[]"), 0o600))
	}
	age(t, 2*time.Hour, filepath.Join(dir, ".parts/old.part"), filepath.Join(dir, ".parts/old.part.version"), filepath.Join(dir, "unknown"))
	reaped, err := store.Reap(t.Context(), there(), time.Hour)
	require.NoError(t, err)
	require.Equal(t, []string{"unknown"}, reaped)
	require.Equal(t, []string{".parts/young.part", ".parts/young.part.version"}, tree(t, base))
}

// A download that is under way is nobody's leftover, however old its part is.
func TestReapLeavesWhatIsBeingFetched(t *testing.T) {
	s := serve(t, buildpack(t))
	s.gate = make(chan struct{})
	store, base := newStore(t)
	done := make(chan error, 1)
	go func() { _, err := store.Ensure(t.Context(), order("k", s.URL)); done <- err }()
	part := filepath.Join(base, "admin_buildpacks", ".parts", "k.part")
	require.Eventually(t, func() bool { _, err := os.Stat(part); return err == nil }, 10*time.Second, time.Millisecond)
	age(t, 3*time.Hour, part)
	_, err := store.Reap(t.Context(), there(), 0)
	require.NoError(t, err)
	close(s.gate)
	require.NoError(t, <-done)
	require.DirExists(t, buildpackstore.Dir(base, "k"))
}

// Stagings come and go at once: each finds its buildpacks whole for as long as it is there, and in the end none is left.
func TestNothingInUseIsRemoved(t *testing.T) {
	const stagings, rounds, keys = 6, 25, 3
	s := serve(t, buildpack(t))
	store, base := newStore(t)
	var mu sync.Mutex
	alive := map[string]bool{}
	users := func() ([]string, error) {
		mu.Lock()
		defer mu.Unlock()
		var names []string
		for name := range alive {
			names = append(names, name)
		}
		return names, nil
	}
	set := func(user string, is bool) {
		mu.Lock()
		defer mu.Unlock()
		if is {
			alive[user] = true
		} else {
			delete(alive, user)
		}
	}
	var all sync.WaitGroup
	for n := range stagings {
		all.Go(func() {
			for round := range rounds {
				user, key := fmt.Sprintf("task-%d-%d", n, round), fmt.Sprintf("key-%d", (n+round)%keys)
				set(user, true)
				require.NoError(t, store.Use(user, key))
				got, err := store.Ensure(t.Context(), order(key, s.URL))
				require.NoError(t, err)
				for range 3 {
					_, err = store.Reap(t.Context(), users, 0)
					require.NoError(t, err)
					require.FileExists(t, filepath.Join(got.Dir, "bin", "compile"))
					require.FileExists(t, filepath.Join(got.Dir, "lib", "data"))
				}
				set(user, false)
			}
		})
	}
	all.Wait()
	_, err := store.Reap(t.Context(), users, 0)
	require.NoError(t, err)
	require.Empty(t, tree(t, base))
}
