package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/runspec"
)

// merges is YAML that means 9 to the power of its levels, by merging maps.
func merges(levels int) string {
	var text strings.Builder
	text.WriteString("l0: &l0 {web: x}\n")
	for n := range levels {
		fmt.Fprintf(&text, "l%d: &l%d {<<: [%s*l%d]}\n", n+1, n+1, strings.Repeat(fmt.Sprintf("*l%d, ", n), 8), n)
	}
	return text.String() + fmt.Sprintf("<<: *l%d\n", levels)
}

// lists is YAML that means 9 to the power of its levels, by lists of lists.
func lists(levels int) string {
	var text strings.Builder
	text.WriteString("l0: &l0 [x]\n")
	for n := range levels {
		fmt.Fprintf(&text, "l%d: &l%d [%s*l%d]\n", n+1, n+1, strings.Repeat(fmt.Sprintf("*l%d, ", n), 8), n)
	}
	return text.String()
}

// repeats is YAML that says one long text under many names.
func repeats() string {
	var text strings.Builder
	fmt.Fprintf(&text, "web: &web %s\n", strings.Repeat("x", 120_000))
	for n := range 9_000 {
		fmt.Fprintf(&text, "w%d: *web\n", n)
	}
	return text.String()
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

// maxMemory bounds the memory of the runner, in KiB of address space: Go takes more of that than it uses.
const maxMemory = 1 << 20

// stageQuickly stages with little time and memory.
func (c *container) stageQuickly() (int, runspec.Result) {
	c.t.Helper()
	cmd := c.command(nil, "stage")
	cmd.Args = append([]string{"bash", "-c", fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, maxMemory)}, cmd.Args...)
	cmd.Path = "/bin/bash"
	begun := time.Now()
	require.NoError(c.t, cmd.Start())
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	require.Less(c.t, time.Since(begun), patience/2)
	return cmd.ProcessState.ExitCode(), c.result()
}

const wordsProcfile = "Invalid Procfile format.  Please ensure it is a valid YAML hash"

func TestStageOfAHostileProcfile(t *testing.T) {
	t.Parallel()
	tooMuch := "The Procfile cannot be read: its process types together have more than 65536 bytes"
	tests := map[string]struct{ procfile, compile, message string }{
		"text":            {"just text", "true", wordsProcfile},
		"list":            {"- web: x", "true", wordsProcfile},
		"nothing":         {"", "true", wordsProcfile},
		"no YAML":         {"web: [a", "true", wordsProcfile},
		"no text":         {"web: \xff\xfe\x00", "true", wordsProcfile},
		"map of maps":     {"web: {command: x}", "true", wordsProcfile},
		"two documents":   {"web: x\n---\nweb: y\n", "true", ""},
		"itself":          {"web: &a [*a]", "true", wordsProcfile},
		"deep":            {"web: " + strings.Repeat("[", 100_000), "true", wordsProcfile},
		"deep maps":       {strings.Repeat("{web: ", 20_000), "true", wordsProcfile},
		"merges":          {merges(20), "true", wordsProcfile},
		"lists":           {lists(20), "true", wordsProcfile},
		"repeats":         {repeats(), "true", tooMuch},
		"long":            {"web: " + strings.Repeat("x", 70_000), "true", tooMuch},
		"huge":            {"web: " + strings.Repeat("x", 2<<20), "true", "The Procfile cannot be read: it is larger than 262144 bytes"},
		"link out":        {"", `ln -sf /etc/passwd "$1/Procfile"`, "The Procfile cannot be read: it is a link that leads out of the app, or nowhere"},
		"link to pipe":    {"", `mkfifo "$1/p"; ln -sf p "$1/Procfile"`, "The Procfile cannot be read: it is not a file"},
		"link in a ring":  {"", `rm "$1/Procfile"; ln -s Procfile "$1/Procfile"`, "The Procfile cannot be read: it is a link that leads out of the app, or nowhere"},
		"pipe":            {"", `rm "$1/Procfile"; mkfifo "$1/Procfile"`, "The Procfile cannot be read: it is not a file"},
		"directory":       {"", `rm "$1/Procfile"; mkdir "$1/Procfile"`, "The Procfile cannot be read: it is not a file"},
		"link to nothing": {"", `ln -sf none "$1/Procfile"`, ""},
		"link within":     {"", `echo 'web: y' > "$1/other"; ln -sf other "$1/Procfile"`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.pack(files{"Procfile": test.procfile})
			c.order(nil, classic("echo P", test.compile, releaseWeb))
			status, result := c.stageQuickly()
			if test.message == "" {
				require.Equal(t, runspec.ExitOK, status, c.log())
				return
			}
			require.NotNil(t, result.Error)
			require.Equal(t, runspec.ErrStaging, result.Error.Type)
			require.Equal(t, test.message, result.Error.Message)
			require.Equal(t, runspec.ExitStaging, status)
		})
	}
}

func TestStageOfAHostileRelease(t *testing.T) {
	t.Parallel()
	const noMap = "Release info failed: bin/release did not print a YAML hash"
	tests := map[string]struct{ printed, message string }{
		"text":           {"just text", noMap},
		"list":           {"- a", noMap},
		"no YAML":        {"default_process_types: [", noMap},
		"wrong types":    {"default_process_types: [web]", noMap},
		"merges":         {"default_process_types:\n" + indented(merges(20)), noMap},
		"lists":          {"default_process_types:\n" + indented(lists(20)), noMap},
		"lists unasked":  {"config_vars:\n" + indented(lists(20)), ""},
		"merges unasked": {"config_vars:\n" + indented(merges(20)), ""},
		"merges on top":  {merges(20), noMap},
		"deep":           {strings.Repeat("[", 100_000), noMap},
		"repeats": {
			"default_process_types:\n" + indented(repeats()),
			"Release info failed: what bin/release printed is too much: its process types together have more than 65536 bytes",
		},
		"huge": {"default_process_types: {web: " + strings.Repeat("x", 2<<20) + "}", "Release info failed: bin/release printed more than 262144 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.pack(files{"a": ""})
			pack := classic("echo P", "true", `cat "$(dirname "$0")/../printed"`)
			pack["printed"] = test.printed
			c.order(nil, pack)
			status, result := c.stageQuickly()
			if test.message == "" {
				require.Equal(t, runspec.ExitOK, status, c.log())
				return
			}
			require.NotNil(t, result.Error)
			require.Equal(t, runspec.ErrRelease, result.Error.Type)
			require.Equal(t, test.message, result.Error.Message)
			require.Equal(t, runspec.ExitRelease, status)
		})
	}
}

// The largest process types that are let through make a result that the node reads.
func TestStageOfTheLargestProcfile(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	// Six bytes of JSON for each.
	c.pack(files{"Procfile": `web: "` + strings.Repeat(`\x01`, 65_000) + `"`})
	c.order(nil, classic("echo P", "true", releaseWeb))
	status, result := c.stageQuickly()
	require.Equal(t, runspec.ExitOK, status, c.log())
	require.Len(t, result.StartCommand, 65_000)
}

// What bin/release answers without end is neither kept nor waited for.
func TestStageOfAnEndlessRelease(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(func(s *runspec.Spec) { s.TimeoutSeconds = 2 }, classic("echo P", "true", "yes"))
	status, result := c.stageQuickly()
	require.Equal(t, runspec.ExitTimeExpired, status)
	require.Equal(t, runspec.ErrTimeExpired, result.Error.Type)
}
