#!/bin/sh
# Forms and changes a cluster: create GROUPS | join GROUPS GROUP | leave GROUPS GROUP | replica GROUPS GROUP HOST
# GROUPS is JSON: a list of shards with their pods. Every step looks first, so that it can be repeated.
set -eu
command=$1 groups=$2 group=${3:-} host=${4:-}
flags="--no-auth-warning"
[ "${TLS:-false}" = "True" ] || [ "${TLS:-false}" = "true" ] && flags="$flags --tls --cacert /midship/tls/ca.crt --cert /midship/tls/tls.crt --key /midship/tls/tls.key"
cli() { redis-cli $flags "$@"; }

# pods GROUP: the hosts of a shard's pods, in order; all of them without a name
pods() { printf '%s' "$groups" | tr '{' '\n' | grep -o "\"group\":\"${1:-[^\"]*}\",\"host\":\"[^\"]*\"" | sed 's/.*"host":"//; s/"$//'; }
first() { pods "$1" | head -n 1; }
names() { printf '%s' "$groups" | grep -o '"group":"[^"]*"' | sed 's/.*:"//; s/"$//' | sort -u; }
id() { cli -h "$1" -p "$PORT" cluster myid; }
# known AT HOST: whether the cluster at AT has the node HOST
known() { cli -h "$1" -p "$PORT" cluster nodes | grep -q "^$(id "$2") "; }
# hears AT HOST: waits until AT has heard of the node HOST; a check before that finds everything in order without it
hears() { for _ in $(seq 1 60); do known "$1" "$2" && return 0; sleep 1; done; echo "$1 does not hear of $2" >&2; return 1; }
settle() { for _ in $(seq 1 60); do cli --cluster check "$1:$PORT" >/dev/null 2>&1 && return 0; sleep 1; done; return 1; }
# somebody in the cluster who is not of this shard
elsewhere() { for name in $(names); do [ "$name" = "$1" ] || { first "$name"; return; }; done; }

follow() { # SHARD HOST: HOST becomes a replica in SHARD
  primary=$(first "$1")
  [ "$2" = "$primary" ] && return 0
  known "$primary" "$2" || cli --cluster add-node "$2:$PORT" "$primary:$PORT" --cluster-slave --cluster-master-id "$(id "$primary")"
}

case $command in
create)
  any=$(first "$(names | head -n 1)")
  if ! cli -h "$any" -p "$PORT" cluster info | grep -q 'cluster_state:ok'; then
    primaries=""
    for name in $(names); do primaries="$primaries $(first "$name"):$PORT"; done
    cli --cluster create $primaries --cluster-replicas 0 --cluster-yes
    settle "$any"
  fi
  for name in $(names); do for pod in $(pods "$name"); do follow "$name" "$pod"; done; done ;;
join)
  seed=$(elsewhere "$group") primary=$(first "$group")
  known "$seed" "$primary" || cli --cluster add-node "$primary:$PORT" "$seed:$PORT"
  hears "$seed" "$primary"
  settle "$seed"
  cli --cluster rebalance "$seed:$PORT" --cluster-use-empty-masters
  for pod in $(pods "$group"); do follow "$group" "$pod"; done ;;
leave)
  seed=$(elsewhere "$group")
  for pod in $(pods "$group"); do
    if cli -h "$pod" -p "$PORT" role | head -n 1 | grep -q master; then
      cli --cluster rebalance "$seed:$PORT" --cluster-weight "$(id "$pod")=0"
    fi
  done
  for pod in $(pods "$group" | sort -r); do cli --cluster del-node "$seed:$PORT" "$(id "$pod")"; done ;;
replica)
  follow "$group" "$host" ;;
*)
  echo "unknown command $command" >&2; exit 2 ;;
esac
