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

// quote makes one word of bash out of any text without a NUL.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
