#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The commands and options of godwit(1) are those of `godwit help`; the completion knows them all; a wrong
# command line is one sentence and exit 2. manual.sh GODWIT SOURCE-ROOT
set -uo pipefail
godwit=$1 manual=$2/man/godwit.1
bad=0
complain() { echo "$*"; bad=1; }
listed=$("$godwit" completion bash | sed -n "/<<'END'/,/^END/p" | sed '1d;$d' | cut -d'|' -f1)
told=$(sed -n 's/^\.It Cm \([a-z][a-z ]*[a-z]\)\( Ar.*\)\?$/\1/p' "$manual" | sed 's/ Ar .*//')
[ "$listed" = "$told" ] || complain "godwit(1) lists other commands than the program:
$(diff <(echo "$listed") <(echo "$told"))"
[ "$(wc -l <<< "$listed")" -ge 10 ] || complain "the completion lists hardly any command"
while read -r words; do
	"$godwit" help | grep -q "^  $words\b" || complain "'godwit help' does not list '$words'"
	for option in $("$godwit" $words --help | sed -n 's/^  \(--[a-z-]*\).*/\1/p'); do
		grep -q "^\.It Fl -${option#--}\b" "$manual" || complain "godwit(1) does not tell of $option of '$words'"
	done
done <<< "$listed"
refused() { # WHAT ARGS…: exit 2, one line, nothing on standard output
	local what=$1 out code=0
	shift
	out=$("$godwit" "$@" 2>&1 > /dev/null) || code=$?
	[ $code = 2 ] && [ "$(wc -l <<< "$out")" = 1 ] && [ -n "$out" ] || complain "$what: exit $code, '$out'"
}
refused "an unknown command" fly
refused "an unknown option" job list --fast
refused "an option without its value" up --listen
refused "a value where none belongs" status --json=yes
refused "a missing argument" job show
refused "an argument too many" job list one
refused "an unknown shell" completion fish
[ $bad = 0 ] && echo "godwit(1), the help and the completion agree on $(wc -l <<< "$listed") commands"
exit $bad
