#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The whole path with a real guest: migrate, boot, compare every file; write, increment, compare
# again; then the boot sector is zeroed: the run fails, the image of before stays the latest, and
# nothing is left behind in the hypervisor.
. "$(dirname "$0")/lib.sh"
need_root
guests=$build/guests
"$source_root/tools/guest" --name web01 "$guests/web01.qcow2" > "$scratch/guest.log" 2>&1 || { cat "$scratch/guest.log"; fail "the guest could not be built"; }
mkdir -p "$scratch/libvirt"
at_exit '"$source_root/tools/libvirtd-by-hand" down "$scratch/libvirt"'
LIBVIRT_DEFAULT_URI=$("$source_root/tools/libvirtd-by-hand" up --private "$scratch/libvirt") || skip "libvirtd cannot be started here"
export LIBVIRT_DEFAULT_URI
cp --sparse=always "$guests/web01.qcow2" "$scratch/web01.qcow2"
"$source_root/tools/guest-domain" web01 "$scratch/web01.qcow2" "$scratch"
hand() { "$source_root/tools/hand" "$scratch/web01.hand" --wait 300 "$@"; }
start_service "libvirt:$LIBVIRT_DEFAULT_URI" --slots 1
hand 'systemctl stop write-files; true'
# Every file's hash and metadata, but for what changes by itself.
list='cd / && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./var/log -o -path ./var/tmp -o -path ./var/lib/systemd -o -path ./lost+found \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum'
manifest_source() { hand "sync; $list" | tr -d '\r' | grep '^[0-9a-f]\{64\} '; }
manifest_image() { # AMI
	local raw=$scratch/$1.raw mount=$scratch/mnt loop
	godwit image export "$1" --format raw "$raw" > /dev/null
	mkdir -p "$mount"
	loop=$(losetup -f --show -o 1048576 "$raw")
	mount "$loop" "$mount" # replays the journal, as the guest's own boot does
	(cd "$mount" && sh -c "${list/cd \/ &&/:;}") | grep '^[0-9a-f]\{64\} '
	umount "$mount"
	losetup -d "$loop"
	rm -f "$raw"
}
compare() { # AMI
	manifest_image "$1" > "$scratch/image.sums"
	[ "$(wc -l < "$scratch/image.sums")" -gt 2000 ] || fail "only $(wc -l < "$scratch/image.sums") files in the image"
	diff "$scratch/source.sums" "$scratch/image.sums" > "$scratch/diff" || { head -5 "$scratch/diff"; fail "files of image $1 differ from the source"; }
	echo "  $(wc -l < "$scratch/image.sums") files equal"
}

echo "first run"
import_catalog
server=$(server_named web01)
[ -n "$server" ] || fail "web01 is not in the catalog"
sms get-servers --query 'serverList[0].vmServer' | jq -e '.vmManagerType == null and (.vmManagerName | test("libvirt"))' > /dev/null || fail "a libvirt server omits vmManagerType and says so in vmManagerName"
manifest_source > "$scratch/source.sums"
job=$(sms create-replication-job --server-id "$server" --frequency 24 --seed-replication-time "$(date +%s)" --output text)
wait_run "$job" 900 COMPLETED
first=$(run_field "$job" amiId)
run1=$(run_field "$job" replicationRunId)
godwit image show "$first" --json | jq -e '.verdict == "booted"' > /dev/null || fail "image $first: $(godwit image show "$first" --json | jq -r '.verdict, .verdictText')"
evidence=$state/evidence/$first
[ -s "$evidence/serial.log" ] && [ -s "$evidence/screen.png" ] || fail "no evidence is kept with $first"
grep -q 'login:' "$evidence/serial.log" || fail "the serial log has no login prompt"
compare "$first"

echo "an increment"
hand 'head -c 3000000 /dev/urandom > /root/more; rm -f /etc/motd; sync'
manifest_source > "$scratch/source.sums"
sms start-on-demand-replication-run --replication-job-id "$job" > /dev/null
wait_run "$job" 900 COMPLETED
second=$(run_field "$job" amiId)
run2=$(run_field "$job" replicationRunId)
compare "$second"
read1=$(godwit run show "$run1" --json | jq .bytesRead)
read2=$(godwit run show "$run2" --json | jq .bytesRead)
echo "  read $read1 bytes, then $read2"
[ "$read2" -lt $((read1 / 8)) ] || fail "the increment read $read2 of $read1 bytes: not only what changed"
[ "$(godwit run show "$run2" --json | jq -r '.readReason // empty')" = "" ] || fail "the increment was a full read"

echo "a boot sector of zeroes"
hand 'dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null; sync'
sms start-on-demand-replication-run --replication-job-id "$job" > /dev/null
wait_run "$job" 900 FAILED
run_field "$job" statusMessage
[ "$(job_field "$job" latestAmiId)" = "$second" ] || fail "latestAmiId moved to an image that does not boot"
third=$(run_field "$job" amiId)
[ "$third" != None ] || fail "the image that did not boot was not kept"
godwit image show "$third" --json | jq -e '.verdict == "not booted"' > /dev/null || fail "image $third is not judged 'not booted'"

echo "nothing is left behind"
sms delete-replication-job --replication-job-id "$job"
left() { [ "$(virsh -q checkpoint-list web01 --name | wc -w)" = 0 ] && ! virsh -q domjobinfo web01 | grep -q Backup; }
# While everything runs: nobody has to be started again for it.
wait_for 60 left || { virsh checkpoint-list web01; fail "checkpoints are left in the hypervisor"; }
godwit image verify "$second" > /dev/null || fail "image $second is not whole"
echo "the whole path holds"
