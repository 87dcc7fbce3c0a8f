#!/usr/bin/env bash
# A worker that needs nothing but bash and coreutils: it says each $INTERVAL seconds (default 5) that it is there.
set -u

round=0
napping=

goodbye() {
  echo "told to end after $round rounds"
  [[ -z $napping ]] || kill "$napping" 2>/dev/null
  exit 0
}
trap goodbye TERM INT

echo "instance ${CF_INSTANCE_INDEX:-?} begins"
while true; do
  round=$((round + 1))
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) round $round"
  # A shell that waits hears a signal at once; one that runs a program in the foreground does not.
  sleep "${INTERVAL:-5}" &
  napping=$!
  wait "$napping"
done
