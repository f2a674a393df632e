#!/bin/sh
# Before each start, and when another server is to be followed: prepare.sh primary | prepare.sh replica PRIMARY-HOST ANEW
# ANEW counts the starts since it followed somebody that were for nothing.
# Everything looks first and can be repeated; a copy that was interrupted is begun anew.
set -eu
role=$1 primary=${2:-} anew=${3:-0}
data=/data/pgdata
# the limits that users' statements have are not for these
export PGCONNECT_TIMEOUT=5 PGOPTIONS='-c statement_timeout=0 -c lock_timeout=0'
slot=$(printf '%s' "$NAME" | tr - _)_slot
# a server whose node is gone says nothing any more: without asking after it, a copy would wait for hours
tls="sslmode=$SSLMODE sslrootcert=$CA keepalives_idle=10 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=30000"
[ -z "${CERT:-}" ] || tls="$tls sslcert=$CERT sslkey=$KEY"
link="host=$primary port=$PORT user=replication dbname=postgres application_name=$NAME $tls"

# the password is the last field of the file's line
password() { head -n 1 "$FILES/$1" | cut -d: -f5-; }
ask() { PGPASSWORD=$(password admin.pass) "$BIN/psql" -XAtq -d "host=$primary port=$PORT user=postgres dbname=postgres $tls" -c "$1"; }
control() { LC_ALL=C "$BIN/pg_controldata" -D $data | sed -n "s/^$1: *//p"; }

# A standby that has less of these than its primary had when that wrote what is replayed does not start. What is configured
# holds again when it starts as primary. What cannot be found out is left to the start itself.
raise() { # REACHABLE: whether the primary can be asked
  : > /data/standby.conf
  for one in max_connections:connections max_worker_processes:worker_processes max_locks_per_transaction:locks_per_xact max_prepared_transactions:prepared_xacts; do
    name=${one%:*} least=$(control "max_${one#*:} setting") now=0
    [ "$1" = no ] || now=$(ask "SHOW $name") || now=0
    [ "$now" -le "${least:=0}" ] || least=$now
    own=$("$BIN/postgres" -D $data -c "config_file=$FILES/postgresql.conf" -C $name) || continue
    [ "$own" -ge "$least" ] || echo "$name = $least" >> /data/standby.conf
  done
}

# Passwords that were changed while the server did not run: with those that it has nobody could log in to tell it others.
# One that followed gets them from whom it follows, or with its promotion: by itself it writes nothing. A server that cannot
# be told starts all the same.
known() { cat "$FILES/admin.pass" "$FILES/replication.pass" | sha256sum; }
remember() { (umask 077; known > /data/.passwords); }
quoted() { password "$1" | sed "s/'/''/g"; }
passwords() {
  [ ! -f $data/standby.signal ] && [ ! -f $data/recovery.signal ] && [ ! -f $data/backup_label ] || return 0
  [ "$(cat /data/.passwords 2>/dev/null)" != "$(known)" ] || return 0
  # nobody is there to confirm it, and no log gets to see it
  if printf '%s\n' "ALTER ROLE postgres PASSWORD '$(quoted admin.pass)'; ALTER ROLE replication PASSWORD '$(quoted replication.pass)';" |
    "$BIN/postgres" --single -D $data -c "config_file=$FILES/postgresql.conf" -c synchronous_commit=local -c exit_on_error=on \
      -c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic postgres >/dev/null; then
    remember
  else
    echo "the server could not be told its passwords before its start" >&2
  fi
}

