package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/runspec"
)

// says is a program that says how it was called, without the container's root, and does something more.
func says(name, more string) string {
	return script(`R="${HOME%/home/vcap}"; echo "`+name+` ${*//$R/}"`, more)
}

// modern is a buildpack with bin/supply and bin/finalize.
func modern(name string) files {
	return files{
		"bin/detect*":   script("echo " + name),
		"bin/supply*":   says(name+" supplies", `echo `+name+` > "$3/$4/tool"; echo kept >> "$2/`+name+`"`),
		"bin/finalize*": says(name+" finalizes", `cat "$3"/*/tool > "$1/tools"; echo "export TOOLS=\$(cat \$DEPS_DIR/*/tool | tr '\n' ' ')" > "$5/0.sh"`),
		"bin/compile*":  script("echo compiled as ever; exit 1"),
		"bin/release*":  script(releaseWeb),
	}
}

// supplier only supplies.
func supplier(name string) files {
	return files{"bin/supply*": says(name+" supplies", `echo `+name+` > "$3/$4/tool"; echo kept >> "$2/`+name+`"`)}
}

func all(s *runspec.Spec) { s.SkipDetect = true }

func names(phases []runspec.Phase) []string {
	var all []string
	for _, p := range phases {
		all = append(all, p.Name)
	}
	return all
}

func digestOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

func TestStageBySeveralBuildpacks(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(all, supplier("one"), supplier("two"), modern("last"))
	status, result := c.stage()
	require.Equal(t, runspec.ExitOK, status, c.log())
	require.Equal(t, "last", result.DetectedBuildpack)
	require.Equal(t, "bp2", result.BuildpackKey)
	require.Equal(t, []string{"unpack", "detect", "supply", "compile", "release", "pack", "cache"}, names(result.Phases))
	require.Contains(t, c.log(), fmt.Sprintf(`one supplies /tmp/staged/app /tmp/cache/%s /tmp/staged/deps 0
two supplies /tmp/staged/app /tmp/cache/%s /tmp/staged/deps 1
last supplies /tmp/staged/app /tmp/cache/final /tmp/staged/deps 2
last finalizes /tmp/staged/app /tmp/cache/final /tmp/staged/deps 2 /tmp/staged/profile.d
`, digestOf("bp0"), digestOf("bp1")))
	require.NotContains(t, c.log(), "compiled as ever")
	require.Equal(t, "one\ntwo\nlast\n", c.read(runspec.PathStagedApp+"/tools"))

	// What was supplied reaches the app.
	i := c.instance()
	unpacked, stderr := i.run(nil, "unpack")
	require.Equal(t, runspec.ExitOK, unpacked, stderr)
	require.Equal(t, "two\n", i.read(runspec.PathInstanceDeps+"/1/tool"))
	launched, _ := i.run([]string{"DEPS_DIR=/mine"}, "launch", "--command", `echo "$TOOLS in $DEPS_DIR"`)
	require.Equal(t, 0, launched)
	require.Equal(t, "one two last  in "+i.path(runspec.PathInstanceDeps)+"\n", i.read(runspec.PathStdout))
}

// With ten buildpacks the directories have two digits, so that they sort as the buildpacks do.
func TestStageByManyBuildpacks(t *testing.T) {
	t.Parallel()
	for count, first := range map[int]string{9: "0", 10: "00"} {
		c := newContainer(t)
		c.pack(files{"a": ""})
		var packs []files
		for n := range count - 1 {
			packs = append(packs, supplier(fmt.Sprintf("s%d", n)))
		}
		c.order(all, append(packs, modern("last"))...)
		status, _ := c.stage()
		require.Equal(t, runspec.ExitOK, status, c.log())
		require.Equal(t, "s0\n", c.read(runspec.PathDeps+"/"+first+"/tool"))
		require.Equal(t, "last\n", c.read(fmt.Sprintf("%s/%0*d/tool", runspec.PathDeps, len(first), count-1)))
	}
}

