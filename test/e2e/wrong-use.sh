#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a newcomer does wrong: each is one sentence that names the thing, with the right exit code, and
# nothing that was there before is lost. The servers are those of the memory site.
. "$(dirname "$0")/lib.sh"
site=memory:servers=2,disks=1,size=8M,seed=7
base=$((20000 + ($$ * 7 + RANDOM) % 20000))
here=(--listen "127.0.0.1:$base" --door "127.0.0.1:$((base + 1))")
refused() { # STATUS TEXT ARGS…: godwit ARGS says TEXT in one line
	local status=$1 text=$2 out got=0
	shift 2
	out=$(timeout 90 godwit "$@" 2>&1 > /dev/null) || got=$?
	[ $got = "$status" ] || fail "godwit $*: exit $got instead of $status: $out"
	grep -qF -- "$text" <<< "$out" || fail "godwit $*: '$text' is not in: $out"
	[ "$(wc -l <<< "$out")" = 1 ] || fail "godwit $*: more than a sentence: $out"
	echo "  $out"
}
refused 1 "there is no service in '$state'" status
refused 1 "there is no service in '$state'" down
refused 2 "must be an absolute path" --state relative up
refused 2 "--slots must be a whole number from 1 to 16" up "${here[@]}" --slots 99
refused 1 "<host>:<port>" up --no-connector --listen nonsense --door "127.0.0.1:$((base + 1))"
refused 1 'no kind of site is called "vmware"' up "${here[@]}" --connector vmware:x
refused 1 "servers must be a whole number" up "${here[@]}" --connector memory:servers=many
refused 1 "/nowhere/socket" up "${here[@]}" --connector 'libvirt:qemu+unix:///system?socket=/nowhere/socket'
godwit up "${here[@]}" --connector "$site" > "$scratch/up.out" || fail "godwit up"
godwit up "${here[@]}" --connector "$site" | grep -q "already" || fail "a second 'up' does not say that it runs"
refused 1 "another program does" up --state "$scratch/other" "${here[@]}" --no-connector
chmod 755 "$scratch"
set -- setpriv --reuid=65534 --regid=65534 --clear-groups "$build/src/prog/godwit" --state "$state"
if [ "$(id -u)" = 0 ] && "$@" stages > /dev/null 2>&1; then # the build folder may be closed to others
	for command in status down; do
		out=$("$@" $command 2>&1) && fail "another user's '$command' succeeds: $out"
		grep -q "user" <<< "$out" || fail "another user's '$command': $out"
	done
fi
read_conf
import_catalog
server=$(sms get-servers --output text --query 'serverList[0].serverId')
job=$(sms create-replication-job --server-id "$server" --run-once --output text --query replicationJobId \
	--seed-replication-time "$(date -u +%FT%TZ)")
refused 2 "nothing to set" job set "$job"
refused 2 "--boot-test is required, advisory or off" job set "$job" --boot-test maybe
refused 2 "from 1 to 1000" job set "$job" --boot-test-every 0
refused 1 "sms-job-0" job show sms-job-0
godwit job set "$job" --boot-test off > /dev/null
run_is_imaged() { godwit image list --json | jq -e '.[0].imageId' > /dev/null; }
wait_for 60 run_is_imaged || fail "no image after 60 s"
image=$(godwit image list --json | jq -r '.[0].imageId')
echo keep > "$scratch/there"
refused 1 "there already" image export "$image" "$scratch/there"
refused 1 "'$scratch/none'" image export "$image" "$scratch/none/file"
refused 1 "there is no disk 7" image export "$image" "$scratch/new" --disk 7
refused 2 "raw, qcow2, vmdk, vhd or vhdx" image export "$image" "$scratch/new" --format iso
refused 1 "no socket" image serve "$image" --socket "$scratch/there"
refused 2 "none, gtk, sdl or curses" image boot "$image" --display paper
refused 1 "there is no image 'ami-0'" image boot ami-0
[ "$(cat "$scratch/there")" = keep ] || fail "a file in the way was lost"
[ ! -e "$scratch/new" ] || fail "a refused export left a file"
godwit down > /dev/null
refused 1 "does not answer" status
godwit down | grep -q "Nothing was running" || fail "a second 'down'"
# A service that listens everywhere is reached on this machine.
godwit up --listen "0.0.0.0:$base" --door "0.0.0.0:$((base + 1))" --connector "$site" > /dev/null || fail "up on every address"
godwit connector list | grep -q HEALTHY || fail "no healthy connector"
echo "every mistake was told and cost nothing"
