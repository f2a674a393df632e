#!/bin/sh
# persistence.sh DIR yes|no: before a start with or without an append-only file, since a server reads nothing but the one
# kind of file it is told to keep, and begins with nothing where only the other is there.
# Where there is an append-only file, it is what counts: it goes as soon as it is switched off.
set -eu
cd "$1"
log=appendonly.aof
kept() { [ -s appendonlydir/$log.manifest ] || [ -f $log ]; }
away() { rm -rf appendonlydir $log; }
cli() { redis-cli -s /tmp/persistence.sock "$@"; }
serve() { # with or without
  redis-server --port 0 --unixsocket /tmp/persistence.sock --dir "$PWD" --dbfilename dump.rdb --appendonly "$1" --save "" --daemonize no >/tmp/persistence.log 2>&1 &
  server=$!
  until [ "$(cli ping 2>/dev/null)" = PONG ]; do
    kill -0 $server 2>/dev/null || { tail -n 3 /tmp/persistence.log >&2; exit 1; }
    sleep 0.2
  done
}
end() { cli shutdown nosave >/dev/null 2>&1 || true; wait $server || true; }

# begun, and not ended: what is there of it is not whole
[ ! -f .appending ] || away
if [ "$2" = yes ]; then
  if [ -f dump.rdb ] && ! kept; then
    touch .appending
    serve no
    cli config set appendonly yes >/dev/null
    until cli info persistence | grep -q 'aof_rewrite_in_progress:0' && cli info persistence | grep -q 'aof_rewrite_scheduled:0' &&
      cli info persistence | grep -q 'aof_last_bgrewrite_status:ok'; do
      kill -0 $server 2>/dev/null || { tail -n 3 /tmp/persistence.log >&2; exit 1; }
      sleep 0.2
    done
    end
  fi
elif kept; then
  serve yes
  [ "$(cli save)" = OK ] || { echo "what the append-only file has cannot be saved as a snapshot" >&2; end; exit 1; }
  end
  away
fi
rm -f .appending
