// SPDX-License-Identifier: Apache-2.0
/*
 * The tables of the service. Times are milliseconds since 1970, 0 for "never"; booleans are 0 or 1;
 * states are the API's own words (spec: model enums). A field is added at the end of its struct and
 * of its shape, with a migration.
 */
#ifndef META_ROWS_H
#define META_ROWS_H

#include "meta/meta.h"

struct setting_row {
	char *name;
	char *value;
};

struct access_key_row {
	char *access_key_id;
	char *secret;
	char *user;
	int64_t created, disabled;
};

/* One-time right to register a connector; the secret itself is not kept. */
struct enrol_token_row {
	char *secret_sha256; /* hexadecimal */
	char *name;
	int64_t created, expires;
	char *used_by; /* connector id, or NULL */
};

struct connector_row {
	char *id;
	char *name, *version, *capabilities;
	char *manager_id, *manager_name, *manager_type;
	char *ip, *mac, *host;
	int64_t associated, last_seen;
	int64_t healthy;
	char *reason;
	int64_t disassociated; /* 0, or when; its certificate is worth nothing from then */
};

/* A server of the catalog. Rows stay when the catalog is cleared, so that ids are stable. */
struct server_row {
	char *id;
	char *manager_id, *vm_id;
	char *connector_id;
	char *manager_name, *manager_type;
	char *name, *path;
	struct bytes machine; /* struct machine, wire-encoded */
	int64_t listed;	      /* in the catalog now */
	char *job_id;	      /* its newest job, or NULL */
	int64_t job_terminated;
	int64_t imported;
};

struct job_row {
	char *id;
	char *server_id;
	/* Copied from the server, so that a job outlives the catalog. */
	char *manager_id, *vm_id, *manager_name, *manager_type, *vm_name, *vm_path;
	char *state, *status_message;
	char *description, *license_type, *role_name, *kms_key_id;
	int64_t created, seed, frequency_hours, run_once;
	int64_t next_run; /* when the next slot is due; 0: none */
	int64_t due;	  /* index for the loop: when it must look at this job again; 0: never */
	int64_t keep_images, encrypted;
	int64_t failures; /* consecutive */
	int64_t failure_limit, pause_on_failure;
	char *boot_test; /* "required", "advisory", "off" */
	int64_t boot_test_every, runs_made;
	char *latest_ami_id;
	char *active_run_id;
	char *base_image_id;	 /* newest committed version: base of the next increment */
	char *base_point;	 /* the hypervisor point it was taken at, or NULL */
	char *base_connector_id; /* where that point is */
	int64_t slot;	       /* newest slot of the grid that fell due: the grid goes on from it */
	int64_t first_started; /* its first run; the days of use count from here */
	int64_t paused;	       /* since when PAUSED_ON_FAILURE; 0: it is not */
};

struct run_row {
	char *id;
	char *job_id;
	char *state, *type, *stage, *stage_progress, *status_message;
	char *description, *kms_key_id;
	int64_t encrypted, scheduled, started, completed, stage_since;
	int64_t sequence;   /* counts up within a job: newest is largest */
	char *connector_id; /* that holds the lease, or NULL */
	int64_t token;	    /* fencing token of the newest lease */
	int64_t lease_expires;
	char *point; /* hypervisor point it was copied from */
	int64_t keeps_point;
	char *consistency;
	char *ami_id;
	char *verdict, *verdict_text;
	struct bytes machine; /* as it was at the point */
	int64_t bytes_total, bytes_done, bytes_read, bytes_new, bytes_sent, bytes_stored;
	int64_t chunks, chunks_new, bytes_reread; /* reread: done before a crash and read again */
	char *read_reason; /* why everything was read, or NULL: only what changed was */
};

struct run_disk_row {
	char *id; /* "<run id>.<number>" */
	char *run_id;
	int64_t number;
	char *key;
	int64_t size_bytes;
	char *root; /* hexadecimal, when finished */
	int64_t bytes_total, bytes_done, bytes_read, bytes_new, bytes_sent, bytes_stored;
	int64_t chunks, chunks_new;
};

struct image_row {
	char *id; /* ami-… */
	char *job_id, *server_id, *run_id, *name;
	int64_t created;
	int64_t sequence;   /* of its run */
	char *state;	    /* "available", "deleted" */
	char *verdict;	    /* "booted", "degraded", "not booted", "unproven", "not tested" */
	char *verdict_text; /* one sentence */
	int64_t verdict_at;
	char *evidence; /* folder with serial.log, screen.png, …, or NULL */
	struct bytes machine;
	struct list disks; /* of struct image_disk */
	int64_t size_bytes, bytes_stored, bytes_new;
	char *overlay_of; /* the image it was written over, or NULL: it is of a run */
};

struct image_disk {
	char *key;
	int64_t size_bytes;
	char *root; /* hexadecimal */
	char *bus;
};

extern const struct shape image_disk_shape;

/* Indexes, by name: server: "address" (manager_id, vm_id) unique, "listed" (listed, id);
 * job: "due" (due), "server" (server_id), "created" (created), "base" (base_connector_id, state); run: "job"
 * (job_id, sequence), "state" (state), "connector" (connector_id); run_disk: "run" (run_id, number);
 * image: "job" (job_id, sequence), "created" (created). */
extern const struct meta_table meta_settings, meta_access_keys, meta_enrol_tokens, meta_connectors,
    meta_servers, meta_jobs, meta_runs, meta_run_disks, meta_images;
extern const struct meta_table *const meta_tables[];
extern const unsigned meta_table_count;

#endif
