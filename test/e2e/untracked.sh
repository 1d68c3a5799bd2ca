#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A running machine whose disks QEMU cannot track, raw and qcow2 of version 2: every run reads all,
# says why in one sentence, and sends only what is new. Then without scratch space: the run fails and
# says what is missing. The machine is never booted: its disks matter, not what is on them.
. "$(dirname "$0")/lib.sh"
need_root
mkdir -p "$scratch/libvirt"
at_exit '"$source_root/tools/libvirtd-by-hand" down "$scratch/libvirt"'
LIBVIRT_DEFAULT_URI=$("$source_root/tools/libvirtd-by-hand" up --private "$scratch/libvirt") || skip "libvirtd cannot be started here"
export LIBVIRT_DEFAULT_URI
head -c 24M /dev/urandom > "$scratch/a.raw"
truncate -s 64M "$scratch/a.raw"
qemu-img create -q -f qcow2 -o compat=0.10 "$scratch/b.qcow2" 32M
cat > "$scratch/mixed.xml" <<XML
<domain type='qemu'><name>mixed</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<disk type='file'><driver name='qemu' type='raw'/><source file='$scratch/a.raw'/><target dev='vda' bus='virtio'/></disk>
<disk type='file'><driver name='qemu' type='qcow2'/><source file='$scratch/b.qcow2'/><target dev='vdb' bus='virtio'/></disk>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>
XML
virsh -q define "$scratch/mixed.xml"
virsh -q start mixed --paused
start_service "libvirt:$LIBVIRT_DEFAULT_URI"
import_catalog
job=$(sms create-replication-job --server-id "$(server_named mixed)" --frequency 24 --seed-replication-time $(($(date +%s) + 4)) --output text)
godwit job set "$job" --boot-test off
# Both reasons, also after the first run, and what the second sent.
check_run() { # NUMBER
	wait_run "$job" 300 COMPLETED
	run=$(run_field "$job" replicationRunId)
	godwit run show "$run" > "$scratch/shown"
	grep 'read in full' "$scratch/shown" || fail "run $1 does not say why it read all: $(cat "$scratch/shown")"
	grep -q 'disk vda is raw: .*; disk vdb is qcow2 of version 2 ' "$scratch/shown" || fail "run $1 does not tell the reason of each disk"
	godwit run show "$run" --json > "$scratch/run$1"
}
check_run 1
# As the guest would: QEMU writes a block through the disk of the machine.
virsh -q qemu-monitor-command mixed --hmp "qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend \"write -P 7 40M 4k\"" > "$scratch/write" || fail "QEMU did not write: $(cat "$scratch/write")"
sms start-on-demand-replication-run --replication-job-id "$job" > /dev/null
check_run 2
jq -s -e '.[0].bytesSent > 20000000 and .[1].bytesSent > 0 and .[1].bytesSent < 200000 and .[1].bytesRead >= .[0].bytesRead' "$scratch/run1" "$scratch/run2" > /dev/null ||
	fail "the second run did not read all and send what is new: $(jq -c '{bytesRead, bytesSent}' "$scratch/run1" "$scratch/run2")"
godwit image export "$(run_field "$job" amiId)" --disk 0 --format raw "$scratch/exported" > /dev/null
cmp "$scratch/a.raw" "$scratch/exported" || fail "the image differs from the disk"

echo "no scratch space"
virsh -q destroy mixed
qemu-img create -q -f qcow2 "$scratch/c.qcow2" 30T
sed "s|<controller|<disk type='file'><driver name='qemu' type='qcow2'/><source file='$scratch/c.qcow2'/><target dev='vdc' bus='virtio'/></disk>&|" "$scratch/mixed.xml" > "$scratch/larger.xml"
sed -i "s|<name>|<uuid>$(virsh -q domuuid mixed | tr -d '\n')</uuid>&|" "$scratch/larger.xml"
virsh -q define "$scratch/larger.xml"
virsh -q start mixed --paused
sms start-on-demand-replication-run --replication-job-id "$job" > /dev/null
wait_run "$job" 120 FAILED
run_field "$job" statusMessage | tee "$scratch/message"
grep -q 'free, but 3.0 TiB (10 % of the disks) are needed' "$scratch/message" || fail "the run does not say what is missing"
[ "$(virsh -q checkpoint-list mixed --name | wc -w)" = 0 ] || fail "a failed run left a checkpoint"
echo "what cannot be tracked is read, and said"
