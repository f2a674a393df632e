# Nodes. A node is a set of Linux namespaces (network, mounts, processes, IPC, hostname) whose pid 1 is lib/node-init:
# killing that one process ends every daemon and container of the node, and all its mounts and pod networks go with it.
#
#   host: bridge midship-br 10.200.0.254 ── midship-nN ═ eth0 10.200.0.1N in netns midship-N ── pods 10.244.N.0/24
#
# A node has no default route, and the host does not forward: nothing can leave the machine.

OWNER=/run/midship.owner # names the state directory of the one full cluster of this machine
BESIDE=/run/midship.beside # and that of the one beside it, whose only node has the number 0
mark_of() { if [[ $1 == beside ]]; then echo $BESIDE; else echo $OWNER; fi; } # mode

packages() {
  ((EUID == 0)) || die "a full cluster needs root (--api-only does not)"
  need runc:runc nft:nftables iptables:iptables ip:iproute2 losetup:mount mkfs.xfs:xfsprogs unshare:util-linux
}

machine_is_free() { # mode; or STATE's own
  local other; other=$(cat "$(mark_of "$1")" 2>/dev/null) || true
  [[ -z $other || $other == "$STATE" ]] || ! (STATE=$other; running) ||
    die "this machine already runs a full cluster$([[ $1 == full ]] || echo ' beside another'), in $other; only one fits. Use it (MIDSHIP_CLUSTER=$other), end it (MIDSHIP_CLUSTER=$other $0 down), or use --api-only"
  [[ $1 != beside ]] || (STATE=$(cat $OWNER 2>/dev/null) && running) || die "--beside is for a second cluster: no full one runs on this machine"
}
claim_machine() { # mode
  local other n numbers=({1..9}); other=$(cat "$(mark_of "$1")" 2>/dev/null) || true
  machine_is_free "$1"
  [[ $1 != beside ]] || numbers=(0)
  if [[ -n $other && $other != "$STATE" ]]; then
    for n in "${numbers[@]}"; do node_unlink "$n"; done # it died without `down`
  fi
  case $STATE/ in /run/* | /var/run/* | /var/lib/* | /var/log/*) die "MIDSHIP_CLUSTER may not be under /run, /var/lib or /var/log" ;; esac
  echo "$STATE" >"$(mark_of "$1")"
}

owns_machine() { # or the place beside its owner
  local mode; mode=$(cat "$STATE/mode" 2>/dev/null) || return
  [[ $mode != api && $(cat "$(mark_of "$mode")" 2>/dev/null || echo "$STATE") == "$STATE" ]]
}

release_machine() {
  local mode; mode=$(<"$STATE/mode")
  [[ $mode != beside ]] || { node_unlink 0; no_cgroups midship/node-0; }
  if [[ $mode == full || ! -e $OWNER ]]; then
    ! ip link show midship-br >/dev/null 2>&1 || ip link del midship-br
    no_cgroups midship
    [[ -n $(ls -A /run/netns 2>/dev/null) ]] || { umount /run/netns; rmdir /run/netns; } 2>/dev/null || true
  fi
  rm -f "$(mark_of "$mode")"
}

network() {
  if ! ip link show midship-br >/dev/null 2>&1; then ip link add midship-br type bridge; fi
  ip addr replace $HOST_IP/24 dev midship-br
  ip link set midship-br up
  # what no bridge or node answers for dies here instead of leaving by the default route; `down` leaves these in place
  local net; for net in 10.200.0.0/24 $POD_CIDR $SVC_CIDR; do ip route replace unreachable $net metric 4096; done
}

highest_node() { local d n=1; for d in "$STATE"/node-[1-9]; do [[ ! -d $d || -e $d/guest ]] || n=${d##*-}; done; echo "$n"; }

nodes() { # first last
  local n
  for ((n = $1; n <= $2; n++)); do node_start "$n"; done
  [[ ! -e $STATE/ready ]] || return 0
  for ((n = $1; n <= $2; n++)); do node_ready "$n"; done
  wait_for 120 controller-manager "the default ServiceAccount" k get serviceaccount default
}

node_start() {
  local n=$1 name=node-$1 ip=10.200.0.$((10 + $1)) ns=midship-$1 m
  [[ $n == [1-9] || "$n $(<"$STATE/mode")" == "0 beside" ]] || die "nodes are numbered 1 to 9"
  ! alive "$name" || return 0
  say "starting $name ($ip) ..."
  rm -f "$STATE/ready"
  # one that tests added for themselves does not come back with `up`
  if [[ -n ${MIDSHIP_NODE_TAINT:-} && ! -d $STATE/$name ]]; then mkdir -p "$STATE/$name"; touch "$STATE/$name/guest"; fi
  mkdir -p "$STATE/$name"
  cat /proc/sys/kernel/random/uuid >"$STATE/$name/boot-id"
  local API; API=$(<"$STATE/address")
  cert "$name" "/O=system:nodes/CN=system:node:$name" "DNS:$name,IP:$ip"; kubeconfig "$name"
  identity proxy /CN=system:kube-proxy
  cat >"$STATE/$name/dns.yaml" <<Y
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-$name, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns, endpointslice.kubernetes.io/managed-by: midship}}
addressType: IPv4
endpoints: [{addresses: [$ip], nodeName: $name, conditions: {ready: true}}]
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
Y
  wait_for 60 apiserver "the endpoint of DNS on $name" k apply -f "$STATE/$name/dns.yaml"
  node_unlink "$n"
  ip netns add "$ns"
  ip link add "midship-n$n" type veth peer name eth0 netns "$ns"
  ip link set "midship-n$n" master midship-br up
  ip -n "$ns" link set lo up
  ip -n "$ns" addr add "$ip/24" dev eth0
  ip -n "$ns" link set eth0 up
  ip -n "$ns" route add $SVC_CIDR via $HOST_IP # kube-proxy rewrites these before they leave; the host drops the rest
  for ((m = 1; m <= 9; m++)); do ((n == 0 || m == n)) || ip -n "$ns" route add "10.244.$m.0/24" via "10.200.0.$((10 + m))"; done
  ip route replace "10.244.$n.0/24" via "$ip"
  node_cgroups "$name"
  PATH=$(programs):$PATH STATE=$STATE PROGRAMS=$(programs) NAME=$name NUMBER=$n IP=$ip API=$API POD_CIDR=$POD_CIDR TAINT=${MIDSHIP_NODE_TAINT:-} run "$name" \
    nsenter --net="/run/netns/$ns" unshare --mount --uts --ipc --pid --fork --kill-child bash "$here/lib/node-init"
}

# cgroup v1: a directory in each hierarchy; v2: one directory. Old ones are removed, as a boot would: the kubelet loses
# seconds on each that a dead container left.
node_cgroups() { # name
  local top dir tops=(/sys/fs/cgroup/*/)
  [[ ! -e /sys/fs/cgroup/cgroup.controllers ]] || tops=(/sys/fs/cgroup)
  no_cgroups "midship/$1"
  for top in "${tops[@]}"; do
    [[ -e $top/cgroup.procs ]] || continue
    mkdir -p "$top/midship/$1"
    # a compiler on this machine has a weight per thread, and all pods have this one together: they are not to starve,
    # which looks like nodes that hang
    [[ ! -w $top/midship/cpu.shares ]] || echo 65536 >"$top/midship/cpu.shares"
    [[ ! -w $top/midship/cpu.weight ]] || echo 10000 >"$top/midship/cpu.weight"
    [[ -e $top/cpuset.cpus ]] || continue
    for dir in "$top/midship" "$top/midship/$1"; do
      cat "$top/cpuset.cpus" >"$dir/cpuset.cpus"; cat "$top/cpuset.mems" >"$dir/cpuset.mems"
    done
  done
}
no_cgroups() { find /sys/fs/cgroup -depth -type d \( -path "*/$1" -o -path "*/$1/*" \) -exec rmdir {} + 2>/dev/null || true; }

