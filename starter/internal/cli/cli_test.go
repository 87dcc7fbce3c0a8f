package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/starter/internal/applogs"
	"github.com/durable-dea/dea/starter/internal/render"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// result is what a command line gave.
type result struct {
	code     int
	out, err string
}

// starter carries out one command line, with an environment that knows no platform but the one given.
func starter(t *testing.T, env map[string]string, in string, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	if env["XDG_CONFIG_HOME"] == "" {
		nowhere := t.TempDir()
		env = merged(env, "XDG_CONFIG_HOME", nowhere)
	}
	code := Run(context.Background(), Process{
		Args: args, In: strings.NewReader(in), Out: &out, Err: &err,
		Env: func(name string) string { return env[name] }, Now: time.Now,
	})
	return result{code, out.String(), err.String()}
}

func merged(env map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	for k, v := range env {
		all[k] = v
	}
	return all
}

func TestEveryCommandHelps(t *testing.T) {
	var visit func(*cobra.Command)
	n := 0
	visit = func(c *cobra.Command) {
		n++
		require.NotEmpty(t, c.Short, c.CommandPath())
		require.NotEmpty(t, c.Long, c.CommandPath())
		require.NotEmpty(t, c.Example, c.CommandPath())
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&session{process: Process{}, format: render.Text}))
	require.Greater(t, n, 15)
}

// TestExamplesAreTrue parses the flags of every example, so that no help shows what does not work.
func TestExamplesAreTrue(t *testing.T) {
	root := newRoot(&session{process: Process{}, format: render.Text})
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			_, call, found := strings.Cut(line, "starter ")
			if !found {
				continue
			}
			call, _, _ = strings.Cut(call, "|")
			call, _, _ = strings.Cut(call, ")")
			call, _, _ = strings.Cut(call, ">")
			fresh := newRoot(&session{process: Process{}, format: render.Text})
			cmd, rest, err := fresh.Find(shellWords(call))
			require.NoError(t, err, line)
			require.NotSame(t, fresh, cmd, line)
			require.NoError(t, cmd.ParseFlags(rest), line)
			require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), line)
			require.NoError(t, cmd.ValidateRequiredFlags(), line)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
}

// shellWords splits a line of shell at blanks outside of double quotes.
func shellWords(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\n')
	})
}

