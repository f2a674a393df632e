#!/bin/sh
set -e
exec brokers-admin "$@"
