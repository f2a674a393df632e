# Programs from Go modules. A module is a folder with go.mod (its `tool` block names the programs), go.sum and perhaps
# sources of ours. What is built from it lies in $BIN/NAME-HASH, HASH being that of all inputs: a checkout never fights
# with another one over a file, and a finished folder is never written again.

KUBE=1.36.3 # what the Kubernetes programs call themselves; their modules carry no version
GO_FLAGS="-s -w -X k8s.io/component-base/version.gitVersion=v$KUBE -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"

go_dir() { # FOLDER: where its programs are, or will be
  echo "$BIN/${1##*/}-$({ (cd "$1" && find . -type f \( -name 'go.*' -o -name '*.go' \) | LC_ALL=C sort | xargs cat); echo "$GO_FLAGS"; } | short_hash)"
}

# go_build MINUTES POSITION FOLDER [COMMAND]: unless done. COMMAND runs at the end, in the folder of the new programs.
# MINUTES is what it takes on two idle cores; POSITION is for the message ("2 of 5").
go_build() {
  local minutes=$1 position=$2 folder=$3 after=${4:-true} to new
  to=$(go_dir "$folder") new=${to%/*}/.new-${to##*/}
  if [[ -d $to ]]; then touch "$to"; return; fi
  need_go; need cc:gcc,libc6-dev
  (
    lock "$BIN/.lock-${to##*/}" 3600 "another process builds ${folder##*/}"
    [[ ! -d $to ]] || exit 0
    rm -rf "$new"; mkdir -p "$new"
    say "building ${folder##*/} ($position), about $minutes minutes on two idle cores ..."
    # Go asks a proxy once for each module and gives up where it stumbles; what it has by then it keeps
    for tries in 3 2 1; do
      (cd "$folder" && CGO_ENABLED=0 exec go build -v -buildvcs=false -trimpath -ldflags "$GO_FLAGS" -o "$new/" tool) >"$new.log" 2>&1 &
      builder=$!
      trap 'kill $builder 2>/dev/null || true' EXIT
      watch_build $builder "${folder##*/} ($position)" "$new.log" "$minutes"
      ! wait $builder || break
      ((tries > 1)) || { grep -v downloading "$new.log" | tail -n 20 >&2; die "${folder##*/} could not be built: read $new.log"; }
      say "${folder##*/} could not be built, trying again ..."
      sleep 5
    done
    (cd "$new" && "$after")
    rm -f "$new.log"
    mv -T "$new" "$to"
    say "built ${folder##*/} in $(duration $SECONDS)"
    # what no checkout has used for a month
    find "$BIN" -maxdepth 1 -name "${folder##*/}-*" -mtime +30 -exec rm -rf {} +
  )
}

# a line every 30 s, or on a terminal one line that changes every second
watch_build() { # pid what log minutes
  local every=30 next=30 line; SECONDS=0
  [[ ! -t 2 ]] || every=1 next=1
  while kill -0 "$1" 2>/dev/null; do
    sleep 0.2
    ((SECONDS >= next)) || continue
    next=$((SECONDS + every))
    line="$2: $(grep -c '^go: downloading' "$3") modules fetched, $(grep -vc '^go: downloading' "$3") packages compiled, $(duration $SECONDS) of about $4 min"
    if [[ -t 2 ]]; then printf '\r%s: %s ' "$tool" "$line" >&2; else say "$line"; fi
  done
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
}
# need_toolchain: what no script installs, all of it told at once and before anything is built
need_toolchain() {
  local missing=()
  command -v cargo >/dev/null || missing+=(" Rust (https://rustup.rs)")
  command -v go >/dev/null || missing+=(" Go 1.26 or newer (https://go.dev/dl: Debian's own is too old)")
  command -v cc >/dev/null || ((EUID == 0)) || missing+=(" a C compiler (sudo apt-get install gcc libc6-dev)")
  if ((${#missing[@]})); then
    local IFS=';'; die "needed, and not on PATH:${missing[*]}"
  fi
  need cc:gcc,libc6-dev
}
need_go() { command -v go >/dev/null || die "the Go toolchain is needed, 1.26 or newer (Debian's own is too old)"; }
duration() { if (($1 < 60)); then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi; }

# go_install NAME PACKAGE@VERSION: a program of one module; prints its path
go_install() {
  local to=$BIN/$1-${2##*@}
  if [[ ! -d $to ]]; then
    need_go
    say "building $1 ${2##*@} ..."
    (
      lock "$BIN/.lock-$1" 3600
      [[ ! -d $to ]] || exit 0
      rm -rf "$BIN/.new-$1"; mkdir -p "$BIN/.new-$1"
      (cd / && GOTOOLCHAIN=local CGO_ENABLED=0 GOBIN=$BIN/.new-$1 again go install -trimpath -ldflags '-s -w' "$2") >"$BIN/.new-$1/log" 2>&1 ||
        { tail -n 20 "$BIN/.new-$1/log" >&2; die "$1 could not be built"; }
      rm "$BIN/.new-$1/log"
      mv -T "$BIN/.new-$1" "$to"
    )
  fi
  echo "$to/$1"
}
