#!/usr/bin/env bash
# What `make check` runs: everything a machine can say about the code without running it. All checks run even when one
# fails; the last line names those that did.
set -uo pipefail
cd "$(dirname "$0")/../.."
go=${GO:-go}
tool() { "$go" tool -modfile=internal/tools/go.mod "$@"; }

# quiet runs a command that prints faults and exits 0, and fails when it prints anything.
quiet() {
	local out
	out=$("$@") || { printf '%s\n' "$out"; return 1; }
	[ -z "$out" ] || { printf '%s\n' "$out"; return 1; }
}

# dead prints functions that neither a program nor a test can reach, except those that deadcode.allow names.
dead() {
	local out
	out=$(tool deadcode -test -tags interop ./... 2>&1) || { printf '%s\n' "$out"; return 1; }
	grep -v -F -f <(grep -v '^ *\(#\|$\)' internal/tools/deadcode.allow) <<<"$out" || true
}

failed=()
check() {
	local name=$1
	shift
	"$@" || failed+=("$name")
}
check gofumpt quiet tool gofumpt -l .
check vet "$go" vet ./...
check 'vet (interop)' "$go" vet -tags interop ./internal/interop/...
check staticcheck tool staticcheck -tags interop ./...
check archtest "$go" test -count=1 ./internal/archtest
check deadcode quiet dead
check 'go mod tidy' "$go" mod tidy -diff

if [ ${#failed[@]} -gt 0 ]; then
	echo "check failed: $(printf '%s, ' "${failed[@]}" | sed 's/, $//')"
	exit 1
fi
echo 'check: all good'
