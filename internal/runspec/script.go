package runspec

import "strings"

// FindRoot is a line of bash that sets R to where the container's root is as its jobs see it. Jobs begin in their home
// directory, which is /home/vcap in a container of its own root and a directory of the machine's on the process backend. The
// first argument is the same, since an app may have a variable R of its own.
const FindRoot = `R="${HOME%/home/vcap}"; set -- "$R"`

// ClaimLaunch is a line of bash that makes the marker of a launch, with the process that becomes the launcher, and ends the
// script when the marker is there already.
const ClaimLaunch = `(set -C; echo $$ > "$R` + PathLaunched + `") 2>/dev/null || exit 125`

// RunnerScript is a bash script for a job: prelude lines, then the runner in place of the shell. Arguments are
// quoted; what prelude holds is the caller's to quote.
func RunnerScript(prelude []string, arguments ...string) string {
	lines := append([]string{FindRoot}, prelude...)
	words := []string{"exec", `"$1` + PathRunner + `"`}
	for i, argument := range arguments {
		words = append(words, Quote(argument))
		if i == 0 {
			words = append(words, "--root", `"$1/"`)
		}
	}
	return strings.Join(append(lines, strings.Join(words, " ")), "\n") + "\n"
}

// Quote makes one word of bash out of any text without a NUL.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
