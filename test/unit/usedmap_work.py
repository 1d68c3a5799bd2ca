#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Works in a folder until it is killed: usedmap_work.py FOLDER SEED. Writes, appends, cuts, renames, deletes,
makes holes and syncs, so that a file system always has something in its log and something not yet there."""
import os
import random
import shutil
import sys

root, r = sys.argv[1], random.Random(int(sys.argv[2]))
names = [f"{root}/d{i % 7}/f{i}" for i in range(150)]
noise = os.urandom(1 << 20)
with open("/dev/null") as end:
    while not end.closed:
        name = r.choice(names)
        os.makedirs(os.path.dirname(name), exist_ok=True)
        what = r.randrange(12)
        try:
            if what < 4:
                with open(name, "wb") as f:
                    at = r.randrange(600000)
                    f.write(noise[at:at + r.choice((100, 5000, 70000, 400000))])
                    if r.random() < 0.5:
                        f.flush()
                        os.fsync(f.fileno())
            elif what < 6:
                with open(name, "ab") as f:
                    f.write(noise[:r.randrange(60000)])
                    if r.random() < 0.3:
                        f.flush()
                        os.fsync(f.fileno())
            elif what == 6:
                os.truncate(name, r.randrange(100000))
            elif what == 7:
                os.rename(name, r.choice(names))
            elif what == 8:
                os.unlink(name)
            elif what == 9:
                with open(name, "r+b") as f:
                    f.seek(r.randrange(500000))
                    f.write(noise[:r.randrange(30000)])
            elif what == 10:
                os.symlink("x" * r.randrange(1, 200), name)
            elif r.random() < 0.1:
                shutil.rmtree(os.path.dirname(name))
            elif r.random() < 0.1:
                os.sync()
        except OSError:
            pass  # a name that is not there, a file system that is full
