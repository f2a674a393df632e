#!/bin/sh
# A server that keeps an append-only file reads nothing else when it starts: make one from the restored snapshot.
set -eu
cd "$1"
redis-server --port 0 --unixsocket /tmp/restore.sock --dir "$1" --appendonly no --save "" --daemonize no &
cli() { redis-cli -s /tmp/restore.sock "$@"; }
until [ "$(cli ping 2>/dev/null)" = PONG ]; do sleep 0.2; done
cli config set appendonly yes
until cli info persistence | grep -q 'aof_rewrite_in_progress:0' && cli info persistence | grep -q 'aof_last_bgrewrite_status:ok'; do sleep 0.2; done
cli shutdown nosave || true
wait
