package main_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/runspec"
)

const wordsLogFull = "\n-----> The log is too long: the rest is not kept\n"

// A gibibyte of log passes in a moment, in bounded memory, and what the staging itself says is there to the end.
func TestStageKeepsItsLogBounded(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	const talk = `yes | head -c 1073741824; grep VmHWM /proc/$PPID/status > "$2/peak"`
	for name, test := range map[string]struct {
		compile string
		last    string
	}{
		"works": {talk, "-----> Uploading droplet ("},
		"fails": {talk + "; exit 1", "Staging failed: Buildpack compilation step failed\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.pack(files{"a": ""})
			c.order(func(s *runspec.Spec) { s.MaxLogBytes = limit }, classic("echo P", test.compile, releaseWeb))
			begun := time.Now()
			_, _ = c.stage()
			took := time.Since(begun)
			peak := number(t, strings.Trim(c.read(runspec.PathCache+"/peak"), "VmHWM: \tkB\n"))
			t.Logf("1 GiB of log took %v and %d KiB of memory", took, peak)
			require.Less(t, took, patience)
			require.Less(t, peak, 64<<10, "KiB")
			require.LessOrEqual(t, len(c.log()), limit)
			require.Greater(t, len(c.log()), limit/2)
			_, after, full := strings.Cut(c.log(), wordsLogFull)
			require.True(t, full)
			require.Contains(t, after, test.last)
		})
	}
}

func TestStageKeepsItsLogBoundedByDefault(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(nil, classic("echo P", `head -c 90000000 /dev/zero`, releaseWeb))
	status, _ := c.stage()
	require.Equal(t, runspec.ExitOK, status)
	info, err := os.Stat(c.path(runspec.PathOut + "/" + runspec.FileLog))
	require.NoError(t, err)
	require.LessOrEqual(t, info.Size(), runspec.DefaultMaxLogBytes)
}

// Whatever programs say is theirs; only our own lines begin at a line's begin.
func TestStageLeavesLinesAsTheyAre(t *testing.T) {
	t.Parallel()
	const odd = `\033[1;31mred\033[0m\r\n  50%%\r 100%%\r\n\xff\xfe\x00\n\n no end`
	supplies := supplier("s")
	supplies["bin/supply*"] = script(`printf '` + odd + `'`)
	last := modern("m")
	last["bin/supply*"] = script("for i in $(seq 50); do echo out $i; echo err $i >&2; done")
	last["bin/finalize*"] = last["bin/supply*"] + `printf '` + odd + "'; exit 1\n"
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(all, supplies, last)
	status, _ := c.stage()
	require.Equal(t, runspec.ExitCompile, status)
	var inOrder strings.Builder
	for n := range 50 {
		fmt.Fprintf(&inOrder, "out %d\nerr %d\n", n+1, n+1)
	}
	const plain = "\x1b[1;31mred\x1b[0m\r\n  50%\r 100%\r\n\xff\xfe\x00\n\n no end"
	_, log, _ := strings.Cut(c.log(), "(buildpack bp1)\n")
	require.Equal(t, plain+inOrder.String()+inOrder.String()+plain+
		"\n-----> Buildpack bp1: bin/finalize ended with exit status 1\n"+
		"Staging failed: Buildpack compilation step failed: buildpack bp1: bin/finalize ended with exit status 1\n", log)
}

// Daemons that hold on to the log hold nobody up, however many, and whichever program leaves them.
func TestStageDoesNotWaitForManyDaemons(t *testing.T) {
	t.Parallel()
	const count = 200
	leave := fmt.Sprintf(`for i in $(seq %d); do setsid sh -c 'echo $$ >> "'"$PIDS"'"; exec sleep 1000' & done
while [ $(wc -l < "$PIDS") -lt %d ]; do sleep 0.05; done; : > "$PIDS.done"`, count, count)
	pack := modern("m")
	pack["bin/supply*"] = script(`PIDS="$2/supply"; : > "$PIDS"`, leave)
	pack["bin/finalize*"] = script(`PIDS="$2/finalize"; : > "$PIDS"`, leave)
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(nil, pack)
	t.Cleanup(func() {
		for _, name := range []string{"/supply", "/finalize"} {
			data, _ := os.ReadFile(c.path(runspec.PathCache + name))
			for pid := range strings.FieldsSeq(string(data)) {
				if n, err := strconv.Atoi(pid); err == nil && comm(n) == "sleep" {
					_ = syscall.Kill(n, syscall.SIGKILL)
				}
			}
		}
	})
	status, result := c.stage()
	require.Equal(t, runspec.ExitOK, status, c.log())
	for _, p := range result.Phases {
		t.Logf("%s took %v", p.Name, p.Duration())
		require.Less(t, p.Duration(), 20*time.Second, p.Name)
	}
	require.Len(t, strings.Fields(c.read(runspec.PathCache+"/supply")), count)
}
