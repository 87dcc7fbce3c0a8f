#!/usr/bin/env bash
# Every check that needs no test to run: lint.sh MODULE... (paths from the repository's root).
# The environment says where the tools are (TOOLS) and which go to use (GO); `make lint` builds the first.
# All checks run, whatever fails; the exit status is 0 only when each of them passed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
readonly go=${GO:-go} tools=${TOOLS:-$PWD/bin/tools}
failed=()

# check TITLE COMMAND... runs one check and remembers how it ended.
check() {
  local title=$1
  shift
  printf '== %s\n' "$title"
  "$@" || failed+=("$title")
}

in_dir() { (cd "$1" && shift && "$@"); }

# database_answers tells whether govulncheck's database, which is on the network, can be reached: asked about one small
# program, in a bounded time. Exit status 3 is govulncheck's for "found some", an answer too.
database_answers() {
  local status=0
  why=$(timeout --kill-after=5 60 "$tools/govulncheck" -mode=binary "$tools/workflowcheck" 2>&1 >/dev/null) || status=$?
  [ $status -eq 0 ] || [ $status -eq 3 ]
}

for module in "$@"; do
  check "$module: go vet" in_dir "$module" "$go" vet ./...
  check "$module: golangci-lint" in_dir "$module" "$tools/golangci-lint" run --timeout 20m ./...
  check "$module: go mod tidy -diff" in_dir "$module" env GOWORK=off "$go" mod tidy -diff
done
check "workflowcheck" "$tools/workflowcheck" -config workflowcheck.config.yaml ./workflows/...
if database_answers; then
  for module in "$@"; do
    check "$module: govulncheck" in_dir "$module" "$tools/govulncheck" ./...
  done
else
  printf '== govulncheck\nskipped: its database cannot be reached: %s\n' "${why:-no answer}"
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFAILED:\n'
  printf '  %s\n' "${failed[@]}"
  exit 1
fi
printf '\nlint: all checks passed\n'
