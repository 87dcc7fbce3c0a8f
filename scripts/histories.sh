#!/usr/bin/env bash
# Records the histories that package workflows' replay tests run: a stack of its own, something of everything that
# workflows do, and integration/histories to write it down: `make histories`. Each call adds a directory, for the shape that
# the code has now; those of before stay, and have to replay: change what would break them under workflow.GetVersion.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

out=${1:-workflows/testdata/$(($(ls workflows/testdata | sort -n | tail -n 1) + 1))}
mkdir -p "$out"
mkdir -p tmp
data=$(mktemp -d "$PWD/tmp/histories.XXXXXX")
bin/devserver --data "$data" --port-base 0 --output json >"$data.json" 2>"$data.log" &
devserver=$!
stop() {
  kill -INT "$devserver" 2>/dev/null && wait "$devserver" || true
  rm -rf "$data" "$data.json" "$data.log"
}
trap stop EXIT
until_true 180 test -s "$data.json" || { cat "$data.log" >&2 && fail "The stack did not start."; }

starter() { bin/starter --config "$data/client.yml" "$@" 2>&1; }
# workflow PATTERN prints the id of the newest workflow that matches.
workflow() { get "$(field ui <"$data.json")/api/v1/namespaces/default/workflows" | field workflowId | grep -m1 "$1"; }
instance() { starter ps "$1" --output json | field instance_id | sed -n "$2p"; }
record() { go run ./integration/histories --config "$data/client.yml" --out "$out" "$@"; }
building() { grep -q 'Running: go' "$data/$1.log"; }

title "AppStagings, StageApp"
title_of() { printf '  %s\n' "$1"; }
title_of "done, with a worker killed in the middle"
starter push examples/hello --name hello --instances 2 >"$data/hello.log" &
push=$!
until_true 60 building hello
kill -9 "$(grep -o '"worker_pid":[0-9]*' "$data.json" | cut -d: -f2)"
wait $push || fail "$(cat "$data/hello.log")"
title_of "failed"
mkdir "$data/empty" && echo none >"$data/empty/readme"
starter push "$data/empty" --name failed >/dev/null && fail "An app without a buildpack was staged."
title_of "cancelled"
starter push examples/hello --name cancelled >"$data/cancelled.log" &
push=$!
until_true 60 building cancelled
# A push in the background of a script does not hear an interrupt; a second staging cancels the first as well.
starter push examples/hello --name cancelled >/dev/null
wait $push && fail "The first staging was not cancelled."

title "FetchDroplet, RunInstance, EvaluateHealth"
title_of "a droplet that is fetched"
starter push examples/static --name static --instances 2 >/dev/null
for droplet in "$data"/nodes/1/base/droplets/*; do mv "$droplet" "$data/"; done
starter scale static 3 >/dev/null
title_of "an instance that crashes"
crashed=$(instance static 1)
kill -9 "$(processes_of "$data/nodes/1/depot/containers/$crashed" | awk '/launch/ { print $2; exit }')"
replaced() { [ "$(instance static 1)" != "$crashed" ] && starter ps static | grep -q '3 of 3'; }
until_true 20 replaced
title_of "an instance that is stopped"
stopped=$(instance static 3)
starter scale static 2 >/dev/null
running=$(instance static 1)
starter delete hello --yes >/dev/null
title_of "instances that are given other routes, and resumed by the next worker"
starter routes static other.localhost --version v2 >/dev/null
kill -9 "$(processes_of "$data/nodes/1" | awk '/worker --config/ { print $2; exit }')"
resumed() { grep -q "instance found again.*$running" "$data/logs/worker-1.log"; }
until_true 60 resumed
title_of "instances that find a node for themselves, or none"
message() {
  printf '{"droplet":"%s","version":"v1","name":"%s","index":0,"stack":"cflinuxfs3","limits":{"mem":%s,"disk":64,"fds":256},"sha1":"%s","executableUri":"http://127.0.0.1:1/none","start_command":"sleep 3600"}' \
    "$1" "$1" "$2" "$(basename "$data"/nodes/1/base/droplets/????????????????????????????????????????)"
}
message single 32 | starter start-instance -f - --output json >"$data/single.json"
single=$(field instance_id <"$data/single.json" | head -n 1)
starter stop-instances single --all >/dev/null
message large 10000000 | starter start-instance -f - --output json >"$data/large.json" && fail "An instance without room was started."
large=$(workflow instance/ | cut -d/ -f2)
title_of "instances that are evacuated"
starter evacuate "$(starter nodes --output json | field node | head -n 1)" >/dev/null
evacuated() { starter instances static --state EVACUATING --output json | grep -q "$running"; }
until_true 20 evacuated

title "Recording"
sleep 3 # Visibility is up to two seconds behind.
record StageApp-done="$(workflow stage/hello/)" StageApp-failed="$(workflow stage/failed/)" \
  StageApp-cancelled="$(get "$(field ui <"$data.json")/api/v1/namespaces/default/workflows" | field workflowId | grep stage/cancelled/ | tail -n 1)" \
  AppStagings-done=stagings/hello AppStagings-superseded=stagings/cancelled FetchDroplet-done="$(workflow droplet/)" RunInstance-crashed="instance/$crashed" RunInstance-stopped="instance/$stopped" \
  RunInstance-evacuated="instance/$running" RunInstance-placed="instance/$single" RunInstance-refused="instance/$large" EvaluateHealth-deleted=app/hello EvaluateHealth-replaced=app/static \
  Node-restarted="$(workflow node/)"
ls "$out"
