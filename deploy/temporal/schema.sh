#!/bin/sh
# Makes Temporal's two databases in PostgreSQL and brings their schemas to the version of this image.
# Safe to run again: what is there is left, and only the versions that are missing are applied.
set -eu

SQL_PASSWORD=$(cat /run/secrets/postgres_password)
export SQL_PASSWORD

sql() {
	temporal-sql-tool --plugin "$DB" --endpoint "$POSTGRES_SEEDS" --port "$DB_PORT" --user "$POSTGRES_USER" "$@"
}

for kind in temporal visibility; do
	database=temporal
	[ "$kind" = temporal ] || database=temporal_visibility
	sql --db "$database" create
	sql --db "$database" setup-schema --version 0.0
	sql --db "$database" update-schema --schema-name "postgresql/v12/$kind"
done
