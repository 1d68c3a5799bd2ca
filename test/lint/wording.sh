#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# No paths of the machine it was built on, nothing put off in the code: wording.sh SOURCE-ROOT
set -uo pipefail
cd "$1" || exit 1
bad=0
complain() { echo "$1:"; echo "$2"; bad=1; }
files=$(find src man test tools bench README.md Makefile meson.build -type f ! -path 'test/fuzz/corpus/*' 2> /dev/null)
[ "$(wc -l <<< "$files")" -ge 100 ] || { echo "hardly any file was found below $1"; exit 1; }
# Split, so that this script does not find itself; the folder it runs in may be any.
found=$(grep -nIE "(^|[^[:alnum:]_./*])/(wo""rk|ho""me|Us""ers)/[a-z]" $files)
[ -z "$found" ] || complain "paths of one machine" "$found"
found=$(grep -rnIwE "TO""DO|FIX""ME|XX""X" src)
[ -z "$found" ] || complain "work put off in the code" "$found"
found=$(find src test -name '*.[ch]' -o -name '*.sh' | xargs grep -L 'SPDX-License-Identifier: Apache-2.0')
[ -z "$found" ] || complain "files without their licence" "$found"
[ $bad = 0 ] && echo "$(wc -l <<< "$files") files are worded for everybody"
exit $bad
