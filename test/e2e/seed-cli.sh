#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every command of the vendor's page "Replicating VMs Using the CLI", in its order, with the stock
# CLI, errors included. The servers are those of the memory site.
. "$(dirname "$0")/lib.sh"
start_service "memory:servers=3,disks=2,size=24M,seed=7,change=1"

echo "get-connectors"
wait_for 60 connector_is_healthy || fail "no healthy connector"
connector=$(sms get-connectors --query 'connectorList[0].connectorId' --output text)
[[ $connector =~ ^c-[0-9a-f]{17}$ ]] || fail "connector id '$connector'"
expect_error InvalidParameterException disassociate-connector --connector-id c-00000000000000000

echo "get-servers before the import"
[ "$(sms get-servers --no-paginate --query serverCatalogStatus --output text)" = NOT_IMPORTED ] || fail "status before import"

echo "import-server-catalog, get-servers"
import_catalog
[ "$(sms get-servers --query 'length(serverList)')" = 3 ] || fail "three servers expected"
[ "$(sms get-servers --page-size 1 --query 'length(serverList)')" = 3 ] || fail "three servers over pages"
server=$(sms get-servers --query 'serverList[0].serverId' --output text)
[[ $server =~ ^s-[0-9a-f]{8}$ ]] || fail "server id '$server'"

echo "create-replication-job and its refusals"
now=$(date +%s)
expect_error InvalidParameterException create-replication-job --server-id s-00000000 --frequency 12 --seed-replication-time "$now"
expect_error InvalidParameterException create-replication-job --server-id "$server" --frequency 25 --seed-replication-time "$now"
expect_error InvalidParameterException create-replication-job --server-id "$server" --frequency 0 --seed-replication-time "$now"
expect_error MissingRequiredParameterException create-replication-job --server-id "$server" --seed-replication-time "$now"
expect_error InvalidParameterException create-replication-job --server-id "$server" --frequency 12 --seed-replication-time $((now + 31 * 86400))
job=$(sms create-replication-job --server-id "$server" --frequency 12 --seed-replication-time $(($(date +%s) + 6)) --description "seed page" --output text)
[[ $job =~ ^sms-job-[0-9a-f]{8}$ ]] || fail "job id '$job'"
expect_error ReplicationJobAlreadyExistsException create-replication-job --server-id "$server" --frequency 12 --seed-replication-time "$now"
# These disks hold no system: what is tested here is the API, not the boot.
godwit job set "$job" --boot-test off

echo "get-replication-jobs, get-replication-runs"
wait_run "$job" 120 COMPLETED
[[ $(run_field "$job" replicationRunId) =~ ^sms-run-[0-9a-f]{8}$ ]] || fail "run id"
ami=$(run_field "$job" amiId)
[[ $ami =~ ^ami-[0-9a-f]{8,17}$ ]] || fail "image id '$ami'"
[ "$(job_field "$job" latestAmiId)" = "$ami" ] || fail "latestAmiId is not the run's image"
[ "$(job_field "$job" state)" = ACTIVE ] || fail "job state"
[ "$(job_field "$job" 'replicationRunList[0].type')" = AUTOMATIC ] || fail "run type"
sms get-replication-jobs > "$scratch/jobs.json"
jq -e '.replicationJobList[0] | .vmServer.vmName and .frequency == 12 and .seedReplicationTime and .nextReplicationRunStartTime' "$scratch/jobs.json" > /dev/null || fail "members of the job"
sms get-replication-runs --replication-job-id "$job" --no-paginate > "$scratch/runs.json"
jq -e '.replicationJob.replicationJobId and (.replicationRunList | length) == 1 and .replicationRunList[0].completedTime' "$scratch/runs.json" > /dev/null || fail "members of the run"
expect_error InvalidParameterException get-replication-runs --replication-job-id sms-job-00000000

echo "update-replication-job"
next=$(((now + 86400) / 60 * 60))
sms update-replication-job --replication-job-id "$job" --frequency 24 --next-replication-run-start-time "$next"
[ "$(job_field "$job" frequency)" = 24 ] || fail "frequency was not changed"
expect_error ReplicationJobNotFoundException update-replication-job --replication-job-id sms-job-00000000 --frequency 24
expect_error InvalidParameterException update-replication-job --replication-job-id "$job" --frequency 99

echo "start-on-demand-replication-run: two, and the third refused"
for i in 1 2; do
	sms start-on-demand-replication-run --replication-job-id "$job" --description "on demand $i" > /dev/null
	wait_run "$job" 120 COMPLETED
done
expect_error ReplicationRunLimitExceededException start-on-demand-replication-run --replication-job-id "$job"
[ "$(sms get-replication-runs --replication-job-id "$job" --page-size 1 --query 'length(replicationRunList)')" = 3 ] || fail "three runs over pages"

echo "who may call"
(AWS_SECRET_ACCESS_KEY=wrong expect_error InvalidSignatureException get-connectors)
(AWS_ACCESS_KEY_ID=AKIAUNKNOWN expect_error UnrecognizedClientException get-connectors)
expect_error MissingAuthenticationTokenException get-connectors --no-sign-request

echo "delete-replication-job, delete-server-catalog, disassociate-connector"
sms delete-replication-job --replication-job-id "$job"
wait_for 30 eval '[ "$(job_field "$job" state)" = DELETED ]' || fail "job is not DELETED"
expect_error ReplicationJobNotFoundException delete-replication-job --replication-job-id sms-job-00000000
godwit image show "$ami" > /dev/null || fail "the image went with its job"
[ "$(sms get-servers --query "serverList[?serverId=='$server'].replicationJobTerminated" --output text)" = True ] || fail "replicationJobTerminated"
sms delete-server-catalog
catalog_is DELETED || fail "catalog is not DELETED"
[ "$(sms get-servers --query 'length(serverList)')" = 0 ] || fail "servers after delete"
sms disassociate-connector --connector-id "$connector"
[ "$(sms get-connectors --query 'length(connectorList)')" = 0 ] || fail "connector after disassociate"
expect_error NoConnectorsAvailableException import-server-catalog
echo "every command of the page works"