func TestStageByOneModernBuildpack(t *testing.T) {
	t.Parallel()
	const calls = `supplies /tmp/staged/app /tmp/cache /tmp/staged/deps 0
m finalizes /tmp/staged/app /tmp/cache /tmp/staged/deps 0 /tmp/staged/profile.d
`
	for name, change := range map[string]func(*runspec.Spec){"detected": nil, "chosen": all} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.pack(files{"a": ""})
			c.order(change, modern("m"))
			status, result := c.stage()
			require.Equal(t, runspec.ExitOK, status, c.log())
			require.Equal(t, []string{"unpack", "detect", "supply", "compile", "release", "pack", "cache"}, names(result.Phases))
			require.Contains(t, c.log(), calls)
			require.Equal(t, "kept\n", c.read(runspec.PathCache+"/m"))
		})
	}
}

func TestStageByFinalizeAlone(t *testing.T) {
	t.Parallel()
	pack := modern("m")
	delete(pack, "bin/supply*")
	pack["bin/finalize*"] = says("m finalizes", `ls -d "$3/$4" "$5" > /dev/null`)
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(nil, pack)
	status, result := c.stage()
	require.Equal(t, runspec.ExitOK, status, c.log())
	require.NotContains(t, names(result.Phases), "supply")
}

// A classic buildpack is served as ever: nothing of its droplet tells that there are others.
func TestClassicDropletsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	pack := classic("echo P", "true", releaseWeb)
	pack["bin/supply*"] = script("exit 1") // without bin/finalize it is not asked
	for _, change := range []func(*runspec.Spec){nil, all} {
		c := newContainer(t)
		c.pack(files{"a": ""})
		c.order(change, pack)
		status, _ := c.stage()
		require.Equal(t, runspec.ExitOK, status, c.log())
		require.NoDirExists(t, c.path(runspec.PathDeps))
		require.NoDirExists(t, c.path(runspec.PathProfile))
		i := c.instance()
		i.run(nil, "unpack")
		i.run(nil, "launch", "--command", `echo "deps: ${DEPS_DIR-none}"`)
		require.Equal(t, "deps: none\n", i.read(runspec.PathStdout))
	}
}

func TestStageWarnsOfAClassicLast(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(all, supplier("one"), classic("exit 1", `echo "cache $2"; echo x > "$2/x"`, releaseWeb))
	status, result := c.stage()
	require.Equal(t, runspec.ExitOK, status, c.log())
	require.Equal(t, "bp1", result.DetectedBuildpack, "what bin/detect of a chosen one says is no verdict")
	require.Contains(t, c.log(), "Warning: the last buildpack is not compatible with multi-buildpack apps and cannot make use of any dependencies supplied by the buildpacks specified before it\n")
	require.Contains(t, c.log(), "cache "+c.path(runspec.PathCache)+"/final\n")
	require.DirExists(t, c.path(runspec.PathDeps+"/0"))
	require.NoDirExists(t, c.path(runspec.PathDeps+"/1"))
	require.NoDirExists(t, c.path(runspec.PathProfile))
}

func TestStageBySeveralFails(t *testing.T) {
	t.Parallel()
	broken := func(program, line string) files {
		pack := modern("m")
		pack["bin/"+program+"*"] = script(line)
		return pack
	}
	notExecutable := modern("m")
	delete(notExecutable, "bin/finalize*")
	notExecutable["bin/finalize"] = script("true")
	const compilation = "Buildpack compilation step failed"
	tests := map[string]struct {
		packs   []files
		message string
	}{
		"one cannot supply": {
			[]files{supplier("s"), classic("echo P", "true", ""), modern("m")},
			"Error: one of the buildpacks chosen to supply dependencies does not support multi-buildpack apps: bp1 has no bin/supply",
		},
		"supply fails":             {[]files{broken("supply", "exit 3"), modern("m")}, compilation + ": buildpack bp0: bin/supply ended with exit status 3"},
		"supply of the last fails": {[]files{supplier("s"), broken("supply", "exit 4")}, compilation + ": buildpack bp1: bin/supply ended with exit status 4"},
		"finalize fails":           {[]files{supplier("s"), broken("finalize", "kill -9 $$")}, compilation + ": buildpack bp1: bin/finalize ended with exit status 137"},
		"finalize is no program":   {[]files{supplier("s"), notExecutable}, compilation + ": buildpack bp1: bin/finalize is not executable"},
		"the last does neither":    {[]files{supplier("s"), supplier("t")}, compilation},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.pack(files{"a": ""})
			c.order(all, test.packs...)
			status, result := c.stage()
			require.Equal(t, runspec.ExitCompile, status, c.log())
			require.Equal(t, runspec.ErrCompile, result.Error.Type)
			require.Equal(t, test.message, result.Error.Message)
			if name == "one cannot supply" {
				require.NotContains(t, c.log(), "supplies", "nothing is run that cannot end well")
			}
		})
	}
}