func TestUsageErrors(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		args  []string
		words string
	}{
		"unknown command":     {[]string{"psh"}, "Did you mean this?"},
		"unknown help":        {[]string{"help", "psh"}, `unknown command "psh"`},
		"unknown completions": {[]string{"completion", "tcsh"}, "tcsh"},
		"unknown flag":        {[]string{"apps", "--no"}, "unknown flag"},
		"no name to ps":       {[]string{"ps"}, "starter ps NAME"},
		"too many to apps":    {[]string{"apps", "x"}, "takes no arguments"},
		"format":              {[]string{"apps", "-o", "xml"}, "there are text and json"},
		"push without source": {[]string{"push", "--name", "a"}, "starter push DIR|ZIP"},
		"push without name":   {[]string{"push", dir}, "--name"},
		"push of a bad name":  {[]string{"push", dir, "--name", "Hello_World"}, "host name"},
		"push with no unit":   {[]string{"push", dir, "--name", "a", "--memory", "256"}, "write 256M"},
		"push of too many":    {[]string{"push", dir, "--name", "a", "-i", "501"}, "from 0 to 500"},
		"push, half a second": {[]string{"push", dir, "--name", "a", "--health-check-timeout", "1500ms"}, "whole seconds"},
		"push with no domain": {[]string{"push", dir, "--name", "a", "--domain", ""}, "--no-route"},
		"push without time":   {[]string{"push", dir, "--name", "a", "--timeout", "0s"}, "--timeout must be above 0"},
		"stop without time":   {[]string{"stop", "a", "--timeout", "-1s"}, "--timeout must be above 0"},
		"scale to a word":     {[]string{"scale", "a", "many"}, "no number of instances"},
		"scale without":       {[]string{"scale", "a"}, "NAME INSTANCES"},
		"scale twice":         {[]string{"scale", "a", "3", "--instances", "3"}, "scale NAME"},
		"stage without file":  {[]string{"stage"}, "file"},
		"stage a missing one": {[]string{"stage", "-f", filepath.Join(dir, "no")}, "open the request"},
		"logs of no stream":   {[]string{"logs", "a", "--stream", "in"}, "--stream must be"},
		"logs of no lines":    {[]string{"logs", "a", "-n", "0"}, "--lines must be"},
		"logs of no index":    {[]string{"logs", "a", "--index", "-1"}, "--index must be"},
		"files of nothing":    {[]string{"files"}, "starter files NAME INDEX [PATH]"},
		"files of no index":   {[]string{"files", "a"}, "starter files NAME INDEX [PATH]"},
		"files of too much":   {[]string{"files", "a", "0", "b", "c"}, "starter files NAME INDEX [PATH]"},
		"files, no number":    {[]string{"files", "a", "logs"}, `INDEX must be a number from 0, not "logs"`},
		"files, below 0":      {[]string{"files", "a", "--", "-1"}, "INDEX must be a number from 0"},
		"files, blank path":   {[]string{"files", "a", "0", ""}, "PATH is blank"},
		"files, bad name":     {[]string{"files", "a'b", "0"}, "droplet may hold only"},
		"files, no id":        {[]string{"files", "--instance", ""}, "instance_id is missing"},
		"files, id and name":  {[]string{"files", "a", "0", "--instance", "i"}, "--instance ID and [PATH] alone"},
		"files, bad part":     {[]string{"files", "a", "0", "b", "--bytes", "1-2,3-4"}, "--bytes must be FIRST-LAST"},
		"files, part of all":  {[]string{"files", "a", "0", "b", "--bytes", "-"}, "--bytes must be FIRST-LAST"},
		"exec, long command":  {[]string{"exec", "a", "0", "--", strings.Repeat("x", 40_000)}, "standard input"},
		"files, part, follow": {[]string{"files", "a", "0", "b", "-f", "--bytes", "-1"}, "leave one out"},
		"files, lines of all": {[]string{"files", "a", "0", "b", "-n", "5"}, "--lines is where --follow begins"},
		"files, no lines":     {[]string{"files", "a", "0", "b", "-f", "-n", "0"}, "--lines must be"},
		"staging and index":   {[]string{"logs", "a", "--staging", "--index", "0"}, "--index is about instances"},
		"staging and stream":  {[]string{"logs", "a", "--staging", "--stream", "all"}, "--stream is about instances"},
		"logs of no time":     {[]string{"logs", "a", "--since", "-5m"}, "--since must be"},
		"staging and since":   {[]string{"logs", "a", "--staging", "--since", "5m"}, "--since is about instances"},
		"staging of no lines": {[]string{"logs", "a", "--staging", "-n", "0"}, "--lines must be"},
		"push, blank pack":    {[]string{"push", dir, "--name", "a", "-b", "go", "-b", ""}, "--buildpack 2 of 2 is blank"},
		"push, bad git URL":   {[]string{"push", dir, "--name", "a", "-b", "ext::x://y"}, "--buildpack must be a git URL"},
		"instances of none":   {[]string{"instances"}, "starter instances NAME"},
		"instances, no state": {[]string{"instances", "a", "--state", "running,napping"}, "states[1] is no state of an instance"},
		"instances, no index": {[]string{"instances", "a", "--index", "-1"}, "indices[0] must be from 0"},
		"stop no version":     {[]string{"stop-instances", "a", "--version", "a b"}, "version may hold only"},
		"stop of bad name":    {[]string{"stop-instances", "a'b", "--all"}, "droplet may hold only"},
		"stop of no choice":   {[]string{"stop-instances", "a"}, "give a flag that chooses some, or --all"},
		"stop all and one":    {[]string{"stop-instances", "a", "--all", "--index", "1"}, "--all is for all instances"},
		"stop of no id":       {[]string{"stop-instances", "a", "--index", "1", "--instance", ""}, "--instance is blank"},
		"instances of no id":  {[]string{"instances", "a", "--instance", ","}, "instance_ids[0] is missing"},
		"no state":            {[]string{"instances", "a", "--state", ""}, "--state is blank"},
		"no version":          {[]string{"instances", "a", "--version", ""}, "--version is blank"},
		"a blank name":        {[]string{"ps", " "}, "NAME is blank"},
		"a blank node":        {[]string{"drain", ""}, "NODE is blank"},
		"follow no id":        {[]string{"follow", "--instance", ""}, "instance_id is missing"},
		"follow nothing":      {[]string{"follow"}, "starter follow NAME"},
		"follow both":         {[]string{"follow", "a", "--instance", "i"}, "takes no arguments"},
		"routes, no route":    {[]string{"routes", "a"}, "NAME ROUTE..., or with --none"},
		"routes and none":     {[]string{"routes", "a", "b.org", "--none"}, "NAME ROUTE..., or with --none"},
		"routes of no app":    {[]string{"routes", "--none"}, "NAME ROUTE..., or with --none"},
		"routes, a URL":       {[]string{"routes", "a", "b.org", "http://c.org"}, "uris[1] must be a host name"},
		"evacuate nothing":    {[]string{"evacuate"}, "starter evacuate NODE"},
		"start no file":       {[]string{"start-instance"}, "file"},
		"start a missing one": {[]string{"start-instance", "-f", filepath.Join(dir, "no")}, "open the request"},
		"start without time":  {[]string{"start-instance", "-f", "-", "--timeout", "0s"}, "--timeout must be above 0"},
		"start nothing":       {[]string{"start-instance", "-f", "-"}, "no JSON"},
		"no configuration":    {[]string{"apps"}, "encryption_key_file"},
		"a missing file":      {[]string{"apps", "--config", filepath.Join(dir, "no.yml")}, "no.yml"},
	} {
		t.Run(name, func(t *testing.T) {
			r := starter(t, nil, "", test.args...)
			require.Equal(t, exitUsage, r.code, r.err)
			require.Contains(t, r.err, test.words)
			require.Empty(t, r.out)
			require.NotContains(t, r.err, "panic")
			if !strings.Contains(r.err, "--config FILE") && !strings.HasPrefix(name, "push") { // those say it themselves
				require.Contains(t, r.err, "--help` tells how it is used")
			}
		})
	}
}

