#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Deleted images free their room: two servers and an increment, images deleted, the store collected;
# it shrinks, what is left is whole, and an image that is being served outlives its deletion.
. "$(dirname "$0")/lib.sh"
start_service "memory:servers=2,disks=1,size=64M,seed=11,change=30"
import_catalog
used() { du -s --block-size=1 "$state/store/packs" | cut -f1; }
servers=$(sms get-servers --query 'serverList[].serverId' --output text)
jobs=()
for server in $servers; do
	job=$(sms create-replication-job --server-id "$server" --frequency 24 --seed-replication-time $(($(date +%s) + 2)) --output text)
	godwit job set "$job" --boot-test off > /dev/null
	jobs+=("$job")
done
images=()
for job in "${jobs[@]}"; do
	wait_run "$job" 240 COMPLETED
	images+=("$(run_field "$job" amiId)")
done
echo "nothing is garbage"
godwit store collect
godwit store show
godwit store show --json | jq -e '.recordBytes > 1000000 and .recordBytes == .liveBytes' > /dev/null || fail "garbage in a store of which nothing was deleted: $(godwit store show --json)"
full=$(used)

echo "an image is deleted while it is served"
sms delete-replication-job --replication-job-id "${jobs[0]}"
godwit image serve "${images[0]}" --socket "$scratch/nbd.sock" > "$scratch/serve.out" 2>&1 &
serving=$!
at_exit 'kill $serving 2> /dev/null; wait $serving 2> /dev/null'
wait_for 30 grep -q nbd+unix "$scratch/serve.out" || { cat "$scratch/serve.out"; fail "the image is not served"; }
job_is_over() { [ "$(job_field "$1" state)" = DELETED ]; }
wait_for 60 job_is_over "${jobs[0]}" || fail "the job is not deleted"
godwit image delete "${images[0]}"
godwit store collect
[ "$(used)" -ge $((full * 9 / 10)) ] || fail "what is being served was freed"
nbdcopy "nbd+unix:///disk0?socket=$scratch/nbd.sock" "$scratch/disk.raw" || fail "the served image cannot be read"
kill "$serving"
wait "$serving" || :
[ -z "$(ls "$state/store/refs" | grep ^lease-)" ] || fail "a lease is left: $(ls "$state/store/refs")"

echo "and its room is freed afterwards"
godwit store show --json | jq -e '.liveBytes * 2 < .recordBytes * 1.5' > /dev/null || fail "no garbage is seen: $(godwit store show --json)"
godwit store collect
left=$(used)
echo "  $full bytes in packs, then $left"
[ "$left" -lt $((full * 3 / 4)) ] || fail "the store did not shrink"
godwit image verify "${images[1]}" || fail "the other image is not whole"

echo "copying goes on after it"
sms start-on-demand-replication-run --replication-job-id "${jobs[1]}" > /dev/null
wait_run "${jobs[1]}" 240 COMPLETED
second=$(run_field "${jobs[1]}" amiId)
godwit image delete "${images[1]}"
godwit store collect
godwit image verify "$second" || fail "the increment is not whole"

echo "what was written over an image that is deleted"
over=$scratch/over.qcow2 sock=$scratch/over.sock
godwit image serve "$second" --overlay "$over" --socket "$sock" > "$scratch/serve.out" 2>&1 &
serving=$!
answers() { nbdinfo --size "nbd+unix:///disk0?socket=$sock" > /dev/null 2>&1; }
wait_for 30 answers || { cat "$scratch/serve.out"; fail "the overlay is not served"; }
qemu-io -f raw -c "write -P 0x11 1M 3M" -c flush "nbd+unix:///disk0?socket=$sock" > /dev/null || fail "the overlay cannot be written"
kill "$serving"
wait "$serving" || :
made=$(godwit image commit "$over" --json | jq -r .imageId)
[ -z "$(ls "$state/store/refs" | grep ^run-)" ] || fail "a finished commit left $(ls "$state/store/refs")"

echo "the last image goes"
sms delete-replication-job --replication-job-id "${jobs[1]}"
wait_for 60 job_is_over "${jobs[1]}" || fail "the job is not deleted"
godwit image delete "$second"
godwit store collect
godwit image verify "$made" || fail "what was written over the image went with it"
godwit image delete "$made"
godwit store collect
[ "$(used)" -lt $((full / 10)) ] || fail "an empty store holds $(used) bytes"
godwit store show --json | jq -e '.records == 0' > /dev/null || fail "records are left: $(godwit store show --json)"
echo "what nobody needs is freed"
