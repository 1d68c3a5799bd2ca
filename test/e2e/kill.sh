#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of the connector, then of godwitd, at every stage of a run: it goes on and completes, and
# what was read again is counted. The stages come from the service's own table; one that was never
# hit fails the test. The servers are those of the memory site.
. "$(dirname "$0")/lib.sh"
# Each stage is held for two seconds at its beginning, so that it can be seen and hit.
export GODWIT_HOLD_STAGE_MS=2000
site="memory:servers=40,disks=1,size=48M,seed=3,change=1"
start_service "$site"
import_catalog
mapfile -t servers < <(sms get-servers --query 'serverList[].serverId' --output text | tr '\t' '\n')
mapfile -t stages < <(godwit stages)
[ "${#stages[@]}" -ge 6 ] || fail "godwit stages printed ${#stages[@]} stages"
next=0
stage_is() { [ "$(godwit run show "$run" --json | jq -r .stage)" = "$1" ]; }
kill_program() { # connector | godwitd
	local file=$state/run/godwit-connector.pid
	[ "$1" = connector ] || file=$state/run/godwitd.pid
	kill -9 "$(cat "$file")"
}
restart() {
	wait_for 20 eval 'godwit up --state "$state" --listen "127.0.0.1:$base" --door "127.0.0.1:$((base + 1))" --connector "$site" > "$scratch/up.out" 2>&1' ||
		{ cat "$scratch/up.out"; fail "cannot start again"; }
}
for victim in connector godwitd; do
	for stage in "${stages[@]}"; do
		[ "$stage" != Completed ] || continue
		server=${servers[next]}
		next=$((next + 1))
		job=$(sms create-replication-job --server-id "$server" --run-once --seed-replication-time $(($(date +%s) + 4)) --output text)
		godwit job set "$job" --boot-test off
		[ "$stage" != Preparing ] || godwit job set "$job" --boot-test advisory
		run=
		for _ in $(seq 40); do
			run=$(run_field "$job" replicationRunId)
			[ "$run" = None ] || break
			sleep 0.2
		done
		end=$((SECONDS + 60))
		until stage_is "$stage"; do
			[ $SECONDS -lt $end ] || fail "stage $stage was never seen (now $(godwit run show "$run" --json | jq -r .stage))"
			sleep 0.1
		done
		kill_program $victim
		sleep 0.5
		restart
		limit=120
		[ "$stage" != Preparing ] || limit=400
		wait_run "$job" $limit COMPLETED
		ami=$(run_field "$job" amiId)
		godwit image verify "$ami" > "$scratch/verify" || { cat "$scratch/verify"; fail "image $ami is not whole"; }
		reread=$(godwit run show "$run" --json | jq -r .bytesReread)
		echo "killed $victim in $stage: completed, $reread bytes read again"
	done
done
