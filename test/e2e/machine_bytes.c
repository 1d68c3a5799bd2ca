// SPDX-License-Identifier: Apache-2.0
/* machine_bytes FIRMWARE CHIPSET MEMORY-MIB BUS...: a machine with a disk per BUS, encoded, as
 * godwit-worker reads it from standard input. */
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "wire/machine.h"
#include "wire/wire.h"

int main(int argc, char **argv)
{
	struct machine m = {0};
	struct buf out = {0};

	if (argc < 5) {
		fprintf(stderr, "usage: machine_bytes FIRMWARE CHIPSET MEMORY-MIB BUS...\n");
		return 2;
	}
	text_set(&m.name, "made");
	text_set(&m.firmware, argv[1]);
	text_set(&m.machine, argv[2]);
	m.vcpus = 1;
	m.memory_bytes = atoll(argv[3]) * (int64_t)MIB;
	for (int i = 4; i < argc; i++) {
		struct machine_disk *d = list_push(&m.disks, sizeof *d);

		text_set(&d->bus, argv[i]);
	}
	wire_encode(&machine_shape, &m, &out);
	bool whole = fwrite(out.data, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
	buf_release(&out);
	shape_release(&machine_shape, &m);
	return whole ? 0 : 1;
}
