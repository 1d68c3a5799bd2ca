// SPDX-License-Identifier: Apache-2.0
/*
 * Did it boot? The judge weighs what witnesses say, without anything installed in the guest: the
 * serial console, the text on the screen, an SSH banner from its isolated network, the guest agent,
 * and what QEMU reports. A pure function of what was seen and when; everything a guest says is
 * hostile text, bounded and stripped of control sequences here.
 */
#ifndef GUEST_JUDGE_H
#define GUEST_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

enum verdict {
	VERDICT_NONE, /* not yet */
	VERDICT_BOOTED,
	VERDICT_DEGRADED,   /* up, but something it says failed */
	VERDICT_NOT_BOOTED, /* positive evidence of where it stopped */
	VERDICT_UNPROVEN,   /* deadline without evidence */
	VERDICT_NOT_TESTED,
};

/* "booted", "degraded", "not booted", "unproven", "not tested" */
const char *verdict_word(enum verdict v);
enum verdict verdict_from_word(const char *word); /* VERDICT_NONE when unknown */

enum witness {
	WITNESS_SERIAL,	  /* bytes from the serial console */
	WITNESS_SCREEN,	  /* the whole text now on the screen */
	WITNESS_SSH,	  /* the banner */
	WITNESS_AGENT,	  /* the guest agent answered; text: what it said of the OS, or empty */
	WITNESS_RESET,	  /* the guest reset itself */
	WITNESS_SHUTDOWN, /* the guest powered off */
	WITNESS_PANIC,	  /* QEMU's panic event */
	WITNESS_CRASH,	  /* QEMU ended by itself; text: why */
	WITNESS_MOVED,	  /* since the last look the screen or a disk has moved, */
	WITNESS_STILL, /* neither did; text of both: bytes read of the disks so far, in decimal */
};

#define JUDGE_TAIL_BYTES     8192
#define JUDGE_PATIENCE_TIMES 3 /* a guest that visibly goes on is given so often its patience */

struct judge {
	int64_t started, deadline; /* ms, same clock as `now` */
	int64_t ended;		   /* when it was decided */
	int64_t went_on_at;	   /* when the serial console spoke or a disk was read; 0: never */
	uint64_t bytes_read;	   /* of the disks, so far */
	int64_t settle_ms;	   /* after proof of life, wait so long for signs of failure */
	int64_t grace_ms;	   /* evidence of a stop must stand so long without proof of life */
	int64_t still_ms;    /* standing still for so long before a kernel was read is a stop */
	int64_t still_since; /* since when neither disks, screen nor serial moved; 0: they did */
	int64_t alive_at;    /* 0: no proof yet */
	int64_t stop_at;     /* when evidence of a stop was first seen; 0: none */
	int stop_weight;     /* how much of it: judge.c */
	bool stop_on_screen; /* seen on the screen only: gone when the screen shows it no more */
	enum verdict verdict;
	unsigned resets;
	char alive_by[160]; /* the proof, one clause */
	char stopped_by[200];
	char stop_quote[100]; /* the line that stopped_by quotes, as far as it was received */
	char failed[400];     /* what failed, comma-separated */
	unsigned failed_count;
	struct buf line;   /* serial: the line being received */
	struct buf tail;   /* the last JUDGE_TAIL_BYTES (up to twice that) of clean serial text */
	struct buf screen; /* the last screen text, clean */
};

void judge_init(struct judge *j, int64_t now, int64_t patience_ms);
void judge_release(struct judge *j);
/* Take a statement; may decide. Text need not be terminated or clean. */
enum verdict judge_hear(struct judge *j, enum witness w, const char *text, size_t n, int64_t now);
/* Time passed; may decide. */
enum verdict judge_tick(struct judge *j, int64_t now);
/* One sentence: what was seen, when, where it stopped, what failed. */
void judge_sentence(const struct judge *j, char *out, size_t size);

/* Text without control sequences: ANSI escapes and controls dropped, invalid UTF-8 as '?'. What
 * begins a new line on a terminal (CR LF, CR alone, a cursor movement to a place) gives LF.
 * Appended, at most `max` bytes. */
void text_clean(const char *text, size_t n, size_t max, struct buf *out);

#endif