node_ready() {
  local name=node-$1 ip=10.200.0.$((10 + $1)) log=node-$1/kubelet
  wait_for 180 "$log" "the kubelet of $name" answers "http://$ip:10248/healthz"
  wait_for 120 "$log" "$name" k wait --for=jsonpath='{.status.nodeInfo.bootID}'="$(<"$STATE/$name/boot-id")" "node/$name" --timeout=2s
  wait_for 120 "$log" "$name" k wait --for=condition=Ready "node/$name" --timeout=2s
  wait_for 120 "node-$1/csi-loop" "storage on $name" k wait --for=jsonpath='{.spec.drivers[0].name}'=loop.csi.midship.test "csinode/$name" --timeout=2s
  wait_for 120 "node-$1/kube-proxy" "kube-proxy on $name" answers "http://$ip:10256/healthz"
  wait_for 120 "node-$1/coredns" "DNS on $name" answers "http://$ip:8181/ready"
}

# pid 1 of a running node, as the host sees it
node_pid() {
  local pid; alive "node-$1" || return
  pid=$(pid_of "node-$1"); pid=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null); [[ -n $pid ]] && echo "${pid%% *}"
}

node_enter() { # number command...
  local pid; pid=$(node_pid "$1") || die "node-$1 is not running"
  shift; PATH=$(programs):$PATH nsenter -t "$pid" -m -u -i -n -p -- "$@"
}

