#!/usr/bin/env bash
# Fuzzes one target after the other: fuzz.sh TIME PACKAGE... (a Go duration, for each target; package patterns).
# The targets are all functions Fuzz* of the packages. Every target has its turn, whatever is found before; the exit
# status is 0 only when nothing is. What is found lies in the package's testdata/fuzz: it belongs into the repository,
# where every `go test` tries it again. What is learnt on the way stays in Go's build cache for the next time.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly go=${GO:-go} time=${1:?usage: fuzz.sh TIME PACKAGE...}
shift

# A worker that is stopped in the middle leaves its files.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

# targets answers lines "PACKAGE TARGET". `go test -list` would link each package's tests for that.
targets() {
  local package dir file
  "$go" list -f '{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}} {{.}}
{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}} {{.}}
{{end}}' "$@" | while read -r package dir file; do
    [ -z "$file" ] || sed -n "s|^func \(Fuzz[A-Za-z0-9_]*\)(.*testing\.F).*|$package \1|p" "$dir/$file"
  done
}

# only_time_was_over tells from what was found the end of the time, which Go before 1.27 may report as a failure
# (golang/go#75804): it says so, in one line, and nothing else.
only_time_was_over() {
  grep -A1 '^--- FAIL: Fuzz' "$1" | tail -n +2 | grep -qx '    context deadline exceeded' &&
    ! grep -q -e 'Failing input' -e '^panic:' -e 'fuzzing process' "$1"
}

# fuzz PACKAGE TARGET. To make a find smaller must not take the time that there is to find some.
fuzz() {
  local log=$TMPDIR/log
  "$go" test -vet=off -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 1s "$1" </dev/null 2>&1 | tee "$log" ||
    only_time_was_over "$log"
}

all=$(targets "$@")
[ -n "$all" ] || { echo "fuzz: no targets in $*" >&2; exit 1; }
failed=()
while read -r package target; do
  printf '== %s %s\n' "$package" "$target"
  fuzz "$package" "$target" || failed+=("$package $target")
done <<<"$all"

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFAILED:\n'
  printf '  %s\n' "${failed[@]}"
  exit 1
fi