func TestFailureIsJSONToo(t *testing.T) {
	r := starter(t, nil, "", "ps", "hello", "--output", "json")
	var failure render.Failure
	require.NoError(t, json.Unmarshal([]byte(r.out), &failure))
	require.Equal(t, exitUsage, r.code)
	require.Equal(t, exitUsage, failure.Error.ExitCode)
	require.Contains(t, failure.Error.Message, "encryption_key_file")
}

// TestFailureIsALineWhereTheAnswerIsLines, for programs that read one after the other.
func TestFailureIsALineWhereTheAnswerIsLines(t *testing.T) {
	for _, line := range []string{"follow hello -o json", "follow --instance i -o json", "logs hello -f -o json", "files hello 0 log -f -o json"} {
		r := starter(t, nil, "", strings.Fields(line)...)
		var failure render.Failure
		require.NoError(t, json.Unmarshal([]byte(r.out), &failure), line)
		require.Equal(t, exitUsage, failure.Error.ExitCode)
		require.Equal(t, 1, strings.Count(r.out, "\n"), line)
	}
}

func TestWrongUsageIsJSONToo(t *testing.T) {
	for _, line := range []string{"apps --no -o json", "psh --output json", "ps --output=json", "-ojson apps x"} {
		r := starter(t, nil, "", strings.Fields(line)...)
		var failure render.Failure
		require.NoError(t, json.Unmarshal([]byte(r.out), &failure), line)
		require.Equal(t, exitUsage, failure.Error.ExitCode, line)
	}
	r := starter(t, nil, "", "apps", "--no", "--", "-o", "json")
	require.Empty(t, r.out)
}

