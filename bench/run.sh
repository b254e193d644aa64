#!/usr/bin/env bash
# Measures Tandem beside Kamailio (signalling) and rtpengine (media) on this machine, in one run, and prints Markdown tables.
#
#   bench/run.sh           full: about 50 minutes, medians of three rounds
#   bench/run.sh quick     about 7 minutes, one round of short windows
#   bench/run.sh sip|media [quick]     one half only
#   bench/run.sh kernel    the media tiers between network namespaces: a packet's cost and delay (root; about a minute)
#   bench/run.sh cluster [quick] [soak | scenario...]     three nodes and what happens to them (root; about half an hour)
#
# Environment: TANDEM=path of a built binary, or none for the peers alone; KAMAILIO_CHILDREN=N (default: processor cores); CACHED_NONCE=1 lets
# INVITE carry credentials on the last nonce; ROUNDS, WINDOW (seconds), MEDIA_WINDOW and MEDIA_LOADS ("plain@500 setup") override; OUT=directory of results (bench/out/<time>).
# Only addresses in 127.0.0.0/8 are used. Everything started here is stopped here, by its own process id.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
parts="sip media"
size=full
scenarios=()
for word in "$@"; do
	case $word in
	quick | full) size=$word ;;
	sip | media | cluster) parts=$word ;;
	soak | register | bindings | refresh | writes | million | stall:* | calls:*) scenarios+=("$word") ;;
	kernel)
		cd "$root"
		TANDEM_TEST_TIER=auto exec unshare -n sh -c 'ip link set lo up && exec go test -run "^$" -bench Tiers -benchtime 5x ./rtpengine'
		;;
	*)
		sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
		exit 2
		;;
	esac
done

out=${OUT:-$here/out/$(date +%Y%m%d-%H%M%S)-$size}
mkdir -p "$out"
results=$out/results.jsonl
: >"$results"

TANDEM_SIP=${TANDEM_SIP:-127.0.0.1:6080}
TANDEM_ADMIN=${TANDEM_ADMIN:-127.0.0.1:9790}
KAMAILIO_SIP=${KAMAILIO_SIP:-127.0.0.1:6070}
KAMAILIO_RPC=${KAMAILIO_RPC:-127.0.0.1:6071}
KAMAILIO_CHILDREN=${KAMAILIO_CHILDREN:-$(nproc)}

say() { printf '%s\n' "$*" >&2; }

# --- three nodes -------------------------------------------------------------------------------------------------------------------
# Each scenario has a cluster of its own, so that none measures what the one before has left. The driver ends its nodes itself.
cluster() {
	local word flags around
	[ ${#scenarios[@]} -gt 0 ] || scenarios=(register bindings refresh writes million stall:killed stall:frozen stall:cut stall:hung calls:plain calls:sdes calls:dtls calls:frozen calls:cut)
	say "building"
	(cd "$root" && go build -o "$out/bin/" ./bench/cluster)
	if [ -z "${TANDEM:-}" ]; then
		TANDEM=$out/bin/tandem
		(cd "$root" && CGO_ENABLED=0 go build -trimpath -o "$TANDEM" ./cmd/tandem)
	fi
	[ $size = full ] || flags_size=-quick
	for word in "${scenarios[@]}"; do
		flags=(-tandem "$TANDEM" -dir "$out/$word" -out "$results" -soak "${SOAK:-30m}" ${flags_size:-})
		around=()
		case $word in
		stall:hung) flags+=(-disks) && around=(unshare --mount) ;;
		stall:cut | calls:*) flags+=(-segment) && around=(unshare --net --mount) ;;
		esac
		${around[@]+"${around[@]}"} "$out/bin/cluster" run "${flags[@]}" "$word" || failed=1
		rm -rf "$out/$word"/n*/data "$out/$word/accounts.csv"
	done
	{
		printf '# Three nodes, %s run\n\n%s; %s; %s cores of %s; Linux %s; load average at the end %s.\n\n' "$size" "$(date -u '+%Y-%m-%d %H:%M UTC')" "$(go version | cut -d' ' -f3)" \
			"$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)" "$(cut -d' ' -f1-3 /proc/loadavg)"
		"$out/bin/cluster" table "$results"
	} >"$out/report.md"
	cat "$out/report.md"
	say "written to $out/report.md"
	exit "${failed:-0}"
}
[ "$parts" != cluster ] || cluster

