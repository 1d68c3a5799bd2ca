#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Count a Meson test log: summary.py TESTLOG.json ALLOWED [MORE]. One result a line; a skip that the
list does not allow counts as a failure. MORE has lines "NAME OK" or "NAME FAIL" besides."""
import json
import sys

log, allowed_file = sys.argv[1:3]
allowed = {line.split("#")[0].strip() for line in open(allowed_file)} - {""}
passed = failed = skipped = 0
try:
    lines = open(log).read().splitlines()
except FileNotFoundError:
    lines = []
for line in lines:
    test = json.loads(line)
    name, result = test["name"].split(" / ")[-1].split(":")[-1], test["result"]
    if result in ("OK", "EXPECTEDFAIL"):
        passed += 1
    elif result == "SKIP":
        skipped += 1
        if name not in allowed:
            failed += 1
            print(f"skipped, but test/skips.allowed does not list it: {name}")
    else:
        failed += 1
        print(f"failed: {name} ({result})")
for line in open(sys.argv[3]) if len(sys.argv) > 3 else []:
    name, result = line.split()
    if result == "OK":
        passed += 1
    else:
        failed += 1
        print(f"failed: {name}")
if passed == 0:
    print("no test ran")
    failed += 1
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed else 0)
