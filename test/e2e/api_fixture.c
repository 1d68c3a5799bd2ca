// SPDX-License-Identifier: Apache-2.0
/*
 * api_fixture SERVERS [CERT KEY]: the API door on a free port of loopback over metadata in memory
 * with an imported catalog, until standard input ends. Prints the port, the key's id and secret.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api_rig.h"
#include "base/clock.h"

int main(int argc, char **argv)
{
	struct rig rig;
	struct err e = {0};
	struct api_server *server;
	int port;
	char byte;
	if (argc != 2 && argc != 4) {
		fputs("usage: api_fixture SERVERS [CERT KEY]\n", stderr);
		return 2;
	}
	rig_open(&rig);
	rig.now = clock_now_ms();
	rig_connector(&rig, RIG_CONNECTOR, RIG_MANAGER);
	rig_import(&rig, (unsigned)atoi(argv[1]), false);
	struct api_config config = {.listen = "127.0.0.1:0", .region = RIG_REGION};
	if (argc == 4) {
		config.cert_file = argv[2];
		config.key_file = argv[3];
	}
	if (api_server_start(&config, &rig.service, &server, &port, &e)) {
		fprintf(stderr, "%s\n", e.text);
		rig_close(&rig);
		return 1;
	}
	printf("%d %s %s\n", port, RIG_KEY_ID, RIG_SECRET);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	api_server_stop(server);
	rig_close(&rig);
	return 0;
}
