#!/bin/sh
# Forms and changes a cluster: create GROUPS | join GROUPS GROUP | leave GROUPS GROUP | replica GROUPS GROUP HOST |
# forget GROUPS GROUP HOST
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
# whether all nodes agree with HOST, and it serves
agreed() { cli --cluster check "$1:$PORT" >/dev/null 2>&1 && cli -h "$1" -p "$PORT" cluster info | grep -q cluster_state:ok; }
settle() { # HOST...: waits until all is agreed; a move of slots that was broken off is brought to its end
  for host_ in "$@"; do
    for try in $(seq 1 60); do
      agreed "$host_" && continue 2
      [ $((try % 10)) != 0 ] || cli --cluster fix "$host_:$PORT" </dev/null || true
      sleep 1
    done
    echo "the nodes of the cluster do not agree:" >&2
    cli --cluster check "$host_:$PORT" | tail -n 5 >&2
    return 1
  done
}
# hears AT HOST: waits until AT has heard of the node HOST; a check before that finds everything in order without it
hears() { for try in $(seq 1 60); do known "$1" "$2" && return 0; sleep 1; done; echo "$1 does not hear of $2" >&2; return 1; }
# somebody in the cluster who is not of this shard
elsewhere() { for name in $(names); do [ "$name" = "$1" ] || { first "$name"; return; }; done; }

# the pod of a shard that has its slots, whoever that became; the first while it has none
leader() {
  for pod in $(pods "$1"); do
    cli -h "$pod" -p "$PORT" cluster nodes | grep 'myself,master' | grep -q 'connected [0-9[]' && { echo "$pod"; return; }
  done
  first "$1"
}

# whether all shards are in one cluster that serves
formed() {
  cli -h "$1" -p "$PORT" cluster info | grep -q 'cluster_state:ok' || return 1
  for name in $(names); do known "$1" "$(leader "$name")" || return 1; done
}
# the slots that a shard has by itself
slots() { cli -h "$(leader "$1")" -p "$PORT" cluster nodes | grep 'myself,' | cut -s -d ' ' -f 9- | tr ' ' '\n' | grep '^[0-9]' || true; }

# meet AT: shards that were filled from backups have the slots of their keys already. They come together only where these are
# all slots, each once: of two with the same slot one would throw its keys away.
meet() {
  next=0
  for range in $(for name in $(names); do slots "$name"; done | sort -n); do
    if [ "${range%-*}" != "$next" ]; then
      echo "the shards do not fit together: slot $next is not where it is to be, in $range; what is restored has to be parts that were made together" >&2
      return 1
    fi
    next=$((${range#*-} + 1))
  done
  [ "$next" = 16384 ] || { echo "the shards have slots up to $next of 16384; what is restored has to be all parts that were made together" >&2; return 1; }
  for name in $(names); do
    pod=$(leader "$name")
    if [ "$pod" != "$1" ] && ! known "$1" "$pod"; then
      cli -h "$1" -p "$PORT" cluster meet "$(cli -h "$pod" -p "$PORT" config get cluster-announce-ip | tail -n 1)" "$PORT"
    fi
  done
  for name in $(names); do hears "$1" "$(leader "$name")"; hears "$(leader "$name")" "$1"; done
}

follow() { # SHARD HOST: HOST becomes a replica in SHARD
  primary=$(leader "$1")
  [ "$2" = "$primary" ] && return 0
  known "$primary" "$2" || cli --cluster add-node "$2:$PORT" "$primary:$PORT" --cluster-slave --cluster-master-id "$(id "$primary")"
}

case $command in
create)
  any=$(leader "$(names | head -n 1)")
  if ! formed "$any"; then
    if [ -n "$(for name in $(names); do slots "$name"; done)" ]; then
      meet "$any"
    else
      primaries=""
      for name in $(names); do primaries="$primaries $(first "$name"):$PORT"; done
      cli --cluster create $primaries --cluster-replicas 0 --cluster-yes
    fi
    settle "$any"
  fi
  for name in $(names); do for pod in $(pods "$name"); do follow "$name" "$pod"; done; done ;;
join)
  seed=$(elsewhere "$group") primary=$(first "$group")
  known "$seed" "$primary" || cli --cluster add-node "$primary:$PORT" "$seed:$PORT"
  hears "$seed" "$primary"
  settle "$seed" "$primary"
  cli --cluster rebalance "$seed:$PORT" --cluster-use-empty-masters
  for pod in $(pods "$group"); do follow "$group" "$pod"; done ;;
leave)
  seed=$(elsewhere "$group")
  settle "$seed"
  for pod in $(pods "$group"); do
    if known "$seed" "$pod" && cli -h "$pod" -p "$PORT" role | head -n 1 | grep -q master; then
      cli --cluster rebalance "$seed:$PORT" --cluster-weight "$(id "$pod")=0"
    fi
  done
  for pod in $(pods "$group" | sort -r); do
    if known "$seed" "$pod"; then cli --cluster del-node "$seed:$PORT" "$(id "$pod")"; fi
  done ;;
forget)
  for pod in $(pods); do
    if [ "$pod" != "$host" ] && known "$pod" "$host"; then cli --cluster del-node "$pod:$PORT" "$(id "$host")"; break; fi
  done ;;
replica)
  follow "$group" "$host" ;;
*)
  echo "unknown command $command" >&2; exit 2 ;;
esac
