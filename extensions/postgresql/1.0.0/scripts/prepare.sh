#!/bin/sh
# Before each start: prepare.sh primary | prepare.sh replica PRIMARY-HOST
# Everything looks first and can be repeated; a copy that was interrupted is begun anew.
set -eu
role=$1 primary=${2:-}
data=/data/pgdata
export PGPASSFILE=$FILES/replication.pass PGCONNECT_TIMEOUT=5
slot=$(printf '%s' "$NAME" | tr - _)_slot
link="host=$primary port=$PORT user=replication dbname=postgres application_name=$NAME sslmode=$SSLMODE sslrootcert=$CA"

# the administrator's password is the last field of the file's only line
password() { cut -d: -f5- "$FILES/admin.pass"; }
replication_password() { head -n 1 "$FILES/replication.pass" | cut -d: -f5-; }

if [ "$role" = primary ]; then
  [ -s $data/PG_VERSION ] && { rm -f $data/standby.signal; exit 0; }
  rm -rf $data /data/initdb.pass
  password > /data/initdb.pass
  "$BIN/initdb" -D $data --username=postgres --pwfile=/data/initdb.pass --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --data-checksums
  rm -f /data/initdb.pass
  # the role that replicas log in with, made in single-user mode, before anybody can connect
  printf "CREATE ROLE replication LOGIN REPLICATION PASSWORD '%s';\nGRANT pg_read_all_settings TO replication;\nGRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO replication;\n" "$(replication_password)" |
    "$BIN/postgres" --single -D $data postgres >/dev/null
  exit 0
fi

[ -n "$primary" ] || { echo "no primary is known yet" >&2; exit 1; }
if [ -s $data/PG_VERSION ] && [ ! -f /data/copying ]; then
  # a server that was primary may have written what nobody else has
  if [ ! -f $data/standby.signal ]; then
    "$BIN/pg_rewind" -D $data --source-server="$link" || touch /data/copying
  fi
else
  touch /data/copying
fi
if [ -f /data/copying ]; then
  rm -rf $data
  "$BIN/pg_basebackup" -D $data -d "$link" --wal-method=stream --checkpoint=fast --create-slot --slot="$slot" ||
    { rm -rf $data; "$BIN/pg_basebackup" -D $data -d "$link" --wal-method=stream --checkpoint=fast --slot="$slot"; }
  chmod 0700 $data
  rm -f /data/copying
fi
sed -i '/^primary_conninfo/d; /^primary_slot_name/d' $data/postgresql.auto.conf 2>/dev/null || true
printf "primary_conninfo = '%s passfile=%s'\nprimary_slot_name = '%s'\n" "$link" "$PGPASSFILE" "$slot" >> $data/postgresql.auto.conf
touch $data/standby.signal
