# A service script defines start_it and calls `service COMMAND OPTIONS...`. One instance is one state directory,
# $CACHE/services/NAME; its file `env` holds the exports that `start` prints, and is there while it runs.

LISTEN=127.0.0.1 PORT='' NAME='' IMPL='' AUTH='' TLS='' NOW='' OWNER='' REST=()
options() {
  while (($#)); do
    case $1 in
      --listen) LISTEN=$2; shift ;; --port) PORT=$2; shift ;; --name) NAME=$2; shift ;; --impl) IMPL=$2; shift ;;
      --auth) AUTH=$2; shift ;; --owner) OWNER=$2; shift ;; --tls) TLS=yes ;; --now) NOW=yes ;;
      -*) die "unknown option $1" ;;
      *) REST+=("$1") ;;
    esac
    shift
  done
}
instance() { STATE=$(realpath -m "$CACHE/services/$1"); }

start_service() {
  need openssl:openssl curl:curl
  reap_with reap_service
  lock_state
  claim
  own "$OWNER"
  if [[ ! -s $STATE/env ]] || ! all_alive $(names) || ! running; then
    stop 5 $(names); kill_strays
    start_it
  fi
  cat "$STATE/env"
}
stop_service() { # [--now: a crash]
  [[ -d $STATE ]] || return 0
  lock_state
  if [[ -n $OWNER ]]; then if disown_by "$OWNER"; then NOW=yes; end_service; fi; return; fi
  stop "$([[ -n $NOW ]] && echo 0 || echo 30)" $(names)
  rm -f "$STATE/env" "$STATE/owners"
}
wipe_service() { [[ ! -d $STATE ]] || { lock_state; end_service; }; }
end_service() { stop 0 $(names); kill_strays; disclaim; rm -rf --one-file-system "$STATE"; }
reap_service() { [[ -e $STATE/mode ]] || end_service; } # clusters are reaped by `cluster`
show_env() { [[ -s $STATE/env ]] && cat "$STATE/env" || die "not running"; }

http_ok() { # URL [curl options]: any HTTP answer counts
  local code; code=$(curl -so /dev/null -w '%{http_code}' --max-time 3 "${@:2}" "$1") && [[ $code != 000 ]]
}
# tls: a throwaway authority and a certificate for the address that is listened on: $STATE/pki/{ca.crt,tls.crt,tls.key}
tls() {
  local san=DNS:localhost; [[ $LISTEN =~ ^[0-9.]+$ ]] && san+=,IP:$LISTEN || san+=,DNS:$LISTEN
  ca; cert tls "/CN=$LISTEN" "$san"
}

# debs NAME PACKAGE...: Debian packages of this release unpacked into $CACHE/debs/NAME, not installed: nothing starts by
# itself and the system stays as it is. Prints the folder.
debs() {
  local to=$CACHE/debs/$1 new=$CACHE/debs/.new-$1 one; shift
  if [[ ! -d $to ]]; then
    lock_unpack
    if [[ ! -d $to ]]; then
      rm -rf "$new"; mkdir -p "$new/.get"
      (cd "$new/.get" && { apt_get download "$@" || { ((EUID == 0)) && apt_get update && apt_get download "$@"; }; }) ||
        die "could not fetch $*$( ((EUID == 0)) || echo ': apt may not know them yet (sudo apt-get update)')"
      for one in "$new"/.get/*.deb; do dpkg -x "$one" "$new"; done
      libraries "$new"
      rm -r "$new/.get"; mv -T "$new" "$to"
    fi
  fi
  echo "$to"
}
# libraries FOLDER: installs what the programs in it link to, and neither they bring nor this machine has
libraries() {
  local lacks deb
  lacks=$(LD_LIBRARY_PATH=$(echo "$1"/usr/lib/*-linux-gnu) ldd "$1"/usr/bin/* "$1"/usr/sbin/* 2>/dev/null | awk '/not found/ {print $1}' | sort -u | xargs) || true
  [[ -n $lacks ]] || return 0
  say "this machine lacks $lacks"
  add $(for deb in "$1"/.get/*.deb; do dpkg-deb -f "$deb" Depends; done | tr ',' '\n' | sed 's/^ *//; s/[ (|:].*//' | grep ^lib | sort -u)
}
lock_unpack() { mkdir -p "$CACHE/debs"; exec 8>>"$CACHE/debs/.lock"; flock 8; }
venv() { # NAME PACKAGE...: prints the folder of a Python environment
  local to=$CACHE/venv/$1; shift
  if [[ ! -e $to/.done ]]; then
    lock_unpack
    if [[ ! -e $to/.done ]]; then
      need python3:python3
      $PYTHON -c 'import ensurepip' 2>/dev/null || add python3-venv # Debian's python3 comes without
      rm -rf "$to"; { $PYTHON -m venv "$to" && again "$to/bin/pip" install -q "$@"; } >&2 || die "could not install $*"
      touch "$to/.done"
    fi
  fi
  echo "$to"
}

service() { # COMMAND
  case $1 in
    start) start_service ;;
    stop) stop_service ;;
    env) show_env ;;
    wipe) wipe_service ;;
    *) usage; [[ $1 == help ]] ;;
  esac
}
