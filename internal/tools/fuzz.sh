#!/usr/bin/env bash
# Runs every fuzz target of the given packages (all by default) for $FUZZTIME each, and says at the end which failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
time=${FUZZTIME:-30s}
failed=()
count=0
for package in $(go list "${@:-./...}"); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		count=$((count + 1))
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" || failed+=("$package $target")
	done
done
if [ ${#failed[@]} -gt 0 ]; then
	printf 'failed: %s\n' "${failed[@]}"
	exit 1
fi
echo "$count fuzz targets, $time each: none failed"
