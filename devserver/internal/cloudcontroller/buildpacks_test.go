package cloudcontroller

import (
	"archive/zip"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// buildpackDir makes a buildpack on disk.
func buildpackDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"detect", "compile", "release"} {
		write(t, filepath.Join(dir, "bin", name), "#!/bin/sh\necho "+name+"\n", 0o755)
	}
	write(t, filepath.Join(dir, "README"), "read me", 0o640)
	write(t, filepath.Join(dir, ".git", "config"), "secret", 0o644)
	require.NoError(t, os.Symlink("bin/detect", filepath.Join(dir, "link")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	return dir
}

func write(t *testing.T, file, content string, mode fs.FileMode) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), mode))
	require.NoError(t, os.Chmod(file, mode))
}

func (st *stand) offered() []listedBuildpack {
	st.t.Helper()
	a := st.get("/v2/buildpacks")
	require.Equal(st.t, http.StatusOK, a.status)
	return decode[[]listedBuildpack](st.t, a.body)
}

func TestBuildpacksAreListedInOrderAndPackedWhole(t *testing.T) {
	helper := filepath.Join(t.TempDir(), "helper")
	write(t, helper, "a program", 0o755)
	st := newStand(t, Options{Buildpacks: []BuildpackSource{
		{Name: "zeta", Dir: buildpackDir(t), Extra: map[string]string{"lib/deep/helper": helper, "README": helper}},
		{Name: "alpha", Dir: buildpackDir(t)},
	}})
	list := st.offered()
	require.Len(t, list, 2)
	require.Equal(t, []string{"zeta", "alpha"}, []string{list[0].Name, list[1].Name})
	require.Regexp(t, `^zeta-[0-9a-f]{12}$`, list[0].Key)

	// The URL is followed as it is.
	w, err := st.http.Client().Get(list[0].URL)
	require.NoError(t, err)
	defer func() { _ = w.Body.Close() }()
	body, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	z, err := zip.NewReader(strings.NewReader(string(body)), int64(len(body)))
	require.NoError(t, err)
	got := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		got[f.Name+" "+f.Mode().String()] = string(text)
	}
	require.Equal(t, map[string]string{
		"README -rwxr-xr-x":          "a program",
		"bin/ drwxr-xr-x":            "",
		"bin/compile -rwxr-xr-x":     "#!/bin/sh\necho compile\n",
		"bin/detect -rwxr-xr-x":      "#!/bin/sh\necho detect\n",
		"bin/release -rwxr-xr-x":     "#!/bin/sh\necho release\n",
		"empty/ drwxr-xr-x":          "",
		"lib/ drwxr-xr-x":            "",
		"lib/deep/ drwxr-xr-x":       "",
		"lib/deep/helper -rwxr-xr-x": "a program",
		"link Lrwxrwxrwx":            "bin/detect",
	}, got)
	require.Equal(t, http.StatusNotFound, st.get("/v2/buildpacks/zeta-000000000000/download").status)
	require.Equal(t, http.StatusNotFound, st.get("/v2/buildpacks/..%2fcredentials/download").status)
}

func TestTheSameBuildpackIsTheSameZipAnywhere(t *testing.T) {
	var zips []string
	for range 2 {
		dir := buildpackDir(t)
		old := time.Now().Add(-time.Hour)
		require.NoError(t, os.Chtimes(filepath.Join(dir, "README"), old, old))
		st := newStand(t, Options{Buildpacks: []BuildpackSource{{Name: "b", Dir: dir}}})
		zips = append(zips, st.get("/v2/buildpacks/"+st.offered()[0].Key+"/download").body)
	}
	require.NotEmpty(t, zips[0])
	require.Equal(t, zips[0], zips[1])
}

func TestAnyChangeOfABuildpackIsAnotherKey(t *testing.T) {
	store := t.TempDir()
	dir := buildpackDir(t)
	keys := map[string]bool{}
	compile := filepath.Join(dir, "bin", "compile")
	for _, change := range []func(){
		func() {},
		func() { write(t, compile, "#!/bin/sh\nfalse\n", 0o755) },
		func() { require.NoError(t, os.Chmod(compile, 0o644)) },
		func() { require.NoError(t, os.Rename(compile, compile+"2")) },
		func() { write(t, filepath.Join(dir, "VERSION"), "", 0o644) },
	} {
		change()
		st := newStand(t, Options{Dir: store, Buildpacks: []BuildpackSource{{Name: "b", Dir: dir}}})
		key := st.offered()[0].Key
		require.False(t, keys[key], "change %d", len(keys))
		keys[key] = true
		// Stagings of an earlier run still get what they name.
		for key := range keys {
			require.Equal(t, http.StatusOK, st.get("/v2/buildpacks/"+key+"/download").status)
		}
		st.stop()
	}
	require.Len(t, keys, 5)
}

func TestBuildpacksThatAreOfferedNoMoreGoInTheEnd(t *testing.T) {
	store, dir := t.TempDir(), buildpackDir(t)
	sources := []BuildpackSource{{Name: "b", Dir: dir}}
	st := newStand(t, Options{Dir: store, Buildpacks: sources})
	key := st.offered()[0].Key
	st.stop()
	file := filepath.Join(store, buildpacksDir, key+".zip")
	old := time.Now().Add(-2 * buildpackRetention)

	require.NoError(t, os.Chtimes(file, old, old))
	newStand(t, Options{Dir: store, Buildpacks: sources}).stop()
	newStand(t, Options{Dir: store}).stop()
	require.FileExists(t, file, "offered a moment ago")

	require.NoError(t, os.Chtimes(file, old, old))
	st = newStand(t, Options{Dir: store})
	require.Equal(t, http.StatusNotFound, st.get("/v2/buildpacks/"+key+"/download").status)
	require.Empty(t, st.offered())
	require.Empty(t, st.left(buildpacksDir))
}

func TestBuildpacksThatCannotBePackedStopTheStart(t *testing.T) {
	good := buildpackDir(t)
	leaving := buildpackDir(t)
	require.NoError(t, os.Symlink("../../etc", filepath.Join(leaving, "bin", "etc")))
	absolute := buildpackDir(t)
	require.NoError(t, os.Symlink("/etc", filepath.Join(absolute, "etc")))
	file := filepath.Join(good, "README")
	for words, sources := range map[string][]BuildpackSource{
		"the name must be":        {{Name: "../x", Dir: good}},
		"no such file":            {{Name: "b", Dir: filepath.Join(good, "nothing")}},
		"is not a directory":      {{Name: "b", Dir: file}},
		"leaves the buildpack":    {{Name: "b", Dir: leaving}},
		"etc leaves":              {{Name: "b", Dir: absolute}},
		"no path in a zip":        {{Name: "b", Dir: good, Extra: map[string]string{"../x": file}}},
		"stand for a directory":   {{Name: "b", Dir: good, Extra: map[string]string{"bin": file}}},
		`"README" is no dir`:      {{Name: "b", Dir: good, Extra: map[string]string{"README/x": file}}},
		"given twice":             {{Name: "b", Dir: good}, {Name: "b", Dir: good}},
		"elsewhere: no such file": {{Name: "b", Dir: good, Extra: map[string]string{"x": filepath.Join(good, "elsewhere")}}},
	} {
		_, err := New(Options{Dir: t.TempDir(), Buildpacks: sources})
		require.ErrorContains(t, err, words)
	}
}
