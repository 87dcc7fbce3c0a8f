#!/usr/bin/env bash
# The topology of docker-compose.yml as processes on this machine: Temporal apart, a wardend, a worker with a dea.yml of
# its own, and a starter that sets up the namespace and pushes an app. Ends by itself; exit status 0 means that the app
# answered and that nothing was left behind. Needs what `make build` made, and bash.
#
# It kills only what it started, each by its process id.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

root=$PWD
data=$(mktemp -d "${TMPDIR:-/tmp}/dea.XXXXXX")
app=topology
names=() pids=() ports=()

# start NAME COMMAND... runs a process until the end, with its words in a log.
start() {
  local name=$1
  shift
  "$@" >"$data/$name.out" 2>"$data/$name.log" &
  names+=("$name") pids+=($!)
  echo "started $name"
}

# running fails when a process that should run does not, and shows its last words.
running() {
  local i
  for i in "${!pids[@]}"; do
    kill -0 "${pids[i]}" 2>/dev/null && continue
    tail -n 20 "$data/${names[i]}.log" >&2
    fail "${names[i]} has ended."
  done
}

# stop ends the processes, the last first, and the containers before the Temporal that knows of them.
stop() {
  local status=$? i
  trap - EXIT
  # Whatever fails from here on, even that nobody reads any more, the rest is still ended.
  trap '' INT TERM PIPE
  set +e
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill -TERM "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
    [ "${names[i]}" != wardend ] || bin/wardend destroy-all --depot "$data/depot" || status=1
    echo "ended ${names[i]}"
  done
  nothing_left "$data" "$data/depot/containers/*" "${ports[@]}" || status=1
  if [ $status -ne 0 ]; then
    tail -n 30 "$data"/*.log >&2 || true
  fi
  rm -rf "$data"
  exit $status
}
trap stop EXIT
trap 'exit 1' INT TERM

# Temporal, its UI and the cloud controller: what is other people's in an installation.
start temporal bin/devserver --data "$data/temporal" --nodes 0 --port-base 0 --output json
temporal_is_up() {
  running
  [ -s "$data/temporal.out" ]
}
until_true 180 temporal_is_up || fail "Temporal is not ready."
temporal=$(field temporal <"$data/temporal.out")
client=$(field config <"$data/temporal.out")
base=$(port "$temporal")
for name in temporal ui codec cloud_controller; do
  ports+=("$(port "$(field $name <"$data/temporal.out")")")
done

# The search attributes; a second time changes nothing.
bin/starter --config "$client" setup
bin/starter --config "$client" setup

# A devserver without nodes leaves the ports behind its own 20 free.
start wardend bin/wardend --socket "$data/warden.sock" --depot "$data/depot" --backend process \
  --port-pool "$((base + 100)):50" --pool-network 10.254.0.0/22
until_true 20 test -S "$data/warden.sock" || fail "wardend does not listen."

key=$(sed -n 's/^ *encryption_key_file: *//p' "$client")
cc=$(sed -n 's/^ *cc_url: *//p' "$client")
(
  umask 077
  cat >"$data/dea.yml" <<YAML
base_dir: $data/base
warden_socket: $data/warden.sock
runner: $root/bin/dea-runner
resources: {memory_mb: 4096, disk_mb: 8192}
stacks: [{name: cflinuxfs3}]
directory_server: {listen: "127.0.0.1:$((base + 90))"}
cc_url: $cc
temporal: {address: "$temporal", namespace: default, encryption_key_file: $key}
YAML
)
ports+=("$((base + 90))")
start worker bin/worker --config "$data/dea.yml"
node_is_ready() {
  running
  bin/starter --config "$client" nodes 2>/dev/null | grep -q READY
}
until_true 30 node_is_ready || fail "The node does not join."
bin/starter --config "$client" nodes

bin/starter --config "$client" push examples/static --name "$app"
address=$(bin/starter --config "$client" ps "$app" --output json | field address)
[ -n "$address" ] || fail "The app has no instance with an address."
ports+=("$(port "$address")")
answer=$(get "http://$address/")
echo "answer: ${answer%%$'\n'*}"
bin/starter --config "$client" delete "$app"
echo "topology: ok"
