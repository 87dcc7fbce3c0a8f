#!/usr/bin/env bash
# The main job, shown: a stack of its own in tmp/, an app pushed to it with two instances, each asked over HTTP,
# and the workflows that did it. Needs what `make build` made, and bash.
#
#   demo.sh [APP]            stays up until Ctrl-C
#   demo.sh --check [APP]    ends at once, and fails unless everything that it started is gone
#
# APP is the directory of another app, which must answer over HTTP.
# DEA_PORT_BASE is the first of the ports in a row that the stack takes; without it free ones are looked for.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

check=false
if [ "${1:-}" = --check ]; then
  check=true
  shift
fi
app=${1:-examples/hello}
name=$(basename "$app")

mkdir -p tmp
data=$(mktemp -d "$PWD/tmp/demo.XXXXXX")
ready=$data.json said=$data.log
devserver='' ports=()

# stop ends the stack the way a person does, waits for it, and looks for leftovers. The data goes with it; the log stays
# where not all was well.
stop() {
  local status=$?
  trap - EXIT
  # Whatever fails from here on, even that nobody reads any more, the rest is still ended.
  trap '' INT TERM PIPE
  set +e
  if [ -n "$devserver" ]; then
    title "Stopping"
    kill -INT "$devserver" 2>/dev/null || true
    wait "$devserver" || status=1
  fi
  nothing_left "$data" "$data/nodes/*/depot/containers/*" "${ports[@]}" || status=1
  rm -rf "$data" "$ready"
  if [ $status -eq 0 ]; then
    rm -f "$said"
    printf '%sNothing is left running.%s\n' "$green" "$plain"
  else
    printf '%sNot all was well: %s%s\n' "$red" "$said" "$plain" >&2
  fi
  exit $status
}
trap stop EXIT
trap 'exit 1' TERM
# Ctrl-C is how the demo ends, and no failure once it is up.
up=0
trap 'exit $((up ? 0 : 130))' INT

title "Starting a Durable DEA"
# A job of its own, so that Ctrl-C reaches this script alone, which then stops the stack in order.
set -m
bin/devserver --data "$data" --port-base "${DEA_PORT_BASE:-0}" --output json >"$ready" 2> >(tee "$said" | sed -u 's/^/  /' >&2) &
devserver=$!
set +m
while [ ! -s "$ready" ]; do
  kill -0 "$devserver" 2>/dev/null || fail "The stack did not start."
  sleep 0.1
done
ui=$(field ui <"$ready")
config=$(field config <"$ready")
for part in temporal ui codec cloud_controller router nats files_url; do
  for address in $(field $part <"$ready"); do
    ports+=("$(port "$address")")
  done
done

title "Pushing $app"
bin/starter --config "$config" push "$app" --name "$name" --instances 2

title "Asking each instance"
instances=$(bin/starter --config "$config" ps "$name" --output json | field address)
[ "$(wc -w <<<"$instances")" -eq 2 ] || fail "There should be two instances."
for address in $instances; do
  ports+=("$(port "$address")")
  answer=$(get "http://$address/")
  printf '  http://%s  %s%s%s\n' "$address" "$green" "${answer%%$'\n'*}" "$plain"
done

title "Asking the app by its route"
# The router hears of an instance when it is ready, and may do so a moment later than we.
route=http://$name.localhost:$(port "$(field router <"$ready")")
until_true 10 get "$route/" >/dev/null 2>&1 || fail "$(get "$route/" 2>&1)"
answer=$(get "$route/")
printf '  %s  %s%s%s\n' "$route" "$green" "${answer%%$'\n'*}" "$plain"

title "The workflows that did it"
# Visibility is up to two seconds behind.
list_workflows() {
  workflows=$(get "$ui/api/v1/namespaces/default/workflows" | tr -d '\n' | sed 's/{ *"execution"/\n&/g')
  local kind
  for kind in StageApp EvaluateHealth RunInstance Node; do
    grep -q "\"name\": *\"$kind\"" <<<"$workflows" || return 1
  done
}
until_true 10 list_workflows || fail "Not every kind of workflow is in the list."
while read -r line; do
  kind=$(field name <<<"$line" | head -n 1)
  [ -z "$kind" ] || printf '  %-16s%s\n' "$kind" "$(field workflowId <<<"$line" | head -n 1)"
done <<<"$workflows"
printf '  Temporal UI: %s%s/namespaces/default/workflows%s\n' "$bold" "$ui" "$plain"

if ! $check; then
  printf '\nIt stays up until Ctrl-C. Meanwhile:\n  bin/starter --config %s --help\n' "$config"
  up=1
  wait "$devserver"
fi
