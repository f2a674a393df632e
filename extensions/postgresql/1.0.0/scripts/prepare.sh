#!/bin/sh
# Before each start, and when another server is to be followed: prepare.sh primary | prepare.sh replica PRIMARY-HOST
# Everything looks first and can be repeated; a copy that was interrupted is begun anew.
set -eu
role=$1 primary=${2:-}
data=/data/pgdata
export PGCONNECT_TIMEOUT=5
slot=$(printf '%s' "$NAME" | tr - _)_slot
# a server whose node is gone says nothing any more: without asking after it, a copy would wait for hours
tls="sslmode=$SSLMODE sslrootcert=$CA keepalives_idle=10 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=30000"
[ -z "$CERT" ] || tls="$tls sslcert=$CERT sslkey=$KEY"
link="host=$primary port=$PORT user=replication dbname=postgres application_name=$NAME $tls"

# the password is the last field of the file's line
password() { head -n 1 "$FILES/$1" | cut -d: -f5-; }
ask() { PGPASSFILE=$FILES/admin.pass "$BIN/psql" -XAtq -d "host=$primary port=$PORT user=postgres dbname=postgres $tls" -c "$1"; }

if [ "$role" = primary ]; then
  [ ! -f /data/copying ] || { echo "the copy of the data was interrupted; it can only follow" >&2; exit 1; }
  # one that followed begins as it ended: the promotion takes it into a timeline of its own
  [ -s $data/PG_VERSION ] && exit 0
  rm -rf $data /data/initdb.pass
  password admin.pass > /data/initdb.pass
  "$BIN/initdb" -D $data.new --username=postgres --pwfile=/data/initdb.pass --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --data-checksums
  rm -f /data/initdb.pass
  # the role that replicas log in with, made in single-user mode, before anybody can connect
  printf "CREATE ROLE replication LOGIN REPLICATION PASSWORD '%s';\nGRANT pg_read_all_settings TO replication;\nGRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO replication;\n" "$(password replication.pass)" |
    "$BIN/postgres" --single -D $data.new postgres >/dev/null
  mv $data.new $data
  exit 0
fi

[ -n "$primary" ] || { echo "no primary is known yet" >&2; exit 1; }
export PGPASSFILE=$FILES/replication.pass
ask "SELECT pg_create_physical_replication_slot('$slot') WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$slot')" >/dev/null
if ! "$BIN/pg_ctl" -D $data status >/dev/null 2>&1; then
  [ -s $data/PG_VERSION ] || touch /data/copying
  # one that was primary, or followed another one, may have what nobody else has
  if [ ! -f /data/copying ]; then
    ask CHECKPOINT
    "$BIN/pg_rewind" -D $data --source-server="$link" || touch /data/copying
  fi
  if [ -f /data/copying ]; then
    # without its mark the pod counts as empty, until it follows again
    rm -rf $data $data.new /data/.midship.json
    "$BIN/pg_basebackup" -D $data -d "$link" --wal-method=stream --checkpoint=fast --slot="$slot"
    chmod 0700 $data
    rm -f /data/copying
  fi
  # slots of its own time as primary would keep the log for ever
  rm -rf $data/pg_replslot/*
fi
sed -i '/^primary_conninfo/d; /^primary_slot_name/d' $data/postgresql.auto.conf 2>/dev/null || true
printf "primary_conninfo = '%s passfile=%s'\nprimary_slot_name = '%s'\n" "$link" "$PGPASSFILE" "$slot" >> $data/postgresql.auto.conf
touch $data/standby.signal
