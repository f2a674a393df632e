# The servers: Go modules pinned by modules/*/go.mod and go.sum, built once into the cache (see ../lib/go.sh). PROGRAMS is
# a directory of links to all of them.

FULL="kubernetes containerd etcd coredns csi" API_ONLY="kubernetes etcd"
declare -A MINUTES=([kubernetes]=11 [containerd]=1.5 [etcd]=1 [coredns]=1.5 [csi]=6)

build() { # api|full: sets PROGRAMS
  local modules=$FULL module programs=() at=0 extra
  [[ $1 == full ]] || modules=$API_ONLY
  set -- $modules
  mkdir -p "$BIN"
  for module; do
    extra=true
    case $module in kubernetes) extra=pause ;; etcd) extra=name_etcd ;; esac
    go_build "${MINUTES[$module]}" "$((at += 1)) of $#" "$here/modules/$module" $extra
    programs+=("$(go_dir "$here/modules/$module")"/*)
  done
  PROGRAMS=$(view "${programs[@]}")
}

name_etcd() { mv server etcd; }

# the sandbox image holds Kubernetes' own pause.c
pause() {
  local source; source=$(cd "$here/modules/kubernetes" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c
  mkdir root
  cc -static -Os -DVERSION=3.10 -o root/pause "$source"
  "$here/../images/pack" -o pause.tar -t midship.test/pause:3.10 --entrypoint '["/pause"]' --user 65535:65535 root
  rm -r root
}