// next is a container that stages with the cache that another left.
func (c *container) next() *container {
	c.t.Helper()
	n := newContainer(c.t)
	n.pack(files{"a": ""})
	if cache := c.read(runspec.PathOut + "/" + runspec.FileBuildpackCache); cache != "" {
		n.write(runspec.PathIn+"/"+runspec.FileCache, cache, 0o644)
	}
	return n
}

// cached are the files of the cache, but for our own mark.
func (c *container) cached() []string {
	c.t.Helper()
	found, err := filepath.Glob(c.path(runspec.PathCache) + "/*/*")
	require.NoError(c.t, err)
	flat, err := filepath.Glob(c.path(runspec.PathCache) + "/*")
	require.NoError(c.t, err)
	var names []string
	for _, path := range append(flat, found...) {
		if info, err := os.Stat(path); err == nil && !info.IsDir() && filepath.Base(path)[0] != '.' {
			name, err := filepath.Rel(c.path(runspec.PathCache), path)
			require.NoError(c.t, err)
			names = append(names, name)
		}
	}
	return names
}

// A cache has what the last staging's buildpacks left, and nothing of those before.
func TestCacheFollowsTheChoice(t *testing.T) {
	t.Parallel()
	stage := func(c *container, change func(*runspec.Spec), packs ...files) *container {
		c.order(change, packs...)
		status, _ := c.stage()
		require.Equal(t, runspec.ExitOK, status, c.log())
		return c
	}
	empty := newContainer(t)
	empty.pack(files{"a": ""})
	single := stage(empty, nil, modern("single"))
	require.ElementsMatch(t, []string{"single"}, single.cached())

	several := stage(single.next(), all, supplier("a"), supplier("b"), modern("last"))
	require.ElementsMatch(t, []string{digestOf("bp0") + "/a", digestOf("bp1") + "/b", "final/last"}, several.cached())

	fewer := stage(several.next(), all, supplier("a"), modern("last"))
	require.ElementsMatch(t, []string{digestOf("bp0") + "/a", "final/last"}, fewer.cached())
	require.Equal(t, "kept\nkept\n", fewer.read(runspec.PathCache+"/"+digestOf("bp0")+"/a"), "what is chosen again is kept")

	again := stage(fewer.next(), nil, modern("single"))
	require.ElementsMatch(t, []string{"single"}, again.cached())
	require.Equal(t, "kept\n", again.read(runspec.PathCache+"/single"))
}

func TestEmptyCachesOfSeveralAreNone(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	idle := files{"bin/supply*": script("true")}
	c.order(all, idle, idle, classic("echo P", "true", releaseWeb))
	status, result := c.stage()
	require.Equal(t, runspec.ExitOK, status, c.log())
	require.Zero(t, result.CacheSize)
	require.Empty(t, c.read(runspec.PathOut+"/"+runspec.FileBuildpackCache))
}

func TestSeveralFromGit(t *testing.T) {
	t.Parallel()
	stored := newRepositories(t)
	stored.Make("supplier.git", supplier("cloned"))
	stored.Make("text.git", files{"README": "x"})
	for name, test := range map[string]struct {
		repository string
		message    string
	}{
		"supplies": {"supplier.git", ""},
		"is none":  {"text.git", "The repository " + shownKey + " is no buildpack: it has no bin/supply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.pack(files{"a": ""})
			c.order(func(s *runspec.Spec) {
				s.SkipDetect = true
				s.Buildpacks[0] = runspec.Buildpack{Key: shownKey, Dir: runspec.PathClone(0), Git: &runspec.Git{URL: stored.File(test.repository)}}
			}, supplier("x"), modern("last"))
			status, result := c.stage()
			if test.message != "" {
				require.Equal(t, runspec.ExitStaging, status)
				require.Equal(t, test.message, result.Error.Message)
				return
			}
			require.Equal(t, runspec.ExitOK, status, c.log())
			require.Equal(t, "bp1", result.BuildpackKey)
			require.Equal(t, "cloned\n", c.read(runspec.PathDeps+"/0/tool"))
			require.Contains(t, c.log(), "cloned supplies /tmp/staged/app /tmp/cache/"+digestOf(shownKey)+" ")
		})
	}
}
