#!/bin/sh
# slots.sh own | all | take SLOTS EPOCH: which slots the shard of this server has; how all slots are divided, as every shard
# tells it alike; and, before a restored server starts, that it has those of its keys: in a node's configuration of its own,
# whose epoch no other shard has. Outside of a cluster there is nothing to say.
set -eu
[ "$TOPOLOGY" = cluster ] || exit 0
flags="--no-auth-warning"
[ "${TLS:-false}" = "True" ] || [ "${TLS:-false}" = "true" ] && flags="$flags --tls --cacert /midship/tls/ca.crt --cert /midship/tls/tls.crt --key /midship/tls/tls.key"
fail() { echo "$1" >&2; exit 1; }
nodes() {
  nodes=$(redis-cli $flags -p "$PORT" cluster nodes)
  # a slot that is being moved is in two places: [slot->-node] and [slot-<-node]
  case $nodes in
    *'->-'* | *'-<-'*) fail "slots are being moved between shards" ;;
    *myself,*) ;;
    *) fail "the cluster cannot be asked: $nodes" ;;
  esac
}
case $1 in
own)
  nodes
  own=$(printf '%s\n' "$nodes" | grep 'myself,')
  case $own in
    *'myself,slave'*)
      leader=$(printf '%s\n' "$own" | cut -d ' ' -f 4)
      own=$(printf '%s\n' "$nodes" | grep "^$leader ") || fail "nobody knows whose replica this is" ;;
  esac
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
