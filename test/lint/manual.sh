#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The commands and options of godwit(1) are those of `godwit help`; the completion knows them all; a wrong
# command line is one sentence and exit 2. Every program has a page, every option of a daemon stands in it,
# every operation and member of ours in godwit-api(7), every message and field in godwit-door(7); each page
# is installed and renders without a warning. manual.sh GODWIT GODWITD GODWIT-CONNECTOR SOURCE-ROOT
set -uo pipefail
godwit=$1 source_root=$4
manual=$source_root/man/godwit.1
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
for program in "$2" "$3"; do
	name=${program##*/}
	page=$source_root/man/$name.8
	offered=$("$program" --help | grep -o -- '--[a-z][a-z-]*' | sort -u)
	told=$(grep '^\.It Fl -' "$page" | grep -o 'Fl -[a-z-]*' | sed 's/Fl -/--/' | sort -u)
	[ "$(wc -l <<< "$offered")" -ge 5 ] || complain "$name --help lists hardly any option"
	[ "$offered" = "$told" ] || complain "$name(8) tells of other options than $name --help:
$(diff <(echo "$told") <(echo "$offered"))"
	refused_by() { # ARGS…
		local out code=0
		out=$("$program" "$@" 2>&1 > /dev/null) || code=$?
		[ $code = 2 ] && [ "$(wc -l <<< "$out")" = 1 ] || complain "$name $*: exit $code, '$out'"
	}
	refused_by --nonsense
	refused_by --state
	refused_by --state relative
	refused_by word
done
programs=$(grep -l '^int main(' "$source_root"/src/prog/*.c | wc -l)
named=$(grep -o "executable('[a-z-]*'\|shared_module('[a-z-]*'" "$source_root/src/prog/meson.build" | cut -d"'" -f2)
[ "$(wc -l <<< "$named")" -gt "$programs" ] || complain "src/prog has $programs programs, its meson.build fewer"
for name in $named; do
	ls "$source_root"/man/"$name".[18] > /dev/null 2>&1 || complain "$name has no manual page"
done
members=$(grep -o '\(MEMBER\|REQUIRED\)([a-zA-Z]*' "$source_root/src/api/ops_godwit.c" | cut -d'(' -f2 | sort -u)
operations=$(sed -n 's/^\t\.name = "\([A-Za-z]*\)",$/\1/p' "$source_root/src/api/ops_godwit.c")
[ "$(wc -w <<< "$members")" -ge 30 ] && [ "$(wc -w <<< "$operations")" -ge 8 ] || complain "ops_godwit.c was not understood"
for word in $members $operations; do
	grep -qw -- "$word" "$source_root/man/godwit-api.7" || complain "godwit-api(7) does not tell of $word"
done
messages=$(sed -n '/^enum door_type/,/^}/s/^\tDOOR_\([A-Z_]*\).*/\1/p' "$source_root/src/wire/door.h" | tr 'A-Z_' 'a-z ')
[ "$(wc -l <<< "$messages")" -ge 25 ] || complain "door.h was not understood"
while read -r message; do
	grep -q "^\.It Cm $message Pq [0-9]" "$source_root/man/godwit-door.7" || complain "godwit-door(7) does not tell of $message"
done <<< "$messages"
# struct door_x { fields } in order, against the fields of the entry of x
while read -r entry fields; do
	entry=${entry//_/ }
	told=$(awk -v entry="$entry" '/^\.It Cm / { on = index($0 " ", ".It Cm " entry " Pq") == 1 || $0 == ".It Cm " entry }
		on && /^\.It Va / { printf "%s ", $3 }' "$source_root/man/godwit-door.7")
	[ "${told% }" = "$fields" ] || complain "godwit-door(7), $entry: '$told' instead of '$fields'"
done < <(sed 's:/\*.*::; s:^[^*]*\*/::' "$source_root/src/wire/door.h" | awk '
	/^struct door_(run|outline) / { next } # shared by several messages
	/^struct door_[a-z_]* \{/ { name = substr($2, 6); fields = ""; next }
	name && /^}/ { print name, substr(fields, 2); name = ""; next }
	name { sub(/^\t(struct [a-z]+|int64_t|char) /, ""); gsub(/[*;,]/, " "); n = split($0, w, " ")
		for (i = 1; i <= n; i++) fields = fields " " w[i] }')
for page in "$source_root"/man/*.[1-8]; do
	warnings=$(MANWIDTH=80 man -l --warnings "$page" 2>&1 > /dev/null) || complain "${page##*/} does not render"
	[ -z "$warnings" ] || complain "${page##*/}: $warnings"
	grep -q "'man/${page##*/}'" "$source_root/meson.build" || complain "${page##*/} is not installed"
	for other in $(sed -n 's/^\.Xr \(godwit[a-z-]*\|client\.conf\|nbdkit-godwit-plugin\) \([1-8]\).*/\1.\2/p' "$page"); do
		[ -f "$source_root/man/$other" ] || complain "${page##*/} refers to $other, which there is not"
	done
done
[ $bad = 0 ] && echo "godwit(1), the help and the completion agree on $(wc -l <<< "$listed") commands"
exit $bad
