#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest without serial console and sshd is judged by what its screen shows.
. "$(dirname "$0")/lib.sh"
need_root
guests=$build/guests
"$source_root/tools/guest" --name quiet01 --no-serial --no-ssh "$guests/quiet01.qcow2" > "$scratch/guest.log" 2>&1 || { cat "$scratch/guest.log"; fail "the guest could not be built"; }
mkdir -p "$scratch/libvirt"
at_exit '"$source_root/tools/libvirtd-by-hand" down "$scratch/libvirt"'
LIBVIRT_DEFAULT_URI=$("$source_root/tools/libvirtd-by-hand" up --private "$scratch/libvirt") || skip "libvirtd cannot be started here"
export LIBVIRT_DEFAULT_URI
cp --sparse=always "$guests/quiet01.qcow2" "$scratch/quiet01.qcow2"
"$source_root/tools/guest-domain" quiet01 "$scratch/quiet01.qcow2" "$scratch"
virsh -q destroy quiet01
start_service "libvirt:$LIBVIRT_DEFAULT_URI"
import_catalog
job=$(sms create-replication-job --server-id "$(server_named quiet01)" --run-once --seed-replication-time "$(date +%s)" --output text)
wait_run "$job" 900 COMPLETED
ami=$(run_field "$job" amiId)
godwit image show "$ami" --json | jq -r '.verdict, .verdictText'
godwit image show "$ami" --json | jq -e '.verdict == "booted" and (.verdictText | test("screen"))' > /dev/null || fail "not judged by its screen"
grep -q 'login' "$state/evidence/$ami/screen.txt" || fail "the screen's text is not kept"
grep -qF "notice: event=\"completed\" job=\"$job\" run=" "$state"/log/godwitd.log || fail "the log has no notice of the run"
