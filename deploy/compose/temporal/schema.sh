#!/bin/sh
# Makes Temporal's tables, or brings them up to date. The databases are there already; where they are is in SQL_*.
set -eu
schema() { # database, which schema
	temporal-sql-tool --db "$1" setup-schema -v 0.0
	temporal-sql-tool --db "$1" update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}
schema temporal temporal
schema temporal_visibility visibility
