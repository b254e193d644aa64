#!/usr/bin/env bash
# Installs the Debian packages that tests and measurements need, those that are missing only.
#   install-peers.sh SET...   with SET one of
#     compiler   a C compiler, which Go's race detector needs
#     phones     sipp, baresip and linphone, for make interop
#     servers    Kamailio and rtpengine, for make bench
set -euo pipefail

# One line for each: set, command that shows it is there, package.
packages='
compiler gcc gcc
compiler /usr/include/stdlib.h libc6-dev
phones   sipp sip-tester
phones   baresip baresip-core
phones   linphonec linphone-cli
servers  kamailio kamailio
servers  rtpengine rtpengine-daemon
'

there() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) PATH=$PATH:/usr/sbin command -v "$1" >/dev/null ;;
	esac
}

missing=()
while read -r set command package; do
	for wanted in "$@"; do
		if [ "$set" = "$wanted" ] && ! there "$command"; then
			missing+=("$package")
		fi
	done
done < <(grep . <<<"$packages")

if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi

root=()
if [ "$(id -u)" -ne 0 ]; then
	if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		root=(sudo -n)
	else
		root=(none)
	fi
fi
if [ "${root[*]-}" = none ] || ! command -v apt-get >/dev/null; then
	cat >&2 <<-EOT
	These packages are missing and cannot be installed from here: ${missing[*]}
	On Debian 12, as root:  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}
	Elsewhere, install the programs of the same names.  make race  runs the tests that need no phones.
	EOT
	exit 1
fi

# A freshly installed server would start at once and take port 5060: keep the package from starting it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
	"${root[@]}" chmod 755 "$policy"
	trap '"${root[@]}" rm -f "$policy"' EXIT
fi

echo "installing ${missing[*]}"
"${root[@]}" apt-get update -qq </dev/null
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
