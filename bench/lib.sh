# SPDX-License-Identifier: Apache-2.0
# For the benchmarks: a release build, test disks, medians, and a line per goal.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${BUILD:-build-release}
runs=${RUNS:-5}
tools/setup
[ -f "$build/build.ninja" ] || meson setup "$build" --buildtype=release -Db_sanitize=none -Dwerror=false > /dev/null
ninja -C "$build" > /dev/null
work=$build/bench
mkdir -p "$work"
# seconds COMMAND…: wall time of one run, output dropped, on fd 1
seconds() {
	local t0 t1
	t0=$(date +%s.%N)
	"$@" > "$work/last.out" 2> "$work/last.err" || { cat "$work/last.err" >&2; exit 1; }
	t1=$(date +%s.%N)
	echo "$t1 - $t0" | awk '{printf "%.3f\n", $1 - $3}'
}
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
# goal NAME OURS PEER LIMIT
goal() { awk -v n="$1" -v a="$2" -v b="$3" -v l="$4" 'BEGIN {r = a / b; printf "goal %s %.3f %s %s\n", n, r, l, r <= l ? "ok" : "short"}'; }
# A raw disk with Debian's files on ext4: disk FILE SIZE TREE
disk() { [ -s "$1" ] || { truncate -s "$2" "$1.part" && mke2fs -q -t ext4 -d "$3" "$1.part" && mv "$1.part" "$1"; }; }
tree() { # a few GiB of real files, at most: /usr without what is huge
	[ -d "$work/tree" ] || { mkdir -p "$work/tree.part" && for d in bin sbin lib share include; do [ ! -d "/usr/$d" ] || tar -C /usr --one-file-system -cf - "$d" | tar -C "$work/tree.part" -xf -; [ "$(du -sm "$work/tree.part" | cut -f1)" -lt 2500 ] || break; done && mv "$work/tree.part" "$work/tree"; }
}
