package activities

import (
	"github.com/durable-dea/dea/internal/runspec"
)

// noteInLog is a line of bash that adds a line to an app's log before the app does. An app can do without it.
func noteInLog(line string) string {
	return `{ mkdir -p "$1` + runspec.PathLogs + `" && echo ` + runspec.Quote(line) + ` >> "$1` + runspec.PathStderr + `"; } 2>/dev/null`
}

// hookScript is a bash script for a job that runs a hook, of which text is the script, once in a container: at most once, as
// the mark is made before. An operator's hook is written to run once, as it did in dea_ng, so that one which was cut off by
// its worker's death is better left than begun again. A job that finds the mark waits for the hook's end and ends with its
// status, or with 255 where it was killed. Only where there is no room for a mark the hook may run twice, rather than never.
//
// What the hook says is for the app's user alone, since it may tell the app's environment.
func hookScript(name, exports, text string) string {
	return runspec.FindRoot + `
exec > /dev/null 2>&1
mark="$1` + runspec.PathHook(name) + `" said="$1` + runspec.PathHooksLog + `"
if echo $$ > "$mark.$$" && ln "$mark.$$" "$mark" || [ ! -e "$mark" ]; then
rm -f "$mark.$$"
(: >> "$said") || said=/dev/null
(
` + exports + `
eval ` + runspec.Quote(text) + `
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
