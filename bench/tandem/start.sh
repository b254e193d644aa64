#!/bin/sh
# Starts Tandem in the foreground with bench/tandem/tandem.hcl and an empty data directory DIR/data.
#   start.sh BINARY DIR [sip address] [admin address] [ng address] [media tier] [ports] [single port]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
binary=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
rm -rf "$dir/data"
mkdir "$dir/data"
sed -e "s|SIP_ADDRESS|${3:-127.0.0.1:6080}|; s|ADMIN_ADDRESS|${4:-127.0.0.1:9790}|; s|NG_ADDRESS|${5:-127.0.0.1:6222}|; s|MEDIA_TIER|${6:-auto}|; s|MEDIA_PORTS|${7:-20000-29999}|; s|SINGLE_PORT|${8:-0}|; s|DATA_DIR|$dir/data|; s|PLAN_FILE|$here/bench.dialplan.hcl|" \
	"$here/tandem.hcl" >"$dir/tandem.hcl"
exec "$binary" serve --config "$dir/tandem.hcl"
