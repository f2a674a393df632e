#!/bin/sh
# After a base backup and what was added to it were put back: combine.sh COUNT. Makes one data directory of /data/chain/0 and
# those after it; that they belong together is found out before anything is written.
set -eu
count=$1
chain=/data/chain how=--copy number=0
# the copies go afterwards, and there may not be room for both
[ "${VERSION%%.*}" -lt 18 ] || how=--link
set --
while [ "$number" -lt "$count" ]; do
  chmod 0700 $chain/$number
  set -- "$@" $chain/$number
  number=$((number + 1))
done
"$BIN/pg_combinebackup" $how --output=/data/pgdata "$@"
rm -rf $chain
