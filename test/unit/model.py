#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""model.py MODEL_DUMP: holds our table of operations against the service model that the stock
command line ships (Debian's awscli): operations, members, types, required members, enums, patterns,
ranges, errors and pages must be equal."""
import glob
import json
import subprocess
import sys

FOUND = glob.glob("/usr/lib/python3/dist-packages/*/botocore/data/sms/2016-10-24") + glob.glob(
    "/usr/lib/python3/dist-packages/botocore/data/sms/2016-10-24")
# What a model says for people, and what the wire does not depend on.
PROSE = {"documentation"}


def bare(value):
    if isinstance(value, dict):
        return {k: bare(v) for k, v in value.items() if k not in PROSE or not isinstance(v, str)}
    if isinstance(value, list):
        return [bare(v) for v in value]
    return value


def differences(path, theirs, ours):
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            if key not in ours:
                yield f"{path}/{key}: missing here"
            elif key not in theirs:
                yield f"{path}/{key}: not in the model"
            else:
                yield from differences(f"{path}/{key}", theirs[key], ours[key])
    elif theirs != ours:
        yield f"{path}: {theirs!r} in the model, {ours!r} here"


def dump(program, service):
    return json.loads(subprocess.run([program, service], check=True, capture_output=True).stdout)


def main():
    if not FOUND:
        print("awscli with its service models is not installed")
        return 77
    theirs = json.load(open(f"{FOUND[0]}/service-2.json", encoding="utf-8"))
    ours = dump(sys.argv[1], "sms")
    wrong = []
    for part in ("operations", "shapes"):
        wrong += differences(part, bare(theirs[part]), bare(ours[part]))
    for key in ("apiVersion", "endpointPrefix", "jsonVersion", "protocol", "signatureVersion",
                "targetPrefix"):
        wrong += differences(f"metadata/{key}", theirs["metadata"][key], ours["metadata"][key])
    for line in wrong:
        print(line)
    undocumented = [n for s in ("sms", "godwit")
                    for n, o in dump(sys.argv[1], s)["operations"].items() if not o.get("documentation")]
    for name in undocumented:
        print(f"{name}: has no documentation")
    print(f"{len(ours['operations'])} operations, {len(ours['shapes'])} shapes, "
          f"{len(wrong)} differences from {FOUND[0]}")
    return 1 if wrong or undocumented else 0


sys.exit(main())
