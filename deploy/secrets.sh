#!/usr/bin/env bash
# Makes what docker-compose.yml mounts as secrets, where it is missing: a password for PostgreSQL, and a key for all
# that crosses Temporal. Who loses the key can read no history any more: keep a copy elsewhere.
set -euo pipefail
cd "$(dirname "$0")/secrets"
umask 077

random() { head -c "$1" /dev/urandom | base64 -w 0; }

# make_secret FILE PREFIX BYTES writes a secret of so many random bytes, whole or not at all.
make_secret() {
  local file=$1 prefix=$2 bytes=$3
  if [ -s "$file" ]; then
    echo "deploy/secrets/$file is there"
    return
  fi
  printf '%s%s\n' "$prefix" "$(random "$bytes")" >"$file.part"
  mv "$file.part" "$file"
  echo "deploy/secrets/$file made"
}

make_secret postgres.password "" 24
make_secret encryption.key "$(date -u +key-%Y-%m-%d) " 32
