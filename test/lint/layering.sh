#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A file includes its own room and rooms above it; room/kind.h only inside its room; kind rooms never
# one another; a main() only in src/prog; JSON only in api/, agent/, notify/, guest/ (QMP) and prog/.
set -uo pipefail
cd "${1:?source root}/src"
order=(base block wire io meta store site target notify copy guest image job api agent prog)
rank() { for i in "${!order[@]}"; do [ "${order[i]}" != "$1" ] || { echo "$i"; return; }; done; echo -1; }
kinds=' meta store site target notify '
bad=0
complain() { echo "$*"; bad=1; }
for f in $(find . -name '*.[ch]' | sed 's|^\./||'); do
	room=${f%%/*}
	mine=$(rank "$room")
	[ "$mine" -ge 0 ] || complain "$f: '$room' is not a room of the house"
	while read -r other; do
		theirs=$(rank "${other%%/*}")
		[ "$theirs" -ge 0 ] || { complain "$f: includes \"$other\", which is in no room"; continue; }
		[ "$theirs" -le "$mine" ] || complain "$f: $room may not include ${other%%/*} (\"$other\")"
		case $other in */kind.h) [ "${other%%/*}" = "$room" ] ||
			complain "$f: \"$other\" is seen only inside its room" ;; esac
		if [ "${other%%/*}" != "$room" ] && [[ $kinds == *" $room "* && $kinds == *" ${other%%/*} "* ]]; then
			complain "$f: kind rooms never include one another (\"$other\")"
		fi
	done < <(sed -n 's/^[[:space:]]*#[[:space:]]*include "\(.*\)".*/\1/p' "$f")
	if [ "$room" != prog ] && grep -qE '^int main\(' "$f"; then complain "$f: main() outside src/prog"; fi
	case $room in api | agent | notify | guest | prog) ;; *)
		! grep -q 'jansson.h' "$f" || complain "$f: JSON in $room" ;;
	esac
	lines=$(wc -l < "$f")
	[ "$lines" -le 1000 ] || complain "$f: $lines lines; a file of 1000 is split"
	head -1 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || complain "$f: no SPDX line"
done
[ $bad = 0 ] && echo "layering holds in $(find . -name '*.[ch]' | wc -l) files"
exit $bad
