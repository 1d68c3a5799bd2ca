#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# api-cli.sh API_FIXTURE: the API door as the stock command line sees it: signature, pages, errors and
# exit codes, TLS, and what is not of the protocol.
set -u
fixture=$1
aws=/usr/bin/aws
[ -x "$aws" ] || { echo "no awscli at $aws"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
export AWS_DEFAULT_REGION=us-east-1 AWS_PAGER= TZ=UTC

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
	-addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
	-keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2> /dev/null || fail "openssl"

# A fixture lives as long as its standard input, which is ours to close.
start() {
	coproc api { exec "$fixture" "$@"; }
	pid=$api_PID
	read -r port AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY <&"${api[0]}" || fail "the fixture did not start"
	exec {input}>&"${api[1]}" {api[1]}>&-
}
stop() {
	exec {input}>&-
	wait "$pid" || fail "the fixture ended with $?"
}
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
start 23
url=http://127.0.0.1:$port
sms() { "$aws" sms --endpoint-url "$url" "$@"; }
# expect STATUS TEXT command…
expect() {
	local status=$1 text=$2 got
	shift 2
	"$@" > "$scratch/out" 2>&1
	got=$?
	[ $got = "$status" ] || fail "exit $got, not $status: $* $(cat "$scratch/out")"
	grep -qF -- "$text" "$scratch/out" || fail "no '$text' in: $(cat "$scratch/out")"
}

echo "pages"
[ "$(sms get-servers --page-size 5 --query 'length(serverList)')" = 23 ] || fail "23 servers over pages of 5"
[ "$(sms get-servers --page-size 5 --query 'serverList[].serverId' --output text | tr '\t' '\n' | sort -u | wc -l)" = 23 ] || fail "each server once"
[ "$(sms get-servers --no-paginate --query serverCatalogStatus --output text)" = AVAILABLE ] || fail "status of the catalog"

echo "answers and times"
expect 0 '"connectorId": "c-0123456789abcdef0"' sms get-connectors
[[ $(sms get-connectors --query 'connectorList[0].associatedOn' --output text) == $(date -u +%Y-%m-)* ]] || fail "associatedOn"

echo "errors"
server=$(sms get-servers --query 'serverList[0].serverId' --output text)
expect 254 'An error occurred (InvalidParameterException) when calling the CreateReplicationJob operation: frequency is 25 but must be from 1 to 24' \
	sms create-replication-job --server-id "$server" --frequency 25 --seed-replication-time "$(date +%s)"
expect 254 '(OperationNotPermittedException) when calling the ListApps operation: ListApps is not part of this version of godwit yet' sms list-apps
expect 254 '(MissingAuthenticationTokenException)' sms get-servers --no-sign-request
AWS_SECRET_ACCESS_KEY=wrong expect 254 '(InvalidSignatureException)' sms get-servers
AWS_ACCESS_KEY_ID=AKIDNOBODY expect 254 '(UnrecognizedClientException)' sms get-servers
expect 254 'use --region us-east-1' sms get-servers --region eu-west-1
expect 0 '"replicationJobId": "sms-job-' sms create-replication-job --server-id "$server" --frequency 12 \
	--seed-replication-time "$(date -u +%Y-%m-%dT%H:%M:%S)" --description "für ☃ nightly"
expect 0 'nightly' sms get-replication-jobs
expect 0 '"serverId"' "$aws" sms --endpoint-url "$url/sms/api" get-servers --max-items 1

echo "what is not of the protocol gets JSON too"
curl -sS -D "$scratch/headers" -o "$scratch/body" "$url/" || fail "curl"
grep -q '405' "$scratch/headers" && jq -e '.__type == "MethodNotAllowedException"' "$scratch/body" > /dev/null || fail "GET"
grep -qi '^x-amzn-requestid: [0-9a-f-]\{36\}' "$scratch/headers" || fail "request id"
grep -qi '^content-type: application/x-amz-json-1.1' "$scratch/headers" || fail "content type"
head -c 1100000 /dev/zero > "$scratch/large"
[ "$(curl -sS -o "$scratch/body" -w '%{http_code}' -H Expect: --data-binary @"$scratch/large" "$url/")" = 413 ] || fail "body over the limit"
jq -e '.__type == "RequestEntityTooLargeException"' "$scratch/body" > /dev/null || fail "413 in JSON"
[ "$(curl -sS -o "$scratch/body" -w '%{http_code}' -H Expect: -H 'Transfer-Encoding: chunked' --data-binary @"$scratch/large" "$url/")" = 413 ] || fail "chunked body over the limit"
[ "$(curl -sS -o "$scratch/body" -w '%{http_code}' -H "X-Long: $(head -c 20000 /dev/zero | tr '\0' a)" -d '{}' "$url/")" = 431 ] || fail "headers over the limit"
jq -e .message "$scratch/body" > /dev/null || fail "431 in JSON"

stop

echo "TLS"
start 2 "$scratch/cert.pem" "$scratch/key.pem"
url=https://localhost:$port
export AWS_CA_BUNDLE=$scratch/cert.pem
[ "$(sms get-servers --query 'length(serverList)')" = 2 ] || fail "over TLS"
! curl -sS --tls-max 1.1 --cacert "$scratch/cert.pem" "$url/" > /dev/null 2>&1 || fail "TLS 1.1 was accepted"
stop
