#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest writes A, and then B elsewhere, for ever. Whatever is killed in the middle of a copy
# (the connector while QEMU keeps the point, the connector and the point with it, godwitd, the
# intake), the finished version is of one moment: it never holds a B whose A it does not hold. What
# was durable is not read again. The point of a deleted job goes from the hypervisor while everything
# runs, and with the connector's registration go all of them.
. "$(dirname "$0")/lib.sh"
need_root
mib=$((1024 * 1024))
size=$((512 * mib)) offset_a=$mib offset_b=$((size - mib))
# So many bytes a second that a copy can be found under way, and that it goes over several commits.
export GODWIT_DISK_BYTES_PER_SECOND=$((32 * mib))
# What is not durable when a process is killed: the group being filled.
group=$((256 * mib))
mkdir -p "$scratch/libvirt"
at_exit '"$source_root/tools/libvirtd-by-hand" down "$scratch/libvirt"'
LIBVIRT_DEFAULT_URI=$("$source_root/tools/libvirtd-by-hand" up --private "$scratch/libvirt") || skip "libvirtd cannot be started here"
export LIBVIRT_DEFAULT_URI
kernel=$("$source_root/test/guest/make-initrd" "$build/test/kind/tiny-init" "$scratch/initrd") || skip "there is no kernel for a tiny guest"
disk=$scratch/tiny.qcow2
cat > "$scratch/tiny.xml" <<X
<domain type='qemu'><name>tiny</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><kernel>$kernel</kernel><initrd>$scratch/initrd</initrd>
<cmdline>console=ttyS0 panic=-1 quiet ab=$offset_a:$offset_b</cmdline></os><features><acpi/></features>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$disk'/>
<target dev='vda' bus='virtio'/></disk>
<serial type='file'><source path='$scratch/console'/><target port='0'/></serial>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>
X
virsh -q define "$scratch/tiny.xml" > /dev/null || skip "no guest can be defined"
written() { sed -n 's/^AB \([0-9]*\).*/\1/p' "$scratch/console" | tail -n 1; }
is_writing() { [ -n "$(written)" ]; }
# A disk whose content was never seen, so that all of it has to be sent.
boot_fresh() {
	virsh -q destroy tiny > /dev/null 2>&1 || :
	head -c $size /dev/urandom > "$scratch/random"
	qemu-img convert -f raw -O qcow2 -o compat=1.1 "$scratch/random" "$disk"
	rm -f "$scratch/random"
	: > "$scratch/console"
	virsh -q start tiny > /dev/null
	wait_for 180 is_writing || { tail -n 5 "$scratch/console"; fail "the guest does not write"; }
}
checkpoints() { virsh -q checkpoint-list tiny --name | sed '/^$/d' | wc -l; }
no_checkpoints() { [ "$(checkpoints)" = 0 ]; }
number_at() { # RAW OFFSET
	local digits
	digits=$(dd if="$1" bs=4096 skip=$(($2 / 4096)) count=1 status=none | head -c 20)
	echo $((10#$digits))
}
check_moment() { # JOB: its newest image
	local ami raw=$scratch/image.raw a b
	ami=$(run_field "$1" amiId)
	godwit image verify "$ami" > "$scratch/verify" || { cat "$scratch/verify"; fail "image $ami is not whole"; }
	godwit image export "$ami" --format raw "$raw" > /dev/null
	a=$(number_at "$raw" $offset_a) b=$(number_at "$raw" $offset_b)
	rm -f "$raw"
	[ "$b" -le "$a" ] && [ "$a" -le $((b + 1)) ] && [ "$b" -gt 0 ] || fail "image $ami holds A $a and B $b: not one moment"
	echo "  A $a, B $b; by now the guest is at $(written)"
}
run_value() { godwit run show "$run" --json 2> /dev/null | jq -r "$1" || :; }
is_half_done() { local done; done=$(run_value .bytesDone); [ -n "$done" ] && [ "$done" -ge $((5 * size / 8)) ]; }
has_run() { run=$(godwit run list "$job" --json 2> /dev/null | jq -r '[.. | .replicationRunId? // empty][0] // empty') && [ -n "$run" ]; }
begin_job() { # and wait until more than half of it was copied
	job=$(sms create-replication-job --server-id "$server" --frequency 24 --seed-replication-time $(($(date +%s) + 2)) --output text)
	godwit job set "$job" --boot-test off > "$scratch/set.out" || { cat "$scratch/set.out"; fail "job set"; }
	wait_for 60 has_run || fail "job $job made no run"
	wait_for 120 is_half_done || fail "run $run does not get on: $(run_value '.stage, .bytesDone')"
	[ "$(run_value .stage)" = Uploading ] || fail "run $run is $(run_value .stage): not found under way"
	before=$(run_value .bytesDone)
}
finish_job() {
	wait_run "$job" 300 COMPLETED
	reread=$(run_value .bytesReread)
	echo "  $((before / mib)) MiB done when it was killed, $((reread / mib)) MiB of $((size / mib)) read again"
	# What was stored is not sent again: of the stream that ended it, all that was left to do.
	sent=$(run_value .bytesSent)
	[ "$sent" -le $((size - before + reread + size / 64)) ] || fail "$sent bytes were sent again"
	check_moment "$job"
}
delete_job() {
	[ "$(checkpoints)" = 1 ] || fail "the base of the next run is not in the hypervisor: $(checkpoints) checkpoints"
	sms delete-replication-job --replication-job-id "$job"
	wait_for 30 no_checkpoints || { virsh checkpoint-list tiny; fail "the point of a deleted job stays"; }
}
kill_of() { kill -9 "$(cat "$state/run/$1.pid")"; }
up() {
	godwit up --state "$state" --listen "127.0.0.1:$base" --door "127.0.0.1:$((base + 1))" \
		--connector "libvirt:$LIBVIRT_DEFAULT_URI" > "$scratch/up.out" 2>&1
}
restart() { wait_for 60 up || { cat "$scratch/up.out"; fail "cannot start again"; }; }
start_service "libvirt:$LIBVIRT_DEFAULT_URI"
boot_fresh
import_catalog
server=$(server_named tiny)

echo "the connector is killed, QEMU keeps the point"
begin_job
point=$(run_value .point)
kill_of godwit-connector
sleep 1
restart
finish_job
[ "$reread" -le "$group" ] || fail "$reread bytes were read again"
virsh -q checkpoint-list tiny --name | grep -q "^godwit-[0-9a-f]\{8\}-$run-" || fail "the checkpoint does not say whose it is"

echo "an increment of it"
sms start-on-demand-replication-run --replication-job-id "$job" > /dev/null
has_run
wait_run "$job" 120 COMPLETED
[ "$(run_value .bytesRead)" -lt $((size / 8)) ] || fail "the increment read $(run_value .bytesRead) bytes: $(run_value .readReason)"
check_moment "$job"
delete_job

echo "the connector is killed, and the point goes with it"
boot_fresh
begin_job
kill_of godwit-connector
virsh -q domjobabort tiny
sleep 1
restart
finish_job
[ "$reread" -ge "$before" ] || fail "only $reread bytes were read again of a point that is gone"
delete_job

echo "godwitd is killed"
boot_fresh
begin_job
kill_of godwitd
sleep 1
restart
finish_job
[ "$reread" -le "$group" ] || fail "$reread bytes were read again"
delete_job

echo "the intake is killed"
boot_fresh
begin_job
intake=$(pgrep -P "$(cat "$state/run/godwitd.pid")" -f -- --intake)
kill -9 "$intake"
finish_job
[ "$reread" -le "$group" ] || fail "$reread bytes were read again"
[ "$(pgrep -P "$(cat "$state/run/godwitd.pid")" -f -- --intake)" != "$intake" ] || fail "the intake was not started again"

echo "the connector is disassociated"
[ "$(checkpoints)" = 1 ] || fail "there is no checkpoint to remove"
sms disassociate-connector --connector-id "$(sms get-connectors --query 'connectorList[0].connectorId' --output text)"
wait_for 60 no_checkpoints || { virsh checkpoint-list tiny; fail "the points of a connector that was disassociated stay"; }
[ -z "$(ls "$state/connector/scratch" | grep '^p-')" ] || fail "folders of points stay"
echo "every version is of one moment"
