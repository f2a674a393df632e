#!/bin/sh
# Makes a new cluster of databases and fills it from a dump on standard input; the server is stopped again.
set -eu
data=/data/pgdata fresh=/data/pgdata.new said=/data/load.log
password() { head -n 1 "$FILES/$1" | cut -d: -f5-; }
quoted() { password "$1" | sed "s/'/''/g"; }

rm -rf $data $fresh /data/initdb.pass
(umask 077; password admin.pass > /data/initdb.pass)
# a node may have huge pages that the pod may not use; see prepare.sh
case $("$BIN/initdb" --help) in *" --set "*) plain="-c huge_pages=off" ;; *) plain= ;; esac
"$BIN/initdb" $plain -D $fresh --username=postgres --pwfile=/data/initdb.pass --auth=trust --encoding=UTF8 --locale=C.UTF-8 --data-checksums >/dev/null
rm -f /data/initdb.pass
"$BIN/postgres" -D $fresh -c listen_addresses= -c unix_socket_directories=/tmp -c port="$PORT" -c archive_mode=off \
  -c huge_pages=off -c max_wal_size=4GB >$said 2>&1 &
server=$!
trap 'kill -QUIT $server 2>/dev/null || true' EXIT
until "$BIN/pg_isready" -q -h /tmp -p "$PORT" -t 2; do kill -0 $server || { tail -n 3 $said >&2; exit 1; }; sleep 0.2; done
sql() { "$BIN/psql" -X -q -h /tmp -p "$PORT" -U postgres -d postgres -v ON_ERROR_STOP=1 "$@"; }
# the one role that is there already; everything else must be new
sed 's/^CREATE ROLE postgres;$//' | sql -f - >/dev/null
sql -c "ALTER ROLE postgres PASSWORD '$(quoted admin.pass)'" -c "ALTER ROLE replication PASSWORD '$(quoted replication.pass)'"
trap - EXIT
kill -INT $server
wait $server
rm -f $said
# from now on everybody needs a password
cp "$FILES/pg_hba.conf" $fresh/pg_hba.conf
mv $fresh $data