node_kill() {
  local pid i
  if pid=$(node_pid "$1"); then
    kill -9 "$pid" # and with it every process of its pid namespace
    for ((i = 0; i < 200; i++)); do [[ -n $(started "$pid") ]] || break; sleep 0.05; done
  fi
  if alive "node-$1"; then kill -9 "$(pid_of "node-$1")" 2>/dev/null || true; fi
  rm -f "$STATE/run/node-$1.pid"
  node_unlink "$1"
}

node_remove() { # number: crashes it, and forgets it and its disk
  [[ $1 == [2-9] ]] || die "remove-node takes 2 to 9: the first node stays"
  node_kill "$1"
  again k delete node "node-$1" --ignore-not-found >/dev/null
  again k delete endpointslice "kube-dns-node-$1" --namespace kube-system --ignore-not-found >/dev/null
  (lock "$STATE/run/load.lock" 300 "images are being loaded"; rm -rf --one-file-system "$STATE/node-$1")
}

node_unlink() {
  ip link del "midship-n$1" 2>/dev/null || true
  ip route del "10.244.$1.0/24" 2>/dev/null || true
  ! [[ -e /run/netns/midship-$1 ]] || ip netns del "midship-$1"
}

load() {
  (($#)) && [[ $1 != -* ]] || die "load FILE.tar..."
  lock "$STATE/run/load.lock" 300 "another load is under way"
  local name pids=() pid
  for name in $(names); do
    [[ $name != node-* ]] || ! alive "$name" || { load_into "${name#node-}" "$@" & pids+=($!); }
  done
  ((${#pids[@]})) || die "no node is running"
  for pid in "${pids[@]}"; do wait "$pid"; done
}
crashed() { # number: whether it was stopped meanwhile, which takes a moment to show
  local i; for ((i = 0; i < 20; i++)); do alive "node-$1" || return 0; sleep 0.05; done
  return 1
}
load_into() { # number file...: skips what was the last to be loaded under its name; waits for a node that boots
  local n=$1 file what said tries loaded=$STATE/node-$1/loaded; shift
  for file; do
    file=$(realpath "$file"); what="${file##*/} $(stat -c '%i %y %s' "$file")"
    ! grep -qxF "$what" "$loaded" 2>/dev/null || continue
    tries=0
    until said=$(node_enter "$n" ctr -n k8s.io images import --snapshotter overlayfs "$file" 2>&1); do
      ! crashed "$n" || return 0
      ((++tries < 60)) || die "node-$n: $file: $said"
    done
    { grep -vF "${file##*/} " "$loaded" 2>/dev/null; echo "$what"; } >"$loaded.new" || true; mv "$loaded.new" "$loaded"
  done
}
