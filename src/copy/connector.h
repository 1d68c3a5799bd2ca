// SPDX-License-Identifier: Apache-2.0
/*
 * A connector: beside the servers, outbound connections only. It holds the control connection,
 * takes leased runs, takes points in time at the site, and has godwit-copy children send the disks.
 *
 * What it must not lose is in the service's rows and in the hypervisor: after a restart WELCOME says
 * which runs go on and which points must stay, the rest of ours is swept. While it runs, a broken
 * connection costs nothing: copies go on or are opened again, and every run's state is announced
 * anew after each WELCOME. The point that a job which is over left behind goes when the service says
 * so; one that was disassociated removes everything of its name.
 */
#ifndef COPY_CONNECTOR_H
#define COPY_CONNECTOR_H

#include <stdint.h>

#include "base/err.h"

struct connector_config {
	const char *state_dir; /* keys and certificate, mode 0700; made when missing */
	const char *service;   /* host:port of the data door */
	const char
	    *token_file;  /* "<authority's fingerprint> <secret>", for the first time; or NULL */
	const char *site; /* as site_open takes it */
	const char *name; /* for people */
	int64_t hold_stage_ms;	  /* wait so long at the beginning of each stage (tests) */
	int64_t bytes_per_second; /* most that one disk sends; 0: no limit (tests) */
};

/* Enrol when there is no certificate yet; connect; serve for ever. Returns only with an error that
 * trying again does not mend (a refused token, a refused certificate, a site that cannot open). */
int connector_serve(const struct connector_config *config, struct err *e);

#endif
