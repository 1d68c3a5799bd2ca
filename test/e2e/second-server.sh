#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two separately built servers of one distribution (other packages, names, identities, files written
# in another order): the second stores less than a sixth of the first.
. "$(dirname "$0")/lib.sh"
need_root
guests=$build/guests
common=python3,perl,git,vim,gcc,make
other=less,bc,zip,unzip,tree,pv,ed,patch,dos2unix,lsof,ncal,cpio,psmisc,whois,traceroute,netcat-openbsd,iputils-ping,hexedit,time,rsync,bsdextrautils,mtools,nano,sqlite3,jq,xz-utils
build_guest() { "$source_root/tools/guest" "$@" > "$scratch/guest.log" 2>&1 || { cat "$scratch/guest.log"; fail "guest $2 could not be built"; }; }
build_guest --name app01 --extra $common "$guests/app01.qcow2"
build_guest --name app02 --reverse --extra $common,$other "$guests/app02.qcow2"
mkdir -p "$scratch/libvirt"
at_exit '"$source_root/tools/libvirtd-by-hand" down "$scratch/libvirt"'
LIBVIRT_DEFAULT_URI=$("$source_root/tools/libvirtd-by-hand" up --private "$scratch/libvirt") || skip "libvirtd cannot be started here"
export LIBVIRT_DEFAULT_URI
for g in app01 app02; do
	cp --sparse=always "$guests/$g.qcow2" "$scratch/$g.qcow2"
	"$source_root/tools/guest-domain" $g "$scratch/$g.qcow2" "$scratch"
	virsh -q destroy $g # shut-off servers are copied too
done
start_service "libvirt:$LIBVIRT_DEFAULT_URI"
import_catalog
for g in app01 app02; do
	job=$(sms create-replication-job --server-id "$(server_named $g)" --run-once --seed-replication-time $(($(date +%s) + 4)) --output text)
	godwit job set "$job" --boot-test off
	wait_run "$job" 400 COMPLETED
	run=$(run_field "$job" replicationRunId)
	declare "stored_$g=$(godwit run show "$run" --json | jq .bytesStored)"
	godwit run show "$run" --json | jq -c '{bytesRead, bytesNew, bytesSent, bytesStored, chunks, chunksNew}'
done
echo "stored: $stored_app01 bytes, then $stored_app02"
[ $((stored_app02 * 6)) -lt "$stored_app01" ] || fail "the second server stores $stored_app02 bytes, more than a sixth of $stored_app01"
