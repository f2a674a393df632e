#!/bin/sh
# Every database opens, and all that its catalog describes can be read.
set -eu
"$BIN/pg_dumpall" --schema-only --host=/var/run/postgresql --port="$PORT" --username=postgres >/dev/null
