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
# Files of this size of test disk are kept apart from those of others.
data=$work/${TREE_MIB:=2500}
mkdir -p "$data"
# measure WHAT COMMAND…: one run; its wall and CPU seconds are added to t.WHAT, its output is last.out.
measure() {
	local what=$1 TIMEFORMAT='%R %U %S'
	shift
	{ time "$@" > "$work/last.out" 2> "$work/last.err"; } 2> "$work/last.time" || { cat "$work/last.err" >&2; exit 1; }
	awk '{printf "%.3f %.3f\n", $1, $2 + $3}' "$work/last.time" >> "$work/t.$what"
}
# median WHAT COLUMN: 1 wall, 2 CPU
median() { cut -d' ' -f"$2" "$work/t.$1" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
# goal NAME OURS PEER LIMIT
goal() { awk -v n="$1" -v a="$2" -v b="$3" -v l="$4" 'BEGIN {r = a / b; printf "goal %s %.3f %s %s\n", n, r, l, r <= l ? "ok" : "short"}'; }
# A raw disk with Debian's files on ext4: disk FILE SIZE TREE
disk() { [ -s "$1" ] || { truncate -s "$2" "$1.part" && mke2fs -q -t ext4 -d "$3" "$1.part" && mv "$1.part" "$1"; }; }
# Real files: Debian's /usr without what makes it large, at most TREE_MIB (2500).
tree() {
	local d have=0 more
	[ ! -d "$data/tree" ] || return 0
	rm -rf "$data/tree.part"
	mkdir -p "$data/tree.part"
	for d in bin sbin share "lib/$(uname -m)-linux-gnu" include; do
		[ -d "/usr/$d" ] || continue
		more=$(du -sxm "/usr/$d" | cut -f1)
		[ $((have + more)) -le "$TREE_MIB" ] || continue
		have=$((have + more))
		tar -C /usr --one-file-system -cf - "$d" | tar -C "$data/tree.part" -xf -
	done
	mv "$data/tree.part" "$data/tree"
}
# What the figures hang on, for the table in README.md.
machine() {
	local cpu
	cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -1)
	echo "machine: $(nproc) CPUs ($cpu), $(awk '/^MemTotal/ {printf "%d", $2 / 1048576 + 0.5}' /proc/meminfo) GiB, Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg)"
}
