// SPDX-License-Identifier: Apache-2.0
/*
 * The life of a replication job and its runs, as pure functions: step(state, event, now) -> state,
 * actions (spec/sms.md §3.3, §4). No I/O, no clock. The loop (job/loop.h) reads rows, calls step,
 * writes rows and actions in one transaction, and carries the actions out.
 */
#ifndef JOB_STEP_H
#define JOB_STEP_H

#include <stdbool.h>

#include "base/err.h"
#include "meta/rows.h"

/* Stages of a run, in order. The words are stageDetails.stage on the wire. */
enum stage {
	STAGE_SCHEDULED,    /* due; waits for a connector to take the lease */
	STAGE_VALIDATING,   /* the connector looks at the server */
	STAGE_SNAPSHOTTING, /* the point in time is being taken */
	STAGE_UPLOADING,    /* disks are read and sent */
	STAGE_CONVERTING,   /* the version becomes an image */
	STAGE_PREPARING,    /* waits for a worker, then the first boot and its verdict */
	STAGE_COMPLETED,
	STAGE_COUNT
};
struct stage_facts {
	const char *word;
	bool leased; /* a connector works on it: its lease matters */
};
extern const struct stage_facts stage_table[STAGE_COUNT];
enum stage stage_from_word(const char *word); /* STAGE_COUNT when unknown */

/* The business quotas that differ between presets (spec/sms.md §4, design "Limits"). */
struct job_rules {
	const char *name;			       /* "unlimited" or "aws" */
	int concurrent_jobs_max;		       /* 0: no limit */
	int64_t terminate_after_ms;		       /* 90 days of use; 0: never */
	int64_t delete_paused_after_ms;		       /* 4 days; 0: never */
	int volumes_max;			       /* 22; 0: LIMIT_DISKS_PER_SERVER */
	uint64_t boot_disk_max_bytes, delta_max_bytes; /* 0: no limit */
	int on_demand_per_day;
};
extern const struct job_rules job_rules_unlimited, job_rules_aws;
const struct job_rules *job_rules_named(const char *name); /* NULL when unknown */

enum job_event_kind {
	JOB_TICK,      /* time passed: slots, horizons */
	JOB_ON_DEMAND, /* text: description; number: on-demand runs in the last 24 h */
	JOB_UPDATE,    /* update: the members given */
	JOB_RESUME,
	JOB_DELETE,
	RUN_STAGE,	/* stage: entered by the connector */
	RUN_SNAPSHOT,	/* point, keeps_point, read_reason, consistency: set by the loop */
	RUN_COPIED,	/* every disk has its root */
	RUN_IMAGED,	/* the version was committed as image `text`; loop made the row */
	RUN_VERDICT,	/* verdict and its sentence are on the run */
	RUN_FAILED,	/* error, text. ERR_FULL of the store is no failure: the run waits. In
			 * STAGE_PREPARING the image is there already, so it means "unproven" */
	RUN_LEASE_LOST, /* the lease ran out: the run goes back to waiting for a connector */
};

struct job_update { /* UpdateReplicationJob: what was given */
	bool has_frequency, has_next_run, has_keep, has_encrypted;
	int64_t frequency_hours, next_run, keep_images, encrypted;
	const char *license_type, *role_name, *description, *kms_key_id; /* NULL: unchanged */
};

struct job_event {
	enum job_event_kind kind;
	enum stage stage;
	enum err_kind error;
	int64_t number;
	const char *text;
	const struct job_update *update;
};

enum job_action_kind {
	ACT_CREATE_RUN,	      /* insert state->new_run (an id is in it); it waits for a lease */
	ACT_RECORD_MISSED,    /* insert state->missed_run */
	ACT_BOOT_TEST,	      /* queue the active run's image for the judge */
	ACT_MAKE_IMAGE,	      /* commit the version: refs, image row; then RUN_IMAGED */
	ACT_TELL_COMMITTED,   /* the connector may drop the old point */
	ACT_TELL_CANCEL,      /* the connector must give the run up */
	ACT_PRUNE_IMAGES,     /* delete images beyond keep_images, oldest first */
	ACT_NOTIFY,	      /* text: completed, failed, deleted, paused (job/notice.h) */
	ACT_FORGET_JOURNAL,   /* the run's journals are of no more use */
	ACT_SERVER_JOB_ENDED, /* the server's row: job_terminated */
};

#define JOB_ACTIONS_MAX 16

struct job_actions {
	unsigned count;
	struct {
		enum job_action_kind kind;
		const char *text; /* static */
	} items[JOB_ACTIONS_MAX];
};

/* The rows a step works on. `run` is the active run when has_run; after a step that ended it,
 * has_run is false and `run` holds how it ended. Owned by the caller; released with
 * job_state_release. */
struct job_state {
	struct job_row job;
	struct run_row run;
	bool has_run;
	struct run_row new_run, missed_run; /* filled when an action says so */
	int64_t next_sequence;		    /* for new runs: 1 + largest of the job */
};
void job_state_release(struct job_state *s);
/* COMPLETED, FAILED or DELETED: no run of it ever comes. */
bool job_is_over(const struct job_row *job);

/* 0, or -1 with the refusal that the API gives (state unchanged): ERR_CONFLICT for
 * OperationNotPermitted, ERR_FULL for the on-demand limit, ERR_INVALID for a bad value. */
int job_step(struct job_state *s, const struct job_rules *rules, const struct job_event *event,
	     int64_t now, struct job_actions *actions, struct err *e);

/* A new job from its checked request: PENDING, or ACTIVE when the seed is due (its first run comes
 * with the next JOB_TICK). Fills id, created, next_run, due, and the defaults of what is 0 or NULL;
 * pause_on_failure -1 asks for no pause. */
void job_create(struct job_row *job, int64_t now);

/* When the loop must look at the job again: min of next slot and horizons; 0: never. */
int64_t job_due(const struct job_row *job, const struct job_rules *rules);

/* Catalog (spec/sms.md §3.1), as a setting. */
enum catalog_state {
	CATALOG_NOT_IMPORTED,
	CATALOG_IMPORTING,
	CATALOG_AVAILABLE,
	CATALOG_DELETED,
	CATALOG_EXPIRED
};
enum catalog_event { CATALOG_IMPORT, CATALOG_ARRIVED, CATALOG_FAILED, CATALOG_DELETE };
struct catalog {
	enum catalog_state state, before; /* before: to return to when an import fails */
	int64_t modified;
};
const char *catalog_word(enum catalog_state s);
enum catalog_state catalog_from_word(const char *word);
int catalog_step(struct catalog *c, enum catalog_event event, int64_t now, struct err *e);

#endif
