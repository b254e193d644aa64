#!/bin/sh
# Starts rtpengine in the foreground as a userspace relay (no kernel module).
#   start.sh [threads] [ng address] [first port] [last port]
set -eu
command=$(command -v rtpengine || echo /usr/bin/rtpengine)
exec "$command" --config-file=none --foreground --log-stderr --log-level=3 --table=-1 --interface=127.0.0.1 \
	--listen-ng="${2:-127.0.0.1:6223}" --num-threads="${1:-1}" --media-num-threads=1 --port-min="${3:-10000}" --port-max="${4:-14999}" \
	--delete-delay=0 --timeout=60