# --- processes ---------------------------------------------------------------------------------------------------------------------
pids=()
names=()

# begin NAME COMMAND...: starts it in the background, its output in $out/NAME.log; $started is its process id.
begin() {
	local name=$1
	shift
	"$@" >"$out/$name.log" 2>&1 </dev/null &
	started=$!
	pids+=("$started")
	names+=("$name")
}

# drive LOG COMMAND...: runs a driver and waits for it; its words go to the screen and to $out/LOG. In the background, because a shell acts on a
# signal at once only in wait.
failed=0
drive() {
	local log=$1
	shift
	"$@" 2> >(tee "$out/$log" >&2) </dev/null &
	pids+=("$!")
	names+=("$1")
	wait "$!" || failed=1
	unset 'pids[-1]' 'names[-1]'
}

# finish: stops everything begun, each by its process id, and waits for it.
finish() {
	local i
	for i in "${!pids[@]}"; do
		kill -TERM "${pids[$i]}" 2>/dev/null || true
	done
	for i in "${!pids[@]}"; do
		local tries=0
		while kill -0 "${pids[$i]}" 2>/dev/null; do
			tries=$((tries + 1))
			if [ $tries -eq 100 ]; then
				say "${names[$i]} (${pids[$i]}) does not end on SIGTERM: killed"
				kill -KILL "${pids[$i]}" 2>/dev/null || true
			fi
			sleep 0.1
		done
		wait "${pids[$i]}" 2>/dev/null || true
	done
	pids=()
	names=()
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

die() {
	say "$1"
	[ -z "${2:-}" ] || { say "--- last lines of $2:" && tail -n 20 "$2" >&2; }
	exit 1
}

# --- what there is -----------------------------------------------------------------------------------------------------------------
installed() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/usr/bin/$1" ]; }

missing=()
kamailio=yes
rtpengine=yes
installed kamailio || { kamailio=no && missing+=("Kamailio is not installed (apt-get install kamailio): Tandem is measured alone, ratios are left out"); }
installed rtpengine || { rtpengine=no && missing+=("rtpengine is not installed (apt-get install rtpengine-daemon): Tandem's relay is measured alone, its ratio is left out"); }

say "building"
(cd "$root" && go build -o "$out/bin/" ./bench/sipload ./bench/media ./bench/table)
if [ -z "${TANDEM:-}" ]; then
	TANDEM=$out/bin/tandem
	(cd "$root" && CGO_ENABLED=0 go build -trimpath -o "$TANDEM" ./cmd/tandem)
fi
PATH=$out/bin:$PATH
mkdir -p "$out/kamailio/dbtext"
sipload accounts -users 10000 -realm bench -tandem "$out/accounts.csv" -kamailio "$out/kamailio/dbtext/htable"

# tandem NAME [media tier] [ng address] [sip address] [admin address] [ports] [single port]: a fresh node; $target describes it to the drivers.
tandem() {
	local sip=${4:-$TANDEM_SIP} admin=${5:-$TANDEM_ADMIN} ng=${3:-127.0.0.1:6222}
	begin "$1" "$here/tandem/start.sh" "$TANDEM" "$out/$1" "$sip" "$admin" "$ng" "${2:-auto}" "${6:-20000-29999}" "${7:-0}"
	local pid=$started
	sipload wait -http "http://$admin/readyz" -pid "$pid" || die "Tandem does not become ready" "$out/$1.log"
	target=name=$1,pid=$pid,admin=http://$admin
}

# --- signalling --------------------------------------------------------------------------------------------------------------------
sip() {
	local targets=() flags=() loads=()
	if [ "$TANDEM" != none ]; then
		tandem tandem
		"$TANDEM" account import "$out/accounts.csv" --api "http://$TANDEM_ADMIN" >"$out/import.log" 2>&1 ||
			die "tandem account import failed" "$out/import.log"
		targets+=(-target "$target,sip=$TANDEM_SIP")
	fi
	if [ $kamailio = yes ]; then
		begin kamailio "$here/kamailio/start.sh" "$out/kamailio" "$KAMAILIO_CHILDREN" "$KAMAILIO_SIP" "$KAMAILIO_RPC"
		local pid=$started
		sipload wait -rpc "$KAMAILIO_RPC" -pid "$pid" || die "Kamailio does not start" "$out/kamailio.log"
		targets+=(-target "name=kamailio,sip=$KAMAILIO_SIP,pid=$pid,rpc=$KAMAILIO_RPC")
	fi
	if [ $size = quick ]; then
		flags=(-rounds "${ROUNDS:-1}" -window "${WINDOW:-4}s" -warm 1s -settle 2s)
		loads=(register@2000 refresh@2000 start@1000:2000 pause@33 hold@1000:2000 call@2000 call@3000 order@1000)
	else
		flags=(-rounds "${ROUNDS:-3}" -window "${WINDOW:-12}s" -warm 2s -settle 35s -after 60s)
		loads=(register@1000 refresh@3000 start@1000:5000 pause@40 hold@1000:5000 call@1000 call@2000 call@3000 order@1000)
	fi
	[ -z "${CACHED_NONCE:-}" ] || flags+=(-cached-nonce)
	[ ${#targets[@]} -gt 0 ] || return 0
	drive sip.log sipload run "${targets[@]}" "${flags[@]}" -out "$results" "${loads[@]}"
	finish
}

# --- media -------------------------------------------------------------------------------------------------------------------------
media_part() {
	local targets=() flags=() loads=() tier n=0 threads
	if [ "$TANDEM" != none ]; then
		for tier in sockets steered auto; do
			n=$((n + 1))
			tandem "tandem-$tier" $tier 127.0.0.1:623$n 127.0.0.1:608$n 127.0.0.1:979$n $((10000 + 8000 * n))-$((17999 + 8000 * n))
			targets+=(-target "$target,ng=127.0.0.1:623$n")
		done
		tandem tandem-single sockets 127.0.0.1:6239 127.0.0.1:6089 127.0.0.1:9799 9000-9697 9698
		targets+=(-target "$target,ng=127.0.0.1:6239,apart=true")
	fi
	if [ $rtpengine = yes ]; then
		for threads in 1 2; do
			begin "rtpengine-$threads" "$here/rtpengine/start.sh" "$threads" "127.0.0.1:622$((threads + 2))" $((34000 + 8000 * threads)) $((41999 + 8000 * threads))
			local pid=$started
			sipload wait -ng "127.0.0.1:622$((threads + 2))" -pid "$pid" || die "rtpengine does not start" "$out/rtpengine-$threads.log"
			targets+=(-target "name=rtpengine-$threads,ng=127.0.0.1:622$((threads + 2)),pid=$pid")
		done
	fi
	if [ $size = quick ]; then
		flags=(-rounds "${ROUNDS:-1}" -window "${MEDIA_WINDOW:-5}s" -warm 1s)
		loads=(plain@500 plain@1000 cm@500 gcm@500 opus@20 setup setup-cm)
	else
		flags=(-rounds "${ROUNDS:-3}" -window "${MEDIA_WINDOW:-20}s" -warm 3s)
		loads=(plain@500 plain@1000 cm@500 gcm@500 opus@20 setup setup-cm capacity)
	fi
	[ -z "${MEDIA_LOADS:-}" ] || read -ra loads <<<"$MEDIA_LOADS"
	[ ${#targets[@]} -gt 0 ] || return 0
	drive media.log media "${targets[@]}" "${flags[@]}" -out "$results" "${loads[@]}"
	finish
}

for part in $parts; do
	case $part in
	sip) sip ;;
	media) media_part ;;
	esac
done

# --- tables ------------------------------------------------------------------------------------------------------------------------
{
	printf '# Tandem and its peers, %s run\n\n' "$size"
	printf '%s; %s; %s cores of %s; Linux %s; load average at the end %s.\n' "$(date -u '+%Y-%m-%d %H:%M UTC')" "$(go version | cut -d' ' -f3)" \
		"$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)" "$(cut -d' ' -f1-3 /proc/loadavg)"
	[ $kamailio = no ] || printf 'Kamailio %s, %s children. ' "$(PATH=$PATH:/usr/sbin kamailio -v | sed -n 's/^version: kamailio \([^ ]*\).*/\1/p')" "$KAMAILIO_CHILDREN"
	[ $rtpengine = no ] || printf 'rtpengine %s, userspace, 1 and 2 threads.' "$(rtpengine --version 2>&1 | sed -n 's/^Version: //p')"
	printf '\n\n'
	for line in ${missing[@]+"${missing[@]}"}; do printf -- '- %s\n' "$line"; done
	[ ${#missing[@]} -eq 0 ] || printf '\n'
	table "$results"
} >"$out/report.md"
cat "$out/report.md"
say "written to $out/report.md"
exit $failed
