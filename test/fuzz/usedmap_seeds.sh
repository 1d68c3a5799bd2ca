#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Writes seeds of fuzz_usedmap: of images that the file systems' tools make, the pieces that a map is made
# from. usedmap_seeds.sh USEDMAP-ZERO FOLDER; no root needed.
set -euo pipefail
zero=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
PATH=/usr/sbin:/sbin:$PATH
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
image=$dir/image
mkdir -p "$out" "$dir/tree"
for i in $(seq 12); do echo x > "$dir/tree/f$i"; truncate -s $((i * 900)) "$dir/tree/f$i"; done
seed() { # NAME
	"$zero" "$image" | sed "s/^/$1: /"
	"$here/usedmap_seed.py" "$image" "$out/$1" "$zero"
	rm -f "$image"
}
ext() { # NAME SIZE OPTIONS...
	local name=$1 size=$2
	shift 2
	mke2fs -q -F -N 32 "$@" -d "$dir/tree" "$image" "$size" 2> /dev/null
	[ ! -f "$dir/commands" ] || debugfs -w -f "$dir/commands" "$image" > /dev/null 2>&1
	seed "$name"
}
# The block bitmap, the descriptors, the superblock and a block of the journal's own magic go to the journal.
printf '\xc0\x3b\x39\x98rest' > "$dir/magic"
truncate -s 1k "$dir/magic"
journal() { # NAME SIZE JOURNAL-CHECKSUMS OPTIONS...
	local name=$1 size=$2 checksums=$3 bitmap block
	shift 3
	mke2fs -q -F -N 32 "$@" -d "$dir/tree" "$image" "$size" 2> /dev/null
	bitmap=$(dumpe2fs "$image" 2> /dev/null | sed -n 's/.*Block bitmap at \([0-9]*\).*/\1/p' | head -1)
	for block in 1 2 "$bitmap"; do dd if="$image" of="$dir/block.$block" bs=1k skip="$block" count=1 2> /dev/null; done
	{
		echo "jo $checksums"
		for block in 1 2 "$bitmap"; do echo "jw -b $block $dir/block.$block"; done
		echo "jw -b 900,901 $dir/magic"
		echo "jw -r 900,902"
		echo "jw -b 903 -c $dir/magic"
		echo jc
	} | debugfs -w -f - "$image" > /dev/null 2>&1
	seed "$name"
}
journal ext4-journal 3M '-c -v 3' -t ext4 -b 1024 -J size=1 -I 128
journal ext4-journal-32bit 3M '-c -v 2' -t ext4 -b 1024 -J size=1 -I 128 -O ^64bit
journal ext3-journal 3M '' -t ext3 -b 1024 -J size=1 -I 128
journal ext4-journal-plain 3M '' -t ext4 -b 1024 -J size=1 -I 128 -O ^metadata_csum
echo 'rm f4' > "$dir/commands"
ext ext2-old 1M -t ext2 -b 1024 -r 0
ext ext4-uninit 40M -t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^has_journal -g 8192 -I 128
ext ext4-meta 30M -t ext4 -b 1024 -O meta_bg,^resize_inode,sparse_super2 -J size=1 -I 128
ext ext4-64bit-gdt 9M -t ext4 -b 1024 -O ^metadata_csum,uninit_bg,64bit,^has_journal -I 128
ext ext4-4k 9M -t ext4 -b 4096 -I 128 -O ^has_journal
for v in "v5 -b size=4096" "v4 -m crc=0,finobt=0" "v5-1k -b size=1024 -d agcount=4"; do
	set -- $v
	truncate -s 310M "$image"
	mkfs.xfs -q "${@:2}" "$image" 2> /dev/null
	seed "xfs-$1"
done
for unit in 4096 512; do
	truncate -s 4M "$image"
	mkntfs -q -F -Q -c $unit "$image" > /dev/null 2>&1
	at=$(ntfsinfo -f -i 2 -v "$image" 2> /dev/null | awk '/^\t*0x0\t/ { print $2 }')
	python3 - "$image" $((at * unit)) <<-'END'
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
	seed ntfs-$unit
done
truncate -s 2M "$image"
mkswap "$image" > /dev/null 2>&1
seed swap
truncate -s 2M "$image"
mkswap "$image" > /dev/null 2>&1
printf 'S1SUSPEND\0' | dd of="$image" bs=1 seek=4086 conv=notrunc 2> /dev/null
seed hibernated
truncate -s 8M "$image"
printf "63,4000\n8192,2048\n12288,\n" | sfdisk -q "$image"
printf 'LABELONE' | dd of="$image" bs=512 seek=12289 conv=notrunc 2> /dev/null
seed partitions
truncate -s 2M "$image"
printf '\xfc\x4e\x2b\xa9' | dd of="$image" bs=1 seek=$(((2 << 20) - 65536)) conv=notrunc 2> /dev/null
seed md
# A frozen XFS, and one whose tree of free space has two levels (with the log of a new one, which is
# short): made by root alone, else left as they are.
[ "$(id -u)" = 0 ] || exit 0
trap 'fsfreeze -u "$dir/live" 2> /dev/null; ! mountpoint -q "$dir/live" || umount "$dir/live"; rm -rf "$dir"' EXIT
make_xfs() {
	truncate -s 310M "$1"
	mkfs.xfs -q -b size=1024 -d agcount=2 -m uuid=11111111-2222-3333-4444-555555555555 "$1"
}
mkdir "$dir/live"
make_xfs "$image"
mount -o loop "$image" "$dir/live"
(cd "$dir/live" && for i in $(seq 600); do printf '%220000s' x > "f$i"; done && sync && rm f*[13579] && sync)
fsfreeze -f "$dir/live"
fsfreeze -u "$dir/live"
umount "$dir/live"
xfs_db -r -c 'agf 0' -c 'p bnolevel' "$image" | grep -q 2
make_xfs "$dir/new"
at=$(xfs_db -r -c 'sb 0' -c 'p logstart' "$image" | tr -dc 0-9)
at=$(xfs_db -r -c "convert fsblock $at daddr" "$image" | sed 's/.*(\([0-9]*\)).*/\1/')
dd if="$dir/new" of="$image" bs=512 skip="$at" seek="$at" count=131072 conv=notrunc 2> /dev/null
seed xfs-tree
make_xfs "$image"
mount -o loop "$image" "$dir/live"
touch "$dir/live/file"
fsfreeze -f "$dir/live"
cp "$image" "$dir/new"
fsfreeze -u "$dir/live"
umount "$dir/live"
mv "$dir/new" "$image"
seed xfs-frozen
