#!/bin/sh
# After a base backup was put back: recover.sh TARGET LOGS. Replays the log up to TARGET (a time, "latest" for all of
# LOGS, or nothing for the backup alone) and stops the server again: what is left is an ordinary data directory, on a
# timeline of its own. The histories in LOGS say which are taken.
set -eu
target=$1 logs=$2
data=/data/pgdata said=/data/recover.log archive=/data/archive
command="cp $logs/%f %p" along=latest
[ -n "$target" ] || { command="case %f in *.history) cp $logs/%f %p ;; *) false ;; esac" along=current; }
[ "$target" != latest ] || target=

chmod 0700 $data
rm -rf $data/archive $data/standby.signal $data/pg_replslot/*
sed -i '/^primary_/d; /^recovery_/d; /^restore_command/d' $data/postgresql.auto.conf 2>/dev/null || true
touch $data/recovery.signal

# nobody can connect before the recovery has ended, and nobody from outside at all
serve() {
  "$BIN/postgres" -D $data -c "config_file=$FILES/postgresql.conf" -c "hba_file=$FILES/pg_hba.conf" \
    -c listen_addresses= -c unix_socket_directories=/tmp -c ssl=off -c hot_standby=off -c archive_mode=off \
    -c synchronous_standby_names= -c "restore_command=$command" \
    -c recovery_target_timeline=$along -c recovery_target_action=promote "$@" >$said 2>&1 &
  server=$!
  until "$BIN/pg_isready" -q -h /tmp -p "$PORT" -t 2; do
    kill -0 $server 2>/dev/null || { wait $server || return 1; return 1; }
    sleep 0.2
  done
  kill -INT $server
  wait $server
}
failed() { grep -E 'FATAL|PANIC|ERROR' $said | tail -n 3 >&2; rm -f $said; exit 1; }

if [ -n "$target" ]; then
  # where nothing was written after that time, the log ends before it: then all of it is wanted
  serve -c "recovery_target_time=$target" || { grep -q 'ended before configured recovery target' $said || failed; serve || failed; }
else
  serve || failed
fi
rm -f $said
# whoever followed what was there before has to know that this is something else; see prepare.sh
cat /proc/sys/kernel/random/uuid > $data/restored.id

# nothing was archived meanwhile: without the history of the timeline that began, nobody could go along it later
if [ -d $archive ] && [ ! -f $archive/.off ]; then
  for history in $data/pg_wal/*.history; do
    [ -f "$history" ] || continue
    name=${history##*/}
    cp "$history" "$archive/.$name" && sync "$archive/.$name" && mv "$archive/.$name" "$archive/$name"
  done
fi

# whoever reads the files of this instance logs in with its passwords, not with those of the copy
password() { head -n 1 "$FILES/$1" | cut -d: -f5- | sed "s/'/''/g"; }
printf "ALTER ROLE postgres PASSWORD '%s';\nALTER ROLE replication PASSWORD '%s';\n" "$(password admin.pass)" "$(password replication.pass)" |
  "$BIN/postgres" --single -D $data -c "config_file=$FILES/postgresql.conf" -c archive_mode=off -c synchronous_commit=local postgres >/dev/null
