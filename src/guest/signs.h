// SPDX-License-Identifier: Apache-2.0
/* What lines of a console mean, for the judge. Pure functions of clean text; seen only inside
 * guest/. */
#ifndef GUEST_SIGNS_H
#define GUEST_SIGNS_H

#include <stdbool.h>
#include <stddef.h>

/* How heavily evidence of a stop weighs. A guest prints frightening lines and goes on: what a boot
 * loader says is taken back when a kernel speaks after it, what an init says when the guest proves
 * to live, a panic never. */
enum stop_weight { STOP_NONE, STOP_LOADER, STOP_INIT, STOP_PANIC };

/* Whether a line tells of a stop, or is a prompt nobody answers; `what` says where it stopped.
 * `screen`: the text was read from a picture, letters may be wrong. */
enum stop_weight sign_of_stop(const char *line, bool screen, const char **what);

/* Whether the line proves life: a login prompt, or systemd reached a target that users work in.
 * `what` names the kind of proof. */
bool sign_of_life(const char *line, const char **what);

/* A kernel or an init speaks: the boot loader is behind us. */
bool sign_of_progress(const char *line);

/* The line is a firmware's or a boot loader's; `what` says where it would have stopped after it. */
bool sign_of_loader(const char *line, bool screen, const char **what);

/* The line tells why something later stops ("ALERT! … does not exist", "error: no such device"). */
bool sign_of_cause(const char *line);

/* The unit that a line of systemd says failed, in `name` (cut at its size); false for other lines. */
bool sign_of_failed_unit(const char *line, char *name, size_t size);

/* Whether `text` contains `phrase` but for case and a tenth of its letters. */
bool text_resembles(const char *text, const char *phrase);

#endif
