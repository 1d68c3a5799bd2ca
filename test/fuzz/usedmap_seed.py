#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What of a disk image its used-block map hangs on, in the pieces that fuzz_usedmap takes:
usedmap_seed.py IMAGE OUT USEDMAP-ZERO. Sectors without which the map is the same are left out; the
image loses them, too."""
import struct
import subprocess
import sys

path, out_path, zero = sys.argv[1:]


def said(*more):
    return subprocess.run([zero, path, *more], stdout=subprocess.PIPE, check=True).stdout


image = open(path, "r+b", buffering=0)
size = image.seek(0, 2)
reads = [map(int, line.split()) for line in said("reads").splitlines()]
sectors = sorted({at // 512 for offset, length in reads
                  for at in range(offset // 512 * 512, min(offset + length, size), 512)})


def sector(i):
    image.seek(i * 512)
    return image.read(512)


sectors = [i for i in sectors if any(sector(i))]
wanted = said()
for step in (256, 64, 16, 4, 1):
    kept = []
    for at in range(0, len(sectors), step):
        some = sectors[at:at + step]
        old = [sector(i) for i in some]
        for i in some:
            image.seek(i * 512)
            image.write(bytes(512))
        if said() != wanted:
            for i, data in zip(some, old):
                image.seek(i * 512)
                image.write(data)
            kept += some
    sectors = kept

out = struct.pack("<I", size // 4096 - 1)
while sectors:
    n = 1
    while n < len(sectors) and n < 100 and sectors[n] == sectors[0] + n:
        n += 1
    image.seek(sectors[0] * 512)
    data = image.read(n * 512).rstrip(b"\0")
    out += struct.pack("<IH", sectors[0], len(data)) + data
    sectors = sectors[n:]
open(out_path, "wb").write(out)
