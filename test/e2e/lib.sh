# SPDX-License-Identifier: Apache-2.0
# What every end-to-end test begins with: a scratch directory, the programs in PATH, a service of its
# own on free ports, the stock AWS CLI, and clean-up that also runs after a failure.
set -euo pipefail
source_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${GODWIT_BUILD:?GODWIT_BUILD names the build folder}
export PATH="$build/src/prog:$PATH"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/godwit-e2e.XXXXXX")
chmod 711 "$scratch"
state=$scratch/state
export GODWIT_STATE=$state
cleanups=()
at_exit() { cleanups+=("$1"); }
run_cleanups() {
	code=$?
	set +e
	if [ $code != 0 ] && [ $code != 77 ]; then
		echo "--- failed; the ends of the logs:"
		tail -n 25 "$state"/log/*.log 2>/dev/null
	fi
	for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do eval "${cleanups[i]}"; done
	stop_service
	rm -rf "$scratch"
	exit $code
}
trap run_cleanups EXIT

skip() { echo "skipped: $*"; exit 77; }
fail() { echo "FAILED: $*" >&2; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# start_service SITE [godwit up options]: godwitd and a connector on free ports.
start_service() {
	local site=$1
	shift
	base=$((20000 + ($$ * 7 + RANDOM) % 12000)) # below the ephemeral ports
	godwit up --state "$state" --listen "127.0.0.1:$base" --door "127.0.0.1:$((base + 1))" \
		--connector "$site" "$@" > "$scratch/up.out" 2>&1 || { cat "$scratch/up.out"; fail "godwit up"; }
	read_conf
}
read_conf() {
	conf() { sed -n "s/^$1 = //p" "$state/client.conf"; }
	endpoint=$(conf endpoint)
	export AWS_ACCESS_KEY_ID=$(conf access_key_id) AWS_SECRET_ACCESS_KEY=$(conf secret_access_key)
	export AWS_DEFAULT_REGION=$(conf region) AWS_CA_BUNDLE=$(conf ca_file)
	export AWS_PAGER= AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null
	export AWS_MAX_ATTEMPTS=2
}
stop_service() { [ ! -d "$state" ] || godwit down --state "$state" > /dev/null 2>&1 || :; }

sms() { /usr/bin/aws sms "$@" --endpoint-url "$endpoint"; }
# expect_error CODE ARGS…: the CLI must fail with exit 254 and that error code.
expect_error() {
	local code=$1 out status=0
	shift
	out=$(sms "$@" 2>&1) || status=$?
	[ $status = 254 ] || fail "aws sms $*: exit $status instead of 254: $out"
	grep -qF "($code)" <<< "$out" || fail "aws sms $*: expected $code, got: $out"
	echo "  $code as it should: ${out##*operation: }" | tr -d '\n'
	echo
}
wait_for() { # SECONDS COMMAND…: until it succeeds
	local limit=$1 end
	shift
	end=$((SECONDS + limit))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.5
	done
}
catalog_is() { [ "$(sms get-servers --no-paginate --query serverCatalogStatus --output text)" = "$1" ]; }
import_catalog() {
	wait_for 60 connector_is_healthy || fail "no healthy connector after 60 s"
	sms import-server-catalog
	wait_for 60 catalog_is AVAILABLE || fail "the catalog is not AVAILABLE after 60 s"
}
connector_is_healthy() { sms get-connectors --query 'connectorList[].status' --output text | grep -q '^HEALTHY'; }
server_named() { sms get-servers --output text --query "serverList[?vmServer.vmName=='$1'].serverId"; }
run_field() { sms get-replication-runs --replication-job-id "$1" --output text --query "replicationRunList[0].$2"; }
job_field() { sms get-replication-jobs --replication-job-id "$1" --output text --query "replicationJobList[0].$2"; }
run_is_over() { case $(run_field "$1" state) in COMPLETED | FAILED | DELETED | MISSED) ;; *) return 1 ;; esac; }
wait_run() { # JOB SECONDS STATE
	wait_for "$2" run_is_over "$1" || fail "the run of $1 is not over after $2 s: $(run_field "$1" '[state,statusMessage]')"
	[ "$(run_field "$1" state)" = "$3" ] || fail "the run is $(run_field "$1" state), not $3: $(run_field "$1" statusMessage)"
}
progress() { godwit run show "$1" --json 2>/dev/null; }
