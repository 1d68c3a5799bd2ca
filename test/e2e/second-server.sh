#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two separately built servers of one distribution (other packages, names, identities, files written
# in another order): the second stores less than a sixth of the first.
. "$(dirname "$0")/lib.sh"
need_root
guests=$build/guests
"$source_root/tools/guest" --name web01 "$guests/web01.qcow2" > "$scratch/guest.log" 2>&1 || fail "the first guest could not be built"
"$source_root/tools/guest" --name db01 --reverse --extra less,bc,zip,unzip,tree,pv,ed,patch,dos2unix,lsof,ncal,cpio,psmisc,whois,traceroute,netcat-openbsd,iputils-ping,hexedit,time,rsync,bsdextrautils,mtools "$guests/db01.qcow2" > "$scratch/guest.log" 2>&1 || { cat "$scratch/guest.log"; fail "the second guest could not be built"; }
mkdir -p "$scratch/libvirt"
at_exit '"$source_root/tools/libvirtd-by-hand" down "$scratch/libvirt"'
LIBVIRT_DEFAULT_URI=$("$source_root/tools/libvirtd-by-hand" up --private "$scratch/libvirt") || skip "libvirtd cannot be started here"
export LIBVIRT_DEFAULT_URI
for g in web01 db01; do
	cp --sparse=always "$guests/$g.qcow2" "$scratch/$g.qcow2"
	"$source_root/tools/guest-domain" $g "$scratch/$g.qcow2" "$scratch"
	virsh -q destroy $g # shut-off servers are copied too
done
start_service "libvirt:$LIBVIRT_DEFAULT_URI"
import_catalog
for g in web01 db01; do
	job=$(sms create-replication-job --server-id "$(server_named $g)" --run-once --seed-replication-time $(($(date +%s) + 4)) --output text)
	godwit job set "$job" --boot-test off
	wait_run "$job" 400 COMPLETED
	run=$(run_field "$job" replicationRunId)
	declare "stored_$g=$(godwit run show "$run" --json | jq .bytesStored)"
	godwit run show "$run" --json | jq -c '{bytesRead, bytesNew, bytesSent, bytesStored, chunks, chunksNew}'
done
echo "stored: $stored_web01 bytes, then $stored_db01"
[ $((stored_db01 * 6)) -lt "$stored_web01" ] || fail "the second server stores $stored_db01 bytes, more than a sixth of $stored_web01"
