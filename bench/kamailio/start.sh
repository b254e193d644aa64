#!/bin/sh
# Starts Kamailio in the foreground with bench/kamailio/kamailio.cfg.
#   start.sh DIR [children] [sip address] [rpc address]
# DIR must hold dbtext/htable, written by: sipload accounts -kamailio DIR/dbtext/htable
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$(cd "$1" && pwd)
children=${2:-2}
sip=${3:-127.0.0.1:6070}
rpc=${4:-127.0.0.1:6071}
for modules in /usr/lib/*/kamailio/modules /usr/lib/kamailio/modules; do
	[ -e "$modules/tm.so" ] && break
done
sed -e "s|127\.0\.0\.1:6070|$sip|; s|127\.0\.0\.1:6071|$rpc|; s|CHILDREN_COUNT 2|CHILDREN_COUNT $children|; s|MODULES/|$modules/|; s|DBTEXT|$dir/dbtext|" \
	"$here/kamailio.cfg" >"$dir/kamailio.cfg"
[ -e "$dir/dbtext/version" ] || printf 'table_name(string) table_version(int)\nhtable:2\n' >"$dir/dbtext/version"
command=$(command -v kamailio || echo /usr/sbin/kamailio)
exec "$command" -DD -f "$dir/kamailio.cfg" -m 512 -M 16 -b 8388608 -x fm -X fm -Y "$dir" -P "$dir/kamailio.pid"
