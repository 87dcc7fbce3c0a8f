# What the scripts share: words, HTTP and a little JSON by bash alone, and the search for what a stack left behind.
# To be sourced. Everything that belongs to a stack names its data directory, which is how it is found.
# shellcheck shell=bash

# What goes over a configuration file and was set for another installation is not meant for the stack of a script.
for variable in "${!TEMPORAL_@}" "${!DEA_@}"; do
  [ "$variable" = DEA_PORT_BASE ] || unset "$variable"
done
unset variable

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
else
  bold='' green='' red='' dim='' plain=''
fi

title() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }

fail() {
  printf '%s%s%s\n' "$red" "$1" "$plain" >&2
  exit 1
}

# get URL prints the body of an HTTP answer with status 200, by curl or by bash alone.
get() {
  if command -v curl >/dev/null; then
    curl --silent --show-error --fail --max-time 10 "$1"
    return
  fi
  local rest=${1#http://} host path line
  host=${rest%%/*} path=/${rest#"${rest%%/*}"/}
  [ "$rest" != "$host" ] || path=/
  local to=${host%:*}
  # Not every resolver knows that these are this machine.
  [[ $to != *.localhost ]] || to=127.0.0.1
  exec 3<>"/dev/tcp/$to/${host##*:}"
  printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$host" >&3
  read -r -t 10 line <&3
  [[ $line == *' 200 '* ]] || { echo "$1 answered $line" >&2 && return 1; }
  while read -r -t 10 line <&3 && [ "$line" != $'\r' ]; do :; done
  cat <&3
  exec 3>&-
}

# field NAME prints every value that is a text and has this name in the JSON on standard input, one a line.
field() { { grep -o "\"$1\": *\"[^\"]*\"" || true; } | sed 's/^[^:]*: *"\(.*\)"$/\1/'; }

# port ADDRESS prints the port of host:port or of a URL.
port() { sed 's#^[a-z]*://##; s#/.*##; s#.*:##' <<<"$1"; }

# until_true SECONDS COMMAND... tries again and again, and fails when the time is over.
until_true() {
  local tries=$(($1 * 10))
  shift
  until "$@"; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || return 1
    sleep 0.1
  done
}

# processes_of DIRECTORY prints "process PID COMMAND" for each process that names a path in the directory, works in it, or
# runs a program from it.
processes_of() {
  local proc pid
  for proc in /proc/[0-9]*; do
    pid=${proc#/proc/}
    if [ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] && {
      { tr '\0' '\n' <"$proc/cmdline" | grep -qF "$1/"; } 2>/dev/null ||
        [[ $(readlink "$proc/cwd" 2>/dev/null)/ == "$1"/* ]] ||
        [[ $(readlink "$proc/exe" 2>/dev/null) == "$1"/* ]]
    }; then
      echo "process $pid $(tr '\0' ' ' 2>/dev/null <"$proc/cmdline")"
    fi
  done
}

# listens PORT tells whether something listens on a port of the loopback.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# left_of DIRECTORY DEPOTS PORT... prints what is left: processes, containers in the depots (a glob), listening ports.
left_of() {
  local one
  processes_of "$1"
  for one in $2; do
    [ ! -e "$one" ] || echo "container ${one##*/}"
  done
  shift 2
  for one in "$@"; do
    ! listens "$one" || echo "port $one"
  done
}

# nothing_left is left_of with an answer: it gives the last of it five seconds to go, and says what did not.
nothing_left() {
  none_of_it() { [ -z "$(left_of "$@")" ]; }
  until_true 5 none_of_it "$@" && return
  printf '%sleft behind:%s\n' "$red" "$plain" >&2
  left_of "$@" >&2
  return 1
}
