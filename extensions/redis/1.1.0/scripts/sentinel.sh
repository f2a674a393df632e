#!/bin/sh
# sentinel.sh FILE INSTANCE: before each start. Sentinels write to their file themselves, so that it is made once; passwords
# that were changed while one did not run are in it from here. PASSWORD and REPLICATION have them.
set -eu
umask 077
[ -s "$1" ] || exit 0
grep -vE '^(requirepass|user default|sentinel sentinel-pass|sentinel auth-pass) ' "$1" > "$1.new"
printf 'requirepass %s\nsentinel sentinel-pass %s\nsentinel auth-pass %s %s\n' "$PASSWORD" "$PASSWORD" "$2" "$REPLICATION" >> "$1.new"
mv "$1.new" "$1"
