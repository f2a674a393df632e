#!/bin/sh
# slots.sh own | all | take SLOTS EPOCH: which slots the shard of this server has; how all slots are divided, as every shard
# tells it alike; and, before a restored server starts, that it has those of its keys: in a node's configuration of its own,
# whose epoch no other shard has. Outside of a cluster there is nothing to say.
set -eu
[ "$TOPOLOGY" = cluster ] || exit 0
flags="--no-auth-warning"
[ "${TLS:-false}" = "True" ] || [ "${TLS:-false}" = "true" ] && flags="$flags --tls --cacert /midship/tls/ca.crt --cert /midship/tls/tls.crt --key /midship/tls/tls.key"
fail() { echo "$1" >&2; exit 1; }
nodes() { # what the primary of this shard sees, into nodes and own
  nodes=$(redis-cli $flags -p "$PORT" cluster nodes)
  own=$(printf '%s\n' "$nodes" | grep 'myself,') || fail "the cluster cannot be asked: $nodes"
  case $own in
    *'myself,slave'*)
      leader=$(printf '%s\n' "$own" | cut -d ' ' -f 4)
      at=$(printf '%s\n' "$nodes" | grep "^$leader ") || fail "nobody knows whose replica this is"
      # of a slot that is being moved only those two know between whom it moves, and not their replicas
      at=$(printf '%s\n' "$at" | cut -d ' ' -f 2 | sed 's/:[0-9]*@.*//')
      nodes=$(redis-cli $flags -h "$at" -p "$PORT" cluster nodes)
      own=$(printf '%s\n' "$nodes" | grep 'myself,') || fail "the primary of this shard cannot be asked: $nodes" ;;
  esac
  # such a slot is in two places: [slot->-node] and [slot-<-node]
  case $nodes in *'->-'* | *'-<-'*) fail "slots are being moved between shards" ;; esac
}
case $1 in
own)
  nodes
  slots=$(printf '%s\n' "$own" | cut -s -d ' ' -f 9-)
  [ -n "$slots" ] || fail "this shard has no slots"
  printf '%s\n' "$slots" ;;
all)
  nodes
  printf '%s\n' "$nodes" | cut -s -d ' ' -f 9- | grep '^[0-9]' | sort -n ;;
take)
  case $2 in '' | *[!0-9' '-]*) fail "the backup does not say which slots its keys are in" ;; esac
  id=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
  printf '%s :0@0 myself,master - 0 0 %s connected %s\nvars currentEpoch %s lastVoteEpoch 0\n' "$id" "$3" "$2" "$3" > /data/nodes.conf ;;
*)
  fail "unknown command $1" ;;
esac