func TestStageTellsWhatIsWrongWithARequest(t *testing.T) {
	for in, wanted := range map[string]string{
		`{"app_id"`:             "no JSON",
		`{"secret":"hush"`:      "no JSON",
		`{"properties":"hush"}`: "the request's properties has a text where an object must be",
		`{"app_id":"` + strings.Repeat("x", api.MaxStagingRequestBytes) + `"}`: "longer than",
	} {
		r := starter(t, nil, in, "stage", "-f", "-")
		require.Equal(t, exitUsage, r.code)
		require.Contains(t, r.err, wanted, in)
		require.NotContains(t, r.err, "hush")
		require.Contains(t, r.err, "starter stage --help")
	}
}

// TestStartInstanceTellsWhatIsWrongWithAMessage: before it looks for the platform, and without what stands in the message.
func TestStartInstanceTellsWhatIsWrongWithAMessage(t *testing.T) {
	for in, wanted := range map[string]string{
		`{"secret":"hush"`:                        "no JSON",
		`{"env":"hush"}`:                          "the request's env has a text where a list of texts must be",
		`{"droplet":"hush","application_id":"x"}`: "application_id says something else than droplet",
		`{"droplet":"a","env":["hush"]}`:          "env[0] must be NAME=value",
		`{}`:                                      "executableUri is missing",
	} {
		r := starter(t, nil, in, "start-instance", "-f", "-")
		require.Equal(t, exitUsage, r.code)
		require.Contains(t, r.err, wanted, in)
		require.NotContains(t, r.err, "hush")
		require.Contains(t, r.err, "starter start-instance --help")
	}
}

// TestStartInstanceTellsWhatIsWrongWithAnID: before it looks for the platform.
func TestStartInstanceTellsWhatIsWrongWithAnID(t *testing.T) {
	const message = `{"droplet":"a","version":"v","stack":"s","sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709",
		"executableUri":"http://cc/d","limits":{"mem":64,"disk":64}}`
	for id, wanted := range map[string]string{
		"":          "instance_id is missing",
		"a/b":       "instance_id may hold only",
		"staging-1": `may not begin with "staging-"`,
	} {
		r := starter(t, nil, message, "start-instance", "-f", "-", "--id", id)
		require.Equal(t, exitUsage, r.code)
		require.Contains(t, r.err, wanted, id)
	}
	r := starter(t, nil, message, "start-instance", "-f", "-", "--id", "hello-1")
	require.Contains(t, r.err, "encryption_key_file", "it is right")
}

func TestRequestGetsATask(t *testing.T) {
	read := func(text string) api.StagingRequest {
		s := &session{process: Process{In: strings.NewReader(text)}}
		request, err := s.readRequest(t.Context(), "-")
		require.NoError(t, err)
		return request
	}
	request := read(`{"app_id":"a","unknown":[1],"properties":{"meta":{"command":"run"}}}`)
	require.NotEmpty(t, request.TaskID)
	require.Equal(t, "run", request.Properties.Meta.Command)
	require.NotEmpty(t, read(`{"task_id":null}`).TaskID)
	require.Equal(t, "mine", read(`{"task_id":"mine"}`).TaskID)
}

