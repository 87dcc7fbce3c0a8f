package activities

import (
	"strings"

	"github.com/durable-dea/dea/internal/runspec"
)

// findRoot sets R to where the container's root is as its jobs see it. Jobs begin in their home directory, which is
// /home/vcap in a container of its own root and a directory of the machine's on the process backend. The first
// argument is the same, since an app may have a variable R of its own.
const findRoot = `R="${HOME%/home/vcap}"; set -- "$R"`

// claimLaunch makes the marker of a launch, and ends the script when it is there already.
const claimLaunch = `(set -C; : > "$R` + runspec.PathLaunched + `") 2>/dev/null || exit 125`

// noteInLog is a line of bash that adds a line to an app's log before the app does. An app can do without it.
func noteInLog(line string) string {
	return `{ mkdir -p "$1` + runspec.PathLogs + `" && echo ` + quote(line) + ` >> "$1` + runspec.PathStderr + `"; } 2>/dev/null`
}

// runnerScript is a bash script for a job: prelude lines, then the runner in place of the shell. Arguments are
// quoted; what prelude holds is the caller's to quote.
func runnerScript(prelude []string, arguments ...string) string {
	lines := append([]string{findRoot}, prelude...)
	words := []string{"exec", `"$1` + runspec.PathRunner + `"`}
	for i, argument := range arguments {
		words = append(words, quote(argument))
		if i == 0 {
			words = append(words, "--root", `"$1/"`)
		}
	}
	return strings.Join(append(lines, strings.Join(words, " ")), "\n") + "\n"
}

// hookScript is a bash script for a job that runs a hook, of which text is the script, once in a container: at most once, as
// the mark is made before. An operator's hook is written to run once, as it did in dea_ng, so that one which was cut off by
// its worker's death is better left than begun again. A job that finds the mark waits for the hook's end and ends with its
// status, or with 255 where it was killed. Only where there is no room for a mark the hook may run twice, rather than never.
//
// What the hook says is for the app's user alone, since it may tell the app's environment.
func hookScript(name, exports, text string) string {
	return findRoot + `
exec > /dev/null 2>&1
mark="$1` + runspec.PathHook(name) + `" said="$1` + runspec.PathHooksLog + `"
if echo $$ > "$mark.$$" && ln "$mark.$$" "$mark" || [ ! -e "$mark" ]; then
rm -f "$mark.$$"
(: >> "$said") || said=/dev/null
(
` + exports + `
eval ` + quote(text) + `
) < /dev/null >> "$said" 2>&1
status=$?
echo $status > "$mark.ended" && mv -f "$mark.ended" "$mark.status"
exit $status
fi
rm -f "$mark.$$"
until [ -s "$mark.status" ] || ! kill -0 "$(cat "$mark")"; do sleep 0.1; done
exit "$(cat "$mark.status" || echo 255)"
`
}

// quote makes one word of bash out of any text without a NUL.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
