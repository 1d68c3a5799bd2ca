#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The store is a bucket of a Ceph gateway, which is killed while a server is copied; the image is verified,
# served from the bucket and compared with its increment; the service's own data hold no secret of it.
. "$(dirname "$0")/lib.sh"
ceph=$source_root/tools/ceph-by-hand
status=0
answer=$("$ceph" up "$scratch/ceph") || status=$?
[ $status != 77 ] || skip "the packages of Ceph's gateway are not installed"
[ $status = 0 ] || fail "the gateway does not start"
at_exit '"$ceph" down "$scratch/ceph"'
(umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
	"$(sed 's/.*access_key=\([^ ]*\) .*/\1/' <<< "$answer")" "$(sed 's/.*secret_key=//' <<< "$answer")" > "$scratch/keys")
place="s3:godwit-e2e/site?endpoint=$(sed 's/endpoint=\([^ ]*\) .*/\1/' <<< "$answer")&credentials=$scratch/keys&cache=$scratch/cache"
start_service "memory:servers=1,disks=1,size=96M,seed=5,change=20" --store "$place"
import_catalog
server=$(sms get-servers --query 'serverList[0].serverId' --output text)
job=$(sms create-replication-job --server-id "$server" --frequency 24 --seed-replication-time $(($(date +%s) + 1)) --output text)
godwit job set "$job" --boot-test off > /dev/null

echo "the gateway dies while the first run copies"
copies() { run_field "$job" state | grep -q ACTIVE || run_is_over "$job"; }
wait_for 120 copies || fail "no run begins"
"$ceph" kill "$scratch/ceph"
sleep 3
"$ceph" gateway "$scratch/ceph"
wait_run "$job" 600 COMPLETED
first=$(run_field "$job" amiId)
godwit image verify "$first" || fail "the image is not whole"
godwit store show
godwit store show --json | jq -e '.recordBytes > 1000000' > /dev/null || fail "the bucket holds hardly anything"
[ ! -e "$state/store" ] || fail "there is a directory of a store, too"

echo "an increment, after the intake was killed"
intake=$(pgrep -f -- "--intake s3:.*$scratch" | head -1)
[ -n "$intake" ] || fail "no process writes the store"
kill -9 "$intake"
sms start-on-demand-replication-run --replication-job-id "$job" > /dev/null
wait_run "$job" 600 COMPLETED
second=$(run_field "$job" amiId)
[ "$second" != "$first" ] || fail "the second run made no image"
godwit image verify "$second" || fail "the increment is not whole"

echo "it is served from the bucket"
godwit image serve "$second" --socket "$scratch/nbd.sock" > "$scratch/serve.out" 2>&1 &
serving=$!
at_exit 'kill $serving 2> /dev/null; wait $serving 2> /dev/null'
wait_for 60 grep -q nbd+unix "$scratch/serve.out" || { cat "$scratch/serve.out"; fail "the image is not served"; }
nbdcopy "nbd+unix:///disk0?socket=$scratch/nbd.sock" "$scratch/disk.raw" || fail "the served image cannot be read"
[ "$(stat -c %s "$scratch/disk.raw")" -ge $((96 << 20)) ] || fail "the served disk is too small"
kill "$serving"
wait "$serving" || :

echo "what nobody needs is freed in it"
godwit image delete "$first"
godwit store collect
godwit image verify "$second" || fail "the increment is not whole after a collection"
if grep -rq "$(sed -n 's/^aws_secret_access_key = //p' "$scratch/keys")" "$state"; then
	fail "the secret of the bucket is in $(grep -rl "$(sed -n 's/^aws_secret_access_key = //p' "$scratch/keys")" "$state")"
fi
echo "a bucket is as good a store as a directory"
