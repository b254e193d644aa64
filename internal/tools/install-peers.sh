#!/usr/bin/env bash
# Installs the Debian packages that tests and measurements need, those that are missing only, and JsSIP and SIP.js for the browser.
#   install-peers.sh SET...   with SET one of
#     compiler   a C compiler, which Go's race detector needs
#     phones     sipp, baresip with H.264, linphone, Kamailio with its WebSocket, and ffmpeg, for make interop
#     browser    Chromium, and the modules of our browser phone and of the one in internal/interop, for make interop
#     servers    Kamailio and rtpengine, for make bench
set -euo pipefail

# One line for each: set, command that shows it is there, package.
packages='
compiler gcc gcc
compiler /usr/include/stdlib.h libc6-dev
phones   sipp sip-tester
phones   baresip baresip-core
phones   /usr/lib/baresip/modules/avcodec.so baresip-ffmpeg
phones   linphonec linphone-cli
phones   /usr/sbin/kamailio kamailio
phones   /usr/lib/*/kamailio/modules/websocket.so kamailio-websocket-modules
phones   ffmpeg ffmpeg
phones   python3 python3
browser  chromium chromium
browser  npm npm
servers  kamailio kamailio
servers  rtpengine rtpengine-daemon
'

there() {
	case $1 in
	/*) compgen -G "$1" >/dev/null ;;
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

root=()
policy=/usr/sbin/policy-rc.d

# debian installs packages, or says how to.
debian() {
	if [ "$(id -u)" -ne 0 ]; then
		if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
			root=(sudo -n)
		else
			root=(none)
		fi
	fi
	if [ "${root[*]-}" = none ] || ! command -v apt-get >/dev/null; then
		cat >&2 <<-EOT
		These packages are missing and cannot be installed from here: $*
		On Debian 12, as root:  apt-get update && apt-get install -y --no-install-recommends $*
		Elsewhere, install the programs of the same names.  make race  runs the tests that need no phones.
		EOT
		exit 1
	fi

	# A freshly installed server would start at once and take port 5060: keep the package from starting it.
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
		"${root[@]}" chmod 755 "$policy"
		trap '"${root[@]}" rm -f "$policy"' EXIT
	fi

	echo "installing $*"
	"${root[@]}" apt-get update -qq </dev/null
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# modules fetches what the package-lock.json of a folder pins, by hash, and runs no script of it. npm notes in a lock of its own what it has
# installed.
modules() {
	if [ ! "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ]; then
		echo "installing the modules of $1"
		npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >/dev/null
	fi
}

if [ ${#missing[@]} -gt 0 ]; then
	debian "${missing[@]}"
fi
case " $* " in
*' browser '*)
	cd "$(dirname "$0")/../.."
	modules internal/interop/testdata/browser
	modules admin/phone/page
	;;
esac
