#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The proof of a used-block map: take disks of file systems at work at random moments, fill all that the
# map calls unused with another byte, let the file system recover, and compare every file with those of an
# untouched copy; the file system's own check must be content. usedmap_live.sh ZERO KIND [SEED...]
#  ext   ext3 and ext4 while files are written: a journal to be replayed
#  xfs   while files are written (then all is used), frozen, and unmounted
#  ntfs  unmounted, with the log then closed as Windows does
# A moment is one because the disk is a file on an XFS that clones it at once (reflink).
set -uo pipefail
zero=$1 kind=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
PATH=/usr/sbin:/sbin:$PATH
skip() { echo "skipped: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "mounting takes root"
for tool in mkfs.xfs xfs_repair mke2fs e2fsck fsfreeze losetup ntfs-3g ntfsfix python3; do
	command -v "$tool" > /dev/null || skip "$tool is missing"
done
dir=$(mktemp -d /tmp/usedmap.XXXXXX)
writer=
cleanup() {
	fsfreeze -u "$dir/live" 2> /dev/null
	if [ -n "$writer" ]; then
		kill -9 "$writer" 2> /dev/null
		wait "$writer" 2> /dev/null
	fi
	for m in a b live outer; do ! mountpoint -q "$dir/$m" || umount "$dir/$m" || umount -l "$dir/$m"; done
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
mkdir "$dir"/{a,b,live,outer}
truncate -s 3G "$dir/outer.img"
mkfs.xfs -q -m reflink=1 "$dir/outer.img" || skip "mkfs.xfs fails"
mount -o loop,discard "$dir/outer.img" "$dir/outer" 2> "$dir/log" || skip "no loop mount: $(cat "$dir/log")"
disk=$dir/outer/disk
die() { echo "seed $seed, moment $moment: $*"; exit 1; }
files_of() { # of the file system mounted at $1
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0r sha256sum &&
		find . -printf '%p %y %s %b %l\n' | grep -v '^\. \|lost+found' | sort)
}
mount_copy() { # IMAGE FOLDER
	case $kind in
	ext) mount -o loop,ro "$1" "$2" ;;
	xfs) mount -o loop,ro,nouuid "$1" "$2" ;;
	ntfs) ntfs-3g -o ro "$1" "$2" ;;
	esac
}
used=0 replayed=0 refused=0 unused_total=0 files=0
# Compares two copies of one moment, one of them with its unused bytes changed.
prove() { # CHECK-COMMAND: of a file system check that also recovers
	local said
	cp --reflink=always "$disk" "$disk.a" && cp --reflink=always "$disk.a" "$disk.b" || die "no copy"

	said=$("$zero" "$disk.b" 165) || die "$said"
	echo "seed $seed, moment $moment: $said"
	case $said in *" used") used=$((used + 1)) ;; *) refused=$((refused + 1)) ;; esac
	unused_total=$((unused_total + $(cut -d' ' -f2 <<< "$said")))
	"$1" "$disk.a" || die "the untouched copy is not whole"
	"$1" "$disk.b" || die "the copy does not recover"
	mount_copy "$disk.a" "$dir/a" && mount_copy "$disk.b" "$dir/b" || die "no mount"
	files_of "$dir/a" > "$dir/files.a"
	files_of "$dir/b" > "$dir/files.b"
	umount "$dir/a" "$dir/b"
	cmp "$dir/files.a" "$dir/files.b" || die "the files differ: $(diff "$dir/files.a" "$dir/files.b" | head)"
	files=$((files + $(wc -l < "$dir/files.a")))
	rm "$disk.a" "$disk.b"
}
start_work() { # MOUNT-OPTIONS
	case $kind in
	ntfs) ntfs-3g "$disk" "$dir/live" ;;
	*) mount -o loop"$1" "$disk" "$dir/live" ;;
	esac || { echo "seed $seed: it cannot be mounted here"; return 1; }
	python3 "$here/usedmap_work.py" "$dir/live" "$seed" &
	writer=$!
}
stop_work() {
	kill -9 "$writer"
	wait "$writer" 2> /dev/null
	writer=
	umount "$dir/live" || die "no umount"
}
fresh_disk() { # of SIZE, full of what is not zero
	rm -f "$disk"
	head -c "$1" /dev/zero | tr '\0' 'Z' > "$disk"
}

