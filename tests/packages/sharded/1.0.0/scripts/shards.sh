#!/bin/sh
exec documents shards "$@"
