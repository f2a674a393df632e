#!/bin/sh
# Writes a snapshot of the data to standard output, as the server gives it to a new replica.
set -eu
flags="--no-auth-warning"
[ "${TLS:-false}" = "True" ] || [ "${TLS:-false}" = "true" ] && flags="$flags --tls --cacert /midship/tls/ca.crt --cert /midship/tls/tls.crt --key /midship/tls/tls.key"
exec redis-cli $flags -h localhost -p "$PORT" --rdb -
