#!/bin/sh
# A base backup as a tar archive on standard output. base.sh KEEP PARENT: its manifest is left in the file KEEP, for the next
# one; with PARENT, the manifest of an earlier one, only what changed since is read. Both may be nothing.
set -eu
keep=$1 parent=$2
umask 077
set -- --host=/var/run/postgresql --port="$PORT" --username=postgres --pgdata=- --format=tar --wal-method=fetch --checkpoint=fast
[ -n "$keep" ] || [ -n "$parent" ] || exec "$BIN/pg_basebackup" "$@" --no-manifest
[ -z "$parent" ] || set -- "$@" --incremental="$parent"
[ -n "$keep" ] || exec "$BIN/pg_basebackup" "$@"
exec 3>&1
# a manifest that cannot be kept costs the next one its saving, and not this one its end
ended=$({
  { "$BIN/pg_basebackup" "$@" 5>&- && echo 0 >&5 || echo 1 >&5; } |
    tee -p /dev/fd/4 4>&1 >&3 5>&- |
    tar -xOf - backup_manifest >"$keep" 2>/dev/null 3>&- 5>&- || rm -f "$keep"
} 5>&1)
exit "${ended:-1}"
