#!/bin/sh
# Speaks the words of en.txt into sounds/, with Debian's espeak-ng and sox. The same words and versions give the same files.
set -eu
cd "$(dirname "$0")"
for tool in espeak-ng sox; do
	command -v $tool >/dev/null || { echo "$tool is missing: apt-get install espeak-ng sox" >&2; exit 1; }
done
rm -rf sounds
mkdir sounds
grep -v '^#' en.txt | while IFS= read -r line; do
	name=${line%%: *}
	espeak-ng -v en-gb -s 150 -w sounds/new.wav "${line#*: }"
	# The silence at both ends goes, but for a moment that keeps words apart; the level is that of a telephone.
	sox -D sounds/new.wav -r 8000 -c 1 -e u-law "sounds/$name.wav" highpass 200 silence 1 0.02 0.2% reverse silence 1 0.02 0.2% reverse pad 0.04 0.08 norm -9
	rm sounds/new.wav
done