// TestLinesOfAStaging: as they are where no terminal is, and as objects for programs.
func TestLinesOfAStaging(t *testing.T) {
	const line = "\x1b[31mred\x1b]0;title\x07 <&>"
	for format, want := range map[render.Format]string{
		render.Text: line + "\n",
		render.JSON: `{"text":"\u001b[31mred\u001b]0;title\u0007 <&>"}` + "\n",
	} {
		var out bytes.Buffer
		s := &session{process: Process{Out: &out}, format: format}
		s.emitStaging()(line)
		require.Equal(t, want, out.String())
	}
	var out bytes.Buffer
	s := &session{process: Process{Out: &out}, format: render.Text}
	at := time.Date(2026, 11, 28, 12, 0, 0, 123_000_000, time.Local)
	s.emit()(applogs.Line{Time: at, Index: 1, Stream: applogs.Stderr, Text: line})
	require.Equal(t, at.Format(logTime)+" [APP/1] ERR "+line+"\n", out.String())
	out.Reset()
	s.format = render.JSON
	s.emit()(applogs.Line{Time: at.UTC(), App: "a", Index: 1, Instance: "i", Stream: applogs.Stderr, Text: "odd \xff"})
	require.Equal(t, `{"time":"`+at.UTC().Format(time.RFC3339Nano)+`","app":"a","index":1,"instance":"i","stream":"stderr","text":"odd \ufffd"}`+"\n",
		out.String())
}

// unreachable is a configuration whose Temporal and cloud controller answer nothing.
func unreachable(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	_, err := codec.CreateKeyFile(key)
	require.NoError(t, err)
	file := filepath.Join(dir, "client.yml")
	require.NoError(t, os.WriteFile(file, []byte("temporal:\n  address: 127.0.0.1:1\n  encryption_key_file: "+key+
		"\ncc_url: http://staging:swordfish@127.0.0.1:1\n"), 0o600))
	return map[string]string{"DEA_CONFIG": file}
}

func TestUnreachablePlatform(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a connection that does not come")
	}
	r := starter(t, unreachable(t), "", "apps")
	require.Equal(t, exitUnreachable, r.code, r.err)
	require.Contains(t, r.err, "127.0.0.1:1")
	require.NotContains(t, r.err, "swordfish")
}

func TestHelpNamesTheExitCodes(t *testing.T) {
	r := starter(t, nil, "", "help")
	require.Zero(t, r.code)
	for _, code := range []string{"0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130 "} {
		require.Contains(t, r.out, "\n  "+code)
	}
}

func TestCompletions(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := starter(t, nil, "", "completion", shell)
		require.Zero(t, r.code)
		require.Contains(t, r.out, "starter")
	}
	// Without a platform there is nothing to offer, and no error in the middle of a command line.
	r := starter(t, nil, "", cobra.ShellCompRequestCmd, "ps", "")
	require.Zero(t, r.code)
	require.Contains(t, r.out, ":4")
}

// TestCompletionOffersFilesWhereThereAreFiles: and nowhere else, and the words of flags that have a few.
func TestCompletionOffersFilesWhereThereAreFiles(t *testing.T) {
	for line, want := range map[string]string{
		"push":              ":0\n",
		"push --name":       ":4\n",
		"push x --output":   "text\njson\n:4\n",
		"apps -o":           "text\njson\n:4\n",
		"logs a --stream":   "all\nstdout\nstderr\n:4\n",
		"logs a --staging":  ":4\n",
		"push x -b":         ":4\n",
		"stage -f":          ":0\n",
		"start-instance -f": ":0\n",
		"routes a":          ":4\n",
		"evacuate n":        ":4\n",

		"stop-instances a --instance": ":4\n",
		"instances --instance":        ":4\n",
		"instances a --state":         "born\nstarting\nrunning\nresuming\nevacuating\nstopping\nstopped\ncrashed\ndeleted\n:4\n",
		"ps --config":                 ":0\n",
		"scale a":                     ":4\n",
		"completion bash x":           ":4\n",
	} {
		args := append([]string{cobra.ShellCompNoDescRequestCmd}, strings.Fields(line)...)
		r := starter(t, nil, "", append(args, "")...)
		require.Zero(t, r.code, line)
		require.Equal(t, want, r.out, line)
	}
}

func TestVersion(t *testing.T) {
	r := starter(t, nil, "", "version", "-o", "json")
	var v render.Version
	require.NoError(t, json.Unmarshal([]byte(r.out), &v))
	require.NotEmpty(t, v.Go)
}