# Recovery by e2fsck and by the kernel in turn; then a full check that must find nothing.
recover_ext() {
	if dumpe2fs -h "$1" 2> /dev/null | grep -q needs_recovery; then replayed=$((replayed + 1)); fi
	if [ $((moment % 2)) = 0 ]; then
		mount -o loop "$1" "$dir/a" && umount "$dir/a" || return 1
	fi
	e2fsck -fy "$1" > "$dir/log" 2>&1
	# 1: it recovered, released orphans and set the superblock's counts, which are old in any copy
	case $? in 0 | 1) ;; *) cat "$dir/log"; return 1 ;; esac
	! grep -q 'differences\|Multiply\|multiply\|llegal' "$dir/log" || { cat "$dir/log"; return 1; }
	e2fsck -fn "$1" > "$dir/log" 2>&1 || { cat "$dir/log"; return 1; }
}
ext_makes=("-t ext4" "-t ext4 -b 1024" "-t ext4 -O ^metadata_csum,uninit_bg" "-t ext3" "-t ext4 -O ^64bit,^flex_bg"
	"-t ext4 -O meta_bg,^resize_inode" "-t ext3 -b 1024" "-t ext4 -b 1024 -J size=1 -g 1024")
ext_mounts=(",commit=1" ",commit=1,data=writeback" ",commit=1,data=journal" ",nodelalloc")
ext() {
	local make=${ext_makes[seed % ${#ext_makes[@]}]} with=${ext_mounts[seed / 2 % ${#ext_mounts[@]}]}
	[[ $make != *ext3* ]] || with=${with/nodelalloc/commit=1}
	fresh_disk 64M
	mke2fs -q -F $make "$disk" 2> "$dir/log" || skip "mke2fs $make: $(cat "$dir/log")"
	moment=start
	start_work "$with" || return
	for moment in 1 2 3; do
		sleep "0.$((RANDOM % 9 + 1))"
		prove recover_ext
	done
	stop_work
}

recover_xfs() { # by the kernel, then the check
	mount -o loop,nouuid "$1" "$dir/a" && umount "$dir/a" && xfs_repair -n "$1" > "$dir/log" 2>&1 ||
		{ cat "$dir/log"; return 1; }
}
xfs_makes=("" "-m reflink=1,rmapbt=1" "-l size=66m,su=65536" "-d agcount=2" "-b size=1024 -d agcount=4" "-m bigtime=0,inobtcount=0")
xfs() {
	fresh_disk 320M
	mkfs.xfs -q -f ${xfs_makes[seed % ${#xfs_makes[@]}]} "$disk" > "$dir/log" 2>&1 || skip "mkfs.xfs: $(cat "$dir/log")"
	moment=start
	start_work "" || return
	sleep "0.$((RANDOM % 9 + 1))"
	moment=running
	prove recover_xfs
	moment=frozen
	fsfreeze -f "$dir/live" || die "no freeze"
	prove recover_xfs || { fsfreeze -u "$dir/live"; exit 1; }
	fsfreeze -u "$dir/live"
	sleep 0.3
	stop_work
	moment=unmounted
	prove recover_xfs
}

recover_ntfs() { # nothing to recover; the check writes nothing
	ntfsfix -n "$1" > "$dir/log" 2>&1 || { cat "$dir/log"; return 1; }
}
close_log() { # ntfs-3g fills it with 0xff; Windows leaves two restart pages in it
	local at unit=$1
	at=$(ntfsinfo -f -i 2 -v "$disk" 2> /dev/null | awk '/^\t*0x0\t/ { print $2 }') && [ -n "$at" ] || die "no log"
	python3 - "$disk" $((at * unit)) <<-'END'
		import struct
		import sys
		page = bytearray(4096)
		struct.pack_into("<4sHHQIIHHHH", page, 0, b"RSTR", 30, 9, 0, 4096, 4096, 48, 0, 1, 1)
		struct.pack_into("<QHHHH", page, 48, 0, 0, 0xffff, 0xffff, 2)
		for end in range(510, 4096, 512):
		    page[end] = 1
		with open(sys.argv[1], "r+b") as disk:
		    disk.seek(int(sys.argv[2]))
		    disk.write(page * 2)
	END
}
ntfs_units=(4096 1024 512 65536)
ntfs() {
	local unit=${ntfs_units[seed % ${#ntfs_units[@]}]}
	fresh_disk 96M
	mkntfs -q -F -Q -c "$unit" "$disk" > "$dir/log" 2>&1 || skip "mkntfs: $(cat "$dir/log")"
	moment=start
	start_work "" || return
	sleep 3
	stop_work
	close_log "$unit"
	moment=unmounted
	prove recover_ntfs
}
[ $kind != ntfs ] || [ -e /dev/fuse ] || skip "there is no FUSE"
[ $# -gt 0 ] || set -- $(seq 8)
for seed in "$@"; do "$kind"; done
echo "$kind: $used moments with a map, $refused without, $replayed journals replayed, $files files compared, $((unused_total >> 20)) MiB unused"
[ $used -gt $(($# / 2)) ] && [ $unused_total -gt 0 ] && [ $files -gt $(($# * 50)) ] || { echo "hardly a map was used"; exit 1; }
[ $kind != ext ] || [ $replayed -gt $# ] || { echo "hardly a journal had to be replayed"; exit 1; }
