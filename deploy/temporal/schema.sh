#!/bin/sh
# Makes Temporal's two databases and brings their schemas up to date. It may run at every start.
set -eu
SQL_PASSWORD=$(cat /run/secrets/postgres_password)
export SQL_PASSWORD

tool() { temporal-sql-tool --plugin postgres12 --endpoint postgres --port 5432 --user temporal "$@"; }

# database NAME FOLDER. "create" and version 0.0 succeed quietly when they were done before.
database() {
	tool --database "$1" create-database
	tool --database "$1" setup-schema --version 0.0
	tool --database "$1" update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

database temporal temporal
database temporal_visibility visibility