# what a restore left that was given up
rm -rf /data/chain
# Ends of timelines that a promotion set aside. No server reads them, none is archived, and each is a whole segment: a volume
# that is full of them is one that nothing starts on.
rm -f $data/pg_wal/*.partial $data/pg_wal/archive_status/*.partial.*

# One that followed is told them once it is promoted, and may never have heard of the new ones from a primary that is gone.
# Whoever promotes it is in the pod, and needs none while nothing can be written yet. The server itself puts the rules back
# before it takes writes, whatever becomes of whoever promotes it; that one has logged in by then.
let_in() {
  [ "$(cat /data/.passwords 2>/dev/null)" != "$(known)" ] || return 0
  (umask 077; { printf 'host postgres postgres %s trust\n' 127.0.0.1/32 ::1/128; cat "$FILES/pg_hba.conf"; } > /data/.hba)
  sed -i '/^recovery_end_command/d' $data/postgresql.auto.conf 2>/dev/null || true
  printf '%s\n' "hba_file = '/data/.hba'" \
    "recovery_end_command = 'ln -sf $FILES/pg_hba.conf /data/.hba; kill -HUP \$(head -n 1 $data/postmaster.pid)'" >> /data/standby.conf
}

if [ "$role" = primary ]; then
  rm -f /data/.hba
  [ ! -f /data/copying ] && [ ! -f /data/rewinding ] || { echo "a copy or rewind of the data was interrupted; it can only follow" >&2; exit 1; }
  # one that followed begins as it ended: the promotion takes it into a timeline of its own
  if [ -s $data/PG_VERSION ]; then
    : > /data/standby.conf
    # nobody lets others in but by what is configured
    sed -i '/^hba_file/d' $data/postgresql.auto.conf 2>/dev/null || true
    [ ! -f $data/standby.signal ] || { raise no; let_in; }
    passwords
    exit 0
  fi
  rm -rf $data /data/initdb.pass /data/.midship-kept
  password admin.pass > /data/initdb.pass
  # a node may have huge pages that the pod may not use; older ones cannot be told here
  case $("$BIN/initdb" --help) in *" --set "*) plain="-c huge_pages=off" ;; *) plain= ;; esac
  "$BIN/initdb" $plain -D $data.new --username=postgres --pwfile=/data/initdb.pass --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --data-checksums
  rm -f /data/initdb.pass
  # the role that replicas log in with, made in single-user mode, before anybody can connect
  printf "CREATE ROLE replication LOGIN REPLICATION PASSWORD '%s';\nGRANT pg_read_all_settings TO replication;\nGRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO replication;\n" "$(password replication.pass)" |
    "$BIN/postgres" --single -D $data.new -c huge_pages=off postgres >/dev/null
  mv $data.new $data
  remember
  exit 0
fi

# What backups left for those that would add to them is of this data and of no other one: neither the server nor anybody else
# notices later that what an earlier backup has was undone.
forget() { rm -rf /data/.midship-kept; }

# Whether it followed this primary until it was killed, or was only just copied from one: it goes on from there, and could not
# be rewound without a clean stop.
continues() {
  [ "$anew" -lt 2 ] && [ -f $data/standby.signal ] || return 1
  [ "$(control "Database system identifier")" = "$(ask "SELECT system_identifier FROM pg_control_system()")" ] || return 1
  [ ! -f $data/backup_label ] || return 0
  [ "$(control "Database cluster state")" = "in archive recovery" ] &&
    [ "$(control "Min recovery ending loc's timeline")" = "$(ask "SELECT timeline_id FROM pg_control_checkpoint()")" ]
}

# The timeline that it wrote to last.
newest() { ls $data/pg_wal | sed -n 's/^\([0-9A-F]\{8\}\).*/\1/p' | sort | tail -n 1; }

# A copy takes the place of the data, where the primary gives one. Without its mark the pod counts as empty until it follows again.
throw_away() {
  "$BIN/psql" -XAtq -d "$link replication=true" -c IDENTIFY_SYSTEM >/dev/null
  how="its data was copied anew, because $1"
  rm -f /data/.midship.json
  touch /data/copying
}

