// SPDX-License-Identifier: Apache-2.0
/*
 * Every bound of the system in one place. Nothing that came from outside sizes an allocation, a
 * loop or a wait before one of these did. Values are design decisions; times in milliseconds.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define KIB			    (1024ull)
#define MIB			    (1024 * KIB)
#define GIB			    (1024 * MIB)
#define TIB			    (1024 * GIB)

/* Disks and servers */
#define LIMIT_DISK_MIN_BYTES	    512ull
#define LIMIT_DISK_MAX_BYTES	    (64 * TIB)
#define LIMIT_DISKS_PER_SERVER	    64
#define LIMIT_NICS_PER_SERVER	    64
#define LIMIT_SERVERS_PER_CONNECTOR 20000
#define LIMIT_DISKS_IN_FLIGHT	    16	 /* per connector */
#define LIMIT_NAME_BYTES	    1024 /* a server's name or path, as kept; longer is cut */
#define LIMIT_SENTENCE_BYTES	    512
#define LIMIT_DESCRIPTION_BYTES	    1024

/* The API door */
#define LIMIT_REQUEST_BODY_BYTES    (1 * MIB)
#define LIMIT_REQUEST_HEADER_BYTES  (16 * KIB)
#define LIMIT_JSON_DEPTH	    32
#define LIMIT_PAGE		    500
#define LIMIT_CLOCK_SKEW_MS	    (15 * 60 * 1000)

/* The data door */
#define LIMIT_FRAME_BYTES	    (1 * MIB)
#define LIMIT_CONNECTIONS	    256
#define LIMIT_HELD		    (2 * LIMIT_SERVERS_PER_CONNECTOR) /* runs, or points, of one */
#define HEARTBEAT_MS		    (10 * 1000)
#define UNHEALTHY_AFTER_MS	    (60 * 1000)
#define LEASE_MS		    (120 * 1000)
#define RETRY_MIN_MS		    1000
#define RETRY_MAX_MS		    (5 * 60 * 1000)
#define RETRY_GIVE_UP_MS	    (72ll * 3600 * 1000)
#define CERTIFICATE_DAYS	    90
#define ENROL_TOKEN_MS		    (3600ll * 1000)

/* Copying and the store */
#define COMMIT_GROUP_BYTES	    (256 * MIB)
#define COMMIT_GROUP_MS		    5000
#define PACK_TARGET_BYTES	    (32 * MIB)
#define PACK_MAX_BYTES		    (64 * MIB)
#define LIMIT_MEMORY_PER_DISK_BYTES (128 * MIB)
#define STORE_NO_NEW_RUN_PERCENT    95
#define STORE_NO_NEW_RUN_FREE_BYTES (5 * GIB)
#define READER_LEASE_MS		    (3600ll * 1000) /* of who reads a version; renewed */
#define STORE_RESERVE_BYTES	    (1 * GIB)
#define SCRATCH_NEEDED_PERCENT	    10 /* of the disk, free before a snapshot is taken */
#define SCRATCH_ABORT_PERCENT	    80 /* of that space used: our job goes, the guest stays */
#define SNAPSHOT_ALARM_MS	    (24ll * 3600 * 1000)
#define SNAPSHOT_ABANDON_MS	    (72ll * 3600 * 1000)

/* Jobs; ranges from the API's console (spec/sms.md §4) */
#define FREQUENCY_MIN_HOURS	    1
#define FREQUENCY_MAX_HOURS	    24
#define SEED_AHEAD_MS		    (30ll * 24 * 3600 * 1000)
#define KEEP_IMAGES_MAX		    270
#define ON_DEMAND_PER_DAY	    2
#define ON_DEMAND_WINDOW_MS	    (24ll * 3600 * 1000)
#define FAILURES_BEFORE_PAUSE	    3

#endif
