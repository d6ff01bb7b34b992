#!/bin/sh
# As the official image does it: an empty data folder becomes a cluster with POSTGRES_USER, whose password is in the file
# POSTGRES_PASSWORD_FILE, and the database POSTGRES_DB.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres} database=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
    initdb --pgdata="$PGDATA" --username="$user" --pwfile="${POSTGRES_PASSWORD_FILE:?}" --encoding=UTF8 --no-instructions \
        --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    # Until the database exists only the socket is open, so that no client finds it half made.
    pg_ctl --pgdata="$PGDATA" --wait --silent --options="-c listen_addresses=''" start >/dev/null
    psql --username="$user" --dbname=postgres --quiet --variable=name="$database" <<'SQL'
SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SQL
    pg_ctl --pgdata="$PGDATA" --wait --silent --mode=fast stop >/dev/null
fi
[ "${1:-postgres}" = postgres ] && [ $# -gt 0 ] && shift
exec postgres -D "$PGDATA" -c listen_addresses='*' "$@"
