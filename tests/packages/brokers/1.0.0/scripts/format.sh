#!/bin/sh
# Names the data after the cluster, unless it has its name already.
set -e
brokers-storage format --ignore-formatted -t "$ID" -c "$1"
