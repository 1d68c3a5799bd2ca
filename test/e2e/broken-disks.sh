#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks that do not boot, each for a reason of its own: the judge says "not booted" and where it stopped.
# broken-disks.sh MACHINE-BYTES EXITS-AT-ONCE MAKE-INITRD
. "$(dirname "$0")/lib.sh"
need_root
machine_bytes=$1 exits_at_once=$2 make_initrd=$3
bytes() { # OFFSET HEX FILE: written over what is there
	local hex=$2
	printf "$(sed 's/../\\x&/g' <<< "$hex")" | dd of="$3" bs=1 seek="$1" conv=notrunc status=none
}
disk() { # NAME: 4 MiB of zeroes with a boot sector's signature
	truncate -s 4M "$scratch/$1"
	bytes 510 55aa "$scratch/$1"
}
stops() { # NAME SENTENCE-REGEX: boot it and see that it is judged so
	local evidence=$scratch/evidence-$1 server out
	qemu-nbd -r -t -f raw -x disk0 -k "$scratch/nbd" "$scratch/$1" &
	server=$!
	at_exit "kill $server 2> /dev/null"
	wait_for 20 test -S "$scratch/nbd" || fail "qemu-nbd does not serve $1"
	out=$("$machine_bytes" bios q35 256 virtio | godwit-worker boot --nbd "$scratch/nbd" \
		--scratch "$scratch/boot-$1" --evidence "$evidence" --patience 120000) || fail "$1 could not be tested"
	kill $server
	wait $server || :
	rm -f "$scratch/nbd"
	echo "$1: ${out#*sentence: }"
	grep -qx 'verdict: not booted' <<< "$out" || { cat "$evidence/screen.txt"; fail "$1: $out"; }
	grep -qE "^sentence: Not booted: $2" <<< "$out" || { cat "$evidence/screen.txt"; fail "$1: the sentence lacks '$2'"; }
	[ -s "$evidence/screen.png" ] || fail "$1: no picture of its screen is kept"
}

truncate -s 4M "$scratch/zeroes"
stops zeroes 'the firmware found no boot'

# jmp 0x5000:0, where there is nothing: the processor wanders through zeroes.
disk wanders
bytes 0 ea00000050 "$scratch/wanders"
stops wanders 'it stopped in the boot sector of its disk and stands still, with 512 B .* read: "Booting from Hard Disk'

# Prints its text with the BIOS and halts.
disk says
bytes 0 31c08ed8bb0700be1a7cac84c07406b40ecd10ebf5f4ebfd9090 "$scratch/says"
printf 'Missing operating system' | dd of="$scratch/says" bs=1 seek=26 conv=notrunc status=none
stops says 'the boot sector found no system: "Missing operating'

grub() { # DISK CONFIG MODULE…: a loader behind the boot sector, which does what CONFIG says
	local name=$1
	printf '%s\n' "$2" > "$scratch/grub.cfg"
	shift 2
	grub-mkimage -O i386-pc -o "$scratch/core" -p '(hd0,msdos1)/boot/grub' -c "$scratch/grub.cfg" biosdisk part_msdos "$@"
	dd if=/usr/lib/grub/i386-pc/boot.img of="$scratch/$name" bs=440 count=1 conv=notrunc status=none
	dd if="$scratch/core" of="$scratch/$name" bs=512 seek=1 conv=notrunc status=none
}
disk rescue
grub rescue 'root=(hd0,msdos1)'
stops rescue "it stopped in GRUB's rescue shell"

# A kernel whose init ends. Its file system begins at 1 MiB, behind the loader.
kernel=$("$make_initrd" "$exits_at_once" "$scratch/initrd") || skip "the kernel that panics: $kernel"
mkdir "$scratch/tree"
cp "$kernel" "$scratch/tree/vmlinuz"
cp "$scratch/initrd" "$scratch/tree/initrd"
disk panics
truncate -s 64M "$scratch/panics"
printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$scratch/panics"
mke2fs -q -t ext2 -d "$scratch/tree" -E offset=1048576 "$scratch/panics" 62M
grub panics 'linux (hd0,msdos1)/vmlinuz console=ttyS0 panic=0
initrd (hd0,msdos1)/initrd
boot' ext2 linux
stops panics 'the kernel panicked: ".*Attempted to kill init'
