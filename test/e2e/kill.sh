#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of the connector, then of godwitd, at every stage of a run: it goes on and completes, what
# was read again is counted, and nothing is read again once everything was copied. The stages come
# from the service's own table; one that was never hit fails the test. The servers are those of the
# memory site, which forgets its points when it dies, as a hypervisor that lost its snapshots does.
. "$(dirname "$0")/lib.sh"
# Each stage is held so long at its beginning, so that it can be seen and hit.
export GODWIT_HOLD_STAGE_MS=2000
site="memory:servers=40,disks=1,size=48M,seed=3,change=1"
start_service "$site"
import_catalog
mapfile -t servers < <(sms get-servers --query 'serverList[].serverId' --output text | tr '\t' '\n')
mapfile -t stages < <(godwit stages)
[ "${#stages[@]}" -ge 6 ] || fail "godwit stages printed ${#stages[@]} stages"
next=0
# While a program is away its word cannot be had: then no stage and no run is seen.
run_value() { godwit run show "$run" --json 2> /dev/null | jq -r "$1" || :; }
run_of() { godwit run list "$1" --json 2> /dev/null | jq -r '[.. | .replicationRunId? // empty][0] // empty' || :; }
kill_program() { # connector | godwitd
	local file=$state/run/godwit-connector.pid
	[ "$1" = connector ] || file=$state/run/godwitd.pid
	kill -9 "$(cat "$file")"
}
up() {
	godwit up --state "$state" --listen "127.0.0.1:$base" --door "127.0.0.1:$((base + 1))" \
		--connector "$site" > "$scratch/up.out" 2>&1
}
restart() { wait_for 30 up || { cat "$scratch/up.out"; fail "cannot start again"; }; }
for victim in connector godwitd; do
	for stage in "${stages[@]}"; do
		[ "$stage" != Completed ] || continue
		began=$SECONDS
		server=${servers[next]}
		next=$((next + 1))
		job=$(sms create-replication-job --server-id "$server" --run-once --seed-replication-time $(($(date +%s) + 3)) --output text)
		# Only what prepares is booted: the disk holds no system, which is found out soon.
		test=off
		[ "$stage" != Preparing ] || test=advisory
		godwit job set "$job" --boot-test "$test" > "$scratch/set.out" || { cat "$scratch/set.out"; fail "job set"; }
		end=$((SECONDS + 60))
		run=
		until [ -n "$run" ]; do
			[ $SECONDS -lt $end ] || fail "job $job made no run"
			run=$(run_of "$job")
		done
		until now=$(run_value .stage) && [ "$now" = "$stage" ]; do
			[ $SECONDS -lt $end ] || fail "stage $stage was never seen (now $now)"
			[ "$now" != Completed ] || fail "stage $stage was never seen before the end"
		done
		kill_program $victim
		sleep 0.5
		restart
		limit=120
		[ "$stage" != Preparing ] || limit=400
		wait_run "$job" $limit COMPLETED
		ami=$(run_field "$job" amiId)
		godwit image verify "$ami" > "$scratch/verify" || { cat "$scratch/verify"; fail "image $ami is not whole"; }
		reread=$(run_value .bytesReread)
		[ "$reread" -ge 0 ] || fail "bytesReread is $reread"
		case $stage in
		Converting | Preparing) [ "$reread" = 0 ] || fail "$reread bytes were read again after $stage" ;;
		esac
		echo "killed $victim in $stage: completed, $reread bytes read again ($((SECONDS - began)) s)"
	done
done
# A killed connector cannot end what serves its points: the next one does.
served() { pgrep -f "^nbdkit .*$state/connector/scratch/" | wc -l; }
nothing_served() { [ "$(served)" = 0 ]; }
wait_for 30 nothing_served || fail "$(served) servers of points are left behind"
