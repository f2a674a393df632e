#!/bin/sh
# persistence.sh DIR CONFIG: before a start with or without an append-only file, since a server reads nothing but the one
# kind of file it is told to keep, and begins with nothing where only the other is there. CONFIG says which, since it has
# what users' own files say, too.
# Where there is an append-only file, it is what counts, but for one that was not written any more: it goes, as does one
# that is switched off.
set -eu
cd "$1"
config=$2
log=appendonly.aof
mode=$(tr -d "\"'" < "$config" | tr '[:upper:]' '[:lower:]' | sed -n 's/^[[:space:]]*appendonly[[:space:]]\{1,\}\([a-z]*\).*/\1/p' | tail -n 1)
kept() { [ -s appendonlydir/$log.manifest ] || [ -f $log ]; }
away() { rm -rf appendonlydir $log; }
# nothing was written to it since the snapshot was begun; where nobody can tell, it counts
outdated() {
  born=$(stat -c %.W dump.rdb 2>/dev/null) && ended=$(stat -c %.Y dump.rdb) || return 1
  case $born in [1-9]*.*) ;; *) return 1 ;; esac
  last=$(find . -maxdepth 2 \( -path "./$log" -o -path './appendonlydir/*' \) -exec stat -c %.Y '{}' + 2>/dev/null)
  # a copy of a file was born after it was written
  [ "$(printf '%s\n' "$last" "$born" "$ended" | LC_ALL=C sort -n | tail -n 2)" = "$(printf '%s\n' "$born" "$ended")" ]
}
cli() { redis-cli -s /tmp/persistence.sock "$@"; }
fail() { echo "$1" >&2; tail -n 3 /tmp/persistence.log >&2; kill -9 $server 2>/dev/null || true; exit 1; }
serve() { # with or without
  # an append-only file has commands by the names that clients use, and either may have what only a module reads
  grep -iE '^[[:space:]]*(rename-command|loadmodule)[[:space:]]' "$config" > /tmp/persistence.conf || true
  redis-server /tmp/persistence.conf --port 0 --unixsocket /tmp/persistence.sock --dir "$PWD" --dbfilename dump.rdb --appendonly "$1" --save "" \
    --databases 16384 --daemonize no >/tmp/persistence.log 2>&1 &
  server=$!
  until [ "$(cli ping 2>/dev/null)" = PONG ]; do
    kill -0 $server 2>/dev/null || fail "what is kept cannot be read"
    sleep 0.2
  done
}
end() { cli shutdown nosave >/dev/null 2>&1 || true; wait $server || true; }

# begun, and not ended: what is there of it is not whole
[ ! -f .appending ] || away
case $mode in
  yes)
    if [ -f dump.rdb ] && ! kept; then
      touch .appending
      serve no
      [ "$(cli config set appendonly yes)" = OK ] || fail "no append-only file can be begun"
      until said=$(cli info persistence) && case $said in *aof_rewrite_in_progress:0*) ;; *) false ;; esac &&
        case $said in *aof_rewrite_scheduled:0*) ;; *) false ;; esac; do
        kill -0 $server 2>/dev/null || fail "the append-only file cannot be made"
        sleep 0.2
      done
      case $said in *aof_last_bgrewrite_status:ok*) ;; *) fail "the append-only file cannot be written" ;; esac
      end
      kept || fail "no append-only file was made"
    fi
    ;;
  no)
    if kept && outdated; then
      # what it had long ago, for whoever looks for it
      rm -rf .outdated && mkdir .outdated
      for one in appendonlydir $log; do [ ! -e $one ] || mv $one .outdated/; done
    elif kept; then
      serve yes
      [ "$(cli save)" = OK ] || fail "what the append-only file has cannot be saved as a snapshot"
      end
      away
    fi
    ;;
esac
rm -f .appending