[ -n "$primary" ] || { echo "no primary is known yet" >&2; exit 1; }
export PGPASSFILE=$FILES/replication.pass
# a slot whose log the primary did not keep is of no use any more
ask "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '$slot' AND wal_status = 'lost' AND NOT active" >/dev/null
ask "SELECT pg_create_physical_replication_slot('$slot') WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$slot')" >/dev/null
if ! "$BIN/pg_ctl" -D $data status >/dev/null 2>&1; then
  [ -s $data/PG_VERSION ] || touch /data/copying
  if [ ! -f /data/copying ]; then
    # Servers drop log by its position alone, and while timelines begin within one segment, as after crashes with few writes
    # between them, it stands still: each would keep a whole file. A copy, which comes without this, begins a segment by itself.
    # Who keeps no log for replicas would drop the segment that this one needs to go on from with the checkpoint.
    ask "SELECT pg_switch_wal() WHERE (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_keep_size') >= 32
      AND (SELECT count(DISTINCT left(name, 8)) FROM pg_ls_waldir()
      WHERE substr(name, 9, 16) = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 9)) > 1" >/dev/null
    # by then the control file tells the timeline that a rewind is to end in, and what is old goes before it is copied
    ask CHECKPOINT
    restored=$(ask "SELECT pg_read_file('restored.id', 0, 64, true)")
    line=$(ask "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)")
    if [ -f /data/rewinding ]; then
      throw_away "a rewind of it was interrupted"
    # its timeline may have the number of another one that began at the same backup
    elif [ "$restored" != "$(cat $data/restored.id 2>/dev/null)" ]; then
      throw_away "the primary's was put back from a backup since"
    # where two were promoted one after the other, and the first was gone before anybody saw it, both began the same timeline
    elif [ ! -f $data/standby.signal ] && [ "$(newest)" = "$line" ]; then
      throw_away "it was primary on another timeline of the same number"
    elif continues; then
      how="its data was kept"
    else
      # one that was primary, or followed another one, may have what nobody else has
      touch /data/rewinding
      forget
      if said=$(LC_ALL=C "$BIN/pg_rewind" -D $data --source-server="$link" 2>&1); then
        rm -f /data/rewinding
        case $said in
        *"no rewind required"*)
          how="its data was kept"
          # the log from there on is gone at the primary; where a copy did not help, another one will not
          [ "$anew" -ne 2 ] || throw_away "it did not get to follow with what it had"
          ;;
        *) how="its data was rewound: what it alone had is gone" ;;
        esac
        printf '%s\n' "$said" >&2
      else
        printf '%s\n' "$said" >&2
        # half of it may be the primary's by now
        case $said in
        *"rewinding from"*) touch /data/copying; rm -f /data/.midship.json ;;
        *) rm -f /data/rewinding ;;
        esac
        throw_away "it could not be rewound"
      fi
    fi
  fi
  if [ -f /data/copying ]; then
    forget
    rm -rf $data $data.new /data/.midship.json /data/rewinding
    "$BIN/pg_basebackup" -D $data -d "$link" --wal-method=stream --checkpoint=fast --slot="$slot"
    chmod 0700 $data
    rm -f /data/copying
  fi
  echo "rejoined: ${how:-its data was copied}"
  # slots of its own time as primary would keep the log for ever
  rm -rf $data/pg_replslot/*
  begins=yes
fi
sed -i '/^hba_file/d; /^primary_conninfo/d; /^primary_slot_name/d' $data/postgresql.auto.conf 2>/dev/null || true
printf "primary_conninfo = '%s passfile=%s'\nprimary_slot_name = '%s'\n" "$link" "$PGPASSFILE" "$slot" >> $data/postgresql.auto.conf
touch $data/standby.signal
# it was to be promoted, and follows instead
[ ! -e /data/.hba ] || ln -sf "$FILES/pg_hba.conf" /data/.hba
# at the end: whoever comes to here again has to find a standby, not one that would be rewound once more
[ -z "${begins:-}" ] || raise yes
remember
