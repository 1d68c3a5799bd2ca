#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Count results: summary.py ALLOWED LOG... A LOG is Meson's testlog.json or has lines "NAME OK" or
"NAME FAIL". What failed gets a line; a skip that ALLOWED does not list counts as a failure, and so
does a log without a test in it."""
import json
import sys

allowed_file, logs = sys.argv[1], sys.argv[2:]
allowed = {line.split("#")[0].strip() for line in open(allowed_file)} - {""}
count = {"passed": 0, "failed": 0, "skipped": 0}


def results(path):
    try:
        lines = open(path).read().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        if path.endswith(".json"):
            test = json.loads(line)
            yield test["name"].split(" / ")[-1].split(":")[-1], test["result"]
        else:
            yield line.split()


for log in logs:
    found = False
    for name, result in results(log):
        found = True
        if result in ("OK", "EXPECTEDFAIL"):
            count["passed"] += 1
        elif result == "SKIP" and name in allowed:
            count["skipped"] += 1
        elif result == "SKIP":
            count["skipped"] += 1
            count["failed"] += 1
            print(f"skipped, but test/skips.allowed does not list it: {name}")
        else:
            count["failed"] += 1
            print(f"failed: {name} ({result})")
    if not found:
        count["failed"] += 1
        print(f"no test ran: {log}")
print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
sys.exit(1 if count["failed"] else 0)
