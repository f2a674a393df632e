# The one library of cluster, images, services and tools: messages, locks, processes, ports, certificates, packages.
# A script that runs processes sets STATE, its directory, and calls `claim`; then run/NAME.pid, log/NAME.log, ports and
# pki/ in it are handled here.

shopt -s inherit_errexit
tool=${0##*/}
lib=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
CACHE=${MIDSHIP_CACHE:-$HOME/.cache/midship}
BIN=$CACHE/bin
# a network that stumbles now and then is no reason to end a run
export CARGO_NET_RETRY=${CARGO_NET_RETRY:-10} PIP_RETRIES=${PIP_RETRIES:-10}
PATH=$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
# a version manager's python3 costs 0.2 s at each start
PYTHON=python3; [[ ! -x /usr/bin/python3 ]] || PYTHON=/usr/bin/python3

say() { printf '%s: %s\n' "$tool" "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { awk 'NR > 1 && !/^#/ {exit} NR > 1 {sub(/^# ?/, ""); print}' "$0"; }

# lock FILE [SECONDS] [what holds it]: until this shell ends, or the last process that inherited it closes it
lock() {
  mkdir -p "${1%/*}"; exec 9>>"$1"
  flock -n 9 || { [[ -z ${3:-} ]] || say "waiting: $3"; flock -w "${2:-300}" 9 || die "still locked after ${2:-300} s: $1"; }
}
short_hash() { sha256sum | cut -c1-12; }

# --- states: $CACHE/run holds a link to the state directory of each cluster and service that was started

claim() { # make STATE and register it
  mkdir -p "$STATE"/{run,log} "$CACHE/run"
  ln -sfn "$STATE" "$CACHE/run/$(short_hash <<<"$STATE")"
}
disclaim() { rm -f "$CACHE/run/$(short_hash <<<"$STATE")"; }
lock_state() { lock "$CACHE/run/.lock-$(short_hash <<<"$STATE")" 300 "another command is at work on $STATE"; }
try_lock_state() { exec 9>>"$CACHE/run/.lock-$(short_hash <<<"$STATE")"; flock -n 9; }
states() { local link; for link in "$CACHE"/run/*; do [[ ! -L $link ]] || readlink "$link"; done; }

# --- processes: a pid file holds "PID STARTTIME", so that a recycled pid is never taken for ours

started() { # the start time of a live process (zombies do not count)
  local line; { read -r line <"/proc/$1/stat"; } 2>/dev/null || return
  set -- ${line##*) }
  [[ $1 != Z ]] && echo "${20}"
}
pid_of() { local pid _; { read -r pid _ <"$STATE/run/$1.pid"; } 2>/dev/null && echo "$pid"; }
alive() {
  local pid at; { read -r pid at <"$STATE/run/$1.pid"; } 2>/dev/null || return
  [[ -n $at && $(started "$pid") == "$at" ]]
}
names() { local file; for file in "$STATE"/run/*.pid; do [[ ! -e $file ]] || basename "$file" .pid; done; }
running() { local name; for name in $(names); do ! alive "$name" || return 0; done; return 1; }
all_alive() { local name; for name; do alive "$name" || return; done; }
family() { # a process and all its descendants
  local pid; echo "$1"
  for pid in $(cat /proc/"$1"/task/*/children 2>/dev/null); do family "$pid"; done
}

# run NAME COMMAND...: in a session of its own (lib/process says how)
run() {
  local name=$1 i; shift
  ! alive "$name" || return 0
  rm -f "$STATE/run/$name.pid"
  MIDSHIP_STATE=$STATE setsid "$lib/process" "$STATE/run/$name.pid" "$STATE/log/$name.log" "$@" &
  for ((i = 0; i < 6000; i++)); do [[ ! -s $STATE/run/$name.pid ]] || return 0; sleep 0.01; done
  die "$name could not be started"
}

# stop SECONDS NAME...: ask them all, wait that long, then force them and their children
stop() {
  local grace=$(($1 * 20)) name i; shift
  for name; do if alive "$name"; then kill "$(pid_of "$name")" 2>/dev/null || true; fi; done
  for name; do
    for ((i = 0; i < grace; i++)); do alive "$name" || break; sleep 0.05; done
    if alive "$name"; then
      kill -9 -- "-$(pid_of "$name")" 2>/dev/null || kill -9 "$(pid_of "$name")" 2>/dev/null || true
      # its ports are free once it is gone
      for ((i = 0; i < 200; i++)); do alive "$name" || break; sleep 0.05; done
    fi
    rm -f "$STATE/run/$name.pid"
  done
}

# Every process carries MIDSHIP_STATE in its environment, as do its children: what no pid file knows is found by it.
strays() { # PIDs and their states, of this STATE or of all
  local file state
  for file in $(grep -lzs "^MIDSHIP_STATE=${1:-}" /proc/[0-9]*/environ); do
    state=$(tr '\0' '\n' <"$file" 2>/dev/null | sed -n 's/^MIDSHIP_STATE=//p'); file=${file#/proc/}
    [[ -z $state ]] || echo "${file%/environ} $state"
  done
}
kill_strays() { # those of STATE; whoever removes its folder next does so when they are gone
  local pid state i left
  for ((i = 0; i < 100; i++)); do
    left=
    while read -r pid state; do [[ $state != "$STATE" ]] || { left=1; kill -9 "$pid" 2>/dev/null || true; }; done < <(strays "$STATE")
    [[ -n $left ]] || return 0
    sleep 0.1
  done
}

# wait_for SECONDS NAME WHAT COMMAND...: until the command succeeds; fails at once when process NAME has ended.
# NAME may also be a log of one of its parts: node-1/kubelet.
wait_for() {
  local until=$((SECONDS + $1)) name=$2 what=$3; shift 3
  until "$@" >/dev/null 2>&1; do
    if ! alive "${name%%/*}"; then until=0; what="$what: ${name%%/*} ended, it"; fi
    ((SECONDS < until)) || { tail -n 8 "$STATE/log/$name.log" >&2 || true; die "$what did not come up: read $STATE/log/$name.log"; }
    sleep 0.1
  done
}
answers() { curl -fsS -m 5 "$@"; }

# --- owners: a state that was started for another process goes when the last of those is gone

own() { # [PID]: kept for PID; without one, kept until somebody says `down`
  local owners=$STATE/owners
  if [[ -z ${1:-} ]]; then rm -f "$owners"; return; fi
  [[ -n $(started "$1") ]] || die "--owner $1: no such process"
  [[ -e $owners ]] || ! running || return 0 # somebody's own: stays theirs
  grep -qx "$1 $(started "$1")" "$owners" 2>/dev/null || echo "$1 $(started "$1")" >>"$owners"
}
disown_by() { # PID: succeeds when nobody is left
  [[ -e $STATE/owners ]] || return
  sed -i "/^$1 /d" "$STATE/owners"
  orphaned
}
orphaned() {
  local pid at
  [[ -e $STATE/owners ]] || return
  while read -r pid at; do [[ $(started "$pid") != "$at" ]] || return; done <"$STATE/owners"
}

# reap_with FUNCTION: calls it for each state whose owners are all gone, with STATE set and locked; then ends the processes
# whose state directory somebody removed under them
reap_with() {
  local state pid
  while read -r state; do
    (
      STATE=$state
      if [[ ! -d $STATE ]]; then disclaim
      elif orphaned && try_lock_state && orphaned; then
        say "removing $STATE: the process that started it is gone"
        "$1"
      fi
    )
  done < <(states)
  while read -r pid state; do [[ -d $state ]] || kill -9 "$pid" 2>/dev/null || true; done < <(strays)
}

# --- ports

# stable_ports N: the same as before while nobody else took them, so that a stopped server comes back where it was. They
# are below the range that outgoing connections use, and differ from those of every registered state.
stable_ports() {
  local ports=() taken port i
  exec 8>"$CACHE/run/.ports"; flock 8
  taken=" $(awk '$4 == "0A" {sub(/.*:/, "", $2); print $2}' /proc/net/tcp /proc/net/tcp6 2>/dev/null | sort -u | sed 's/^/0x/' | xargs -r printf '%d ') "
  [[ ! -s $STATE/ports ]] || read -ra ports <"$STATE/ports"
  for port in "${ports[@]}"; do [[ $taken != *" $port "* ]] || { ports=(); break; }; done
  if ((${#ports[@]} != $1)); then
    ports=()
    for i in $(states); do [[ ! -s $i/ports ]] || taken+="$(<"$i/ports") "; done
    while ((${#ports[@]} < $1)); do
      port=$((20000 + RANDOM % 10000))
      [[ " ${ports[*]} $taken" == *" $port "* ]] || ports+=("$port")
    done
    echo "${ports[*]}" >"$STATE/ports"
  fi
  exec 8>&-
  echo "${ports[*]}"
}

# --- certificates in $STATE/pki, from one throwaway authority; written under another name first

ca() {
  [[ ! -e $STATE/pki/ca.crt ]] || return 0
  mkdir -p "$STATE/pki"; key ca
  openssl req -x509 -new -key "$STATE/pki/ca.key" -days 3650 -subj /CN=midship-test-ca -addext keyUsage=critical,keyCertSign,digitalSignature \
    -out "$STATE/pki/ca.new"
  mv "$STATE/pki/ca.new" "$STATE/pki/ca.crt"
}
key() { (umask 077; openssl ecparam -genkey -name prime256v1 -noout -out "$STATE/pki/$1.key"); }
cert() { # name subject [subjectAltName]
  local to=$STATE/pki/$1
  [[ ! -e $to.crt ]] || return 0
  key "$1"
  openssl req -new -key "$to.key" -subj "$2" | openssl x509 -req -CA "$STATE/pki/ca.crt" -CAkey "$STATE/pki/ca.key" \
    -set_serial "0x$(openssl rand -hex 8)" -days 3650 -out "$to.new" 2>/dev/null \
    -extfile <(printf 'keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:+subjectAltName=$3}")
  mv "$to.new" "$to.crt"
}

# --- packages

need() { # COMMAND:PACKAGE[,PACKAGE]...: installs what is missing
  local pair missing=() packages
  for pair; do command -v "${pair%:*}" >/dev/null || { IFS=, read -ra packages <<<"${pair#*:}"; missing+=("${packages[@]}"); }; done
  ((${#missing[@]} == 0)) || add "${missing[@]}"
}
add() { # PACKAGE...
  ((EUID == 0)) || die "needed: $* (sudo apt-get install $*)"
  command -v apt-get >/dev/null || die "needed: $*, and there is no apt-get to install them with"
  say "installing $* ..."
  apt_get install -y --no-install-recommends "$@" || { apt_get update && apt_get install -y --no-install-recommends "$@"; } ||
    die "could not install $*"
}
# what tests and their servers call, wherever they run
need_programs() { need curl:curl openssl:openssl python3:python3 zstd:zstd git:git gpg:gnupg ssh-keygen:openssh-client; }
apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@" >/dev/null 2> >(grep -v apt-utils >&2); }

# again COMMAND...: what asks the network is tried three times
again() {
  local tries
  for tries in 1 2; do
    if "$@"; then return; fi
    say "$1 failed, trying again ..."
    sleep $((tries * 5))
  done
  "$@"
}

# view FILE...: a directory with links to these programs, named by what they are
view() {
  local to; to=$BIN/view-$(printf '%s\n' "$@" | short_hash)
  if [[ ! -d $to ]]; then
    local new; new=$(mktemp -d "$BIN/.view-XXXXXX"); chmod 755 "$new"
    ln -s "$@" "$new/"
    mv -T "$new" "$to" 2>/dev/null || { rm -rf "$new"; [[ -d $to ]]; }
  fi
  echo "$to"
}
