#!/usr/bin/env bash
# Makes what docker-compose.yml mounts as secrets, where it is missing: passwords for PostgreSQL and NATS, and a key for
# all that crosses Temporal. Who loses the key can read no history any more: keep a copy elsewhere.
set -euo pipefail
cd "$(dirname "$0")/secrets"
umask 077

random() { head -c "$1" /dev/urandom | base64 -w 0; }

# make_secret FILE TEXT writes a secret, whole or not at all.
make_secret() {
  local file=$1 text=$2
  if [ -s "$file" ]; then
    echo "deploy/secrets/$file is there"
    return
  fi
  printf '%s\n' "$text" >"$file.part"
  mv "$file.part" "$file"
  echo "deploy/secrets/$file made"
}

make_secret postgres.password "$(random 24)"
# It stands in a URL.
make_secret nats.password "$(random 24 | tr +/ -_)"
make_secret encryption.key "$(date -u +key-%Y-%m-%d) $(random 32)"
