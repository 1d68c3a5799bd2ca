// SPDX-License-Identifier: Apache-2.0
/*
 * The judge's rules:
 *  1. Proof of life is waited on for settle_ms, for signs that something failed; then it is
 *     BOOTED, or DEGRADED with what failed.
 *  2. Evidence of a stop counts when it stood for grace_ms without proof of life (a panic for a
 *     third of that): then it is NOT_BOOTED, and the evidence is in the sentence.
 *  3. Proof of life takes back all evidence of a stop but a panic; a kernel that speaks takes back
 *     a boot loader's; a screen that shows it no more takes back what was seen on the screen only.
 *  4. A reset takes back proof of life and what a boot loader said. The third reset, a power-off
 *     before proof of life, and the end of QEMU decide at once.
 *  5. A guest that stands still for still_ms (screen, serial console and disks alike) and has read
 *     too little of its disks to have a system in memory is NOT_BOOTED: less than any kernel, or
 *     less than most and what is on the screen is a firmware's or a boot loader's.
 *  6. At the deadline without proof and without evidence it is UNPROVEN; but a guest that still
 *     goes on (in the last still_ms its serial console spoke, or it read its disks) on a slow
 *     machine is given up to JUDGE_PATIENCE_TIMES its patience.
 * A decision is never changed.
 */
#include "guest/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "guest/signs.h"

#define LINE_MAX_BYTES	 4096
#define RESETS_UNTIL_END 3
#define CAUSE_LINES	 12	    /* looked at before a stop, for its reason */
#define NO_KERNEL_BYTES	 (64 * KIB) /* a boot sector and a loader's second part, no more */
#define LOADER_BYTES	 (4 * MIB)  /* a loader with its modules and fonts */

static const char *const words[] = {
    [VERDICT_NONE] = "none",	     [VERDICT_BOOTED] = "booted",
    [VERDICT_DEGRADED] = "degraded", [VERDICT_NOT_BOOTED] = "not booted",
    [VERDICT_UNPROVEN] = "unproven", [VERDICT_NOT_TESTED] = "not tested",
};

const char *verdict_word(enum verdict v)
{
	return words[v];
}

enum verdict verdict_from_word(const char *word)
{
	for (size_t i = 1; i < COUNT_OF(words); i++)
		if (text_equal(word, words[i]))
			return (enum verdict)i;
	return VERDICT_NONE;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
	return value < low ? low : value > high ? high : value;
}

void judge_init(struct judge *j, int64_t now, int64_t patience_ms)
{
	*j = (struct judge){
	    .started = now,
	    .deadline = now + patience_ms,
	    .settle_ms = clamp(patience_ms / 15, 3000, 30000),
	    .grace_ms = clamp(patience_ms / 30, 3000, 15000),
	    .still_ms = clamp(patience_ms / 7, 30000, 60000),
	};
}

void judge_release(struct judge *j)
{
	buf_release(&j->line);
	buf_release(&j->tail);
	buf_release(&j->screen);
}

/* A copy that fits and ends at a whole character, without blanks around it. */
static void clause(char *out, size_t size, const char *text)
{
	size_t n;

	text += strspn(text, " \t\n");
	snprintf(out, size, "%s", text);
	n = utf8_valid(out, strlen(out));
	while (n && strchr(" \t\n", out[n - 1]))
		n--;
	out[n] = 0;
	for (char *p = out; *p; p++)
		if (*p == '\n' || *p == '\t')
			*p = ' ';
}

/* --- evidence --- */

static void forget_stop(struct judge *j)
{
	j->stop_at = 0;
	j->stop_weight = STOP_NONE;
	j->stop_on_screen = false;
	j->stopped_by[0] = 0;
	j->stop_quote[0] = 0;
}

static void prove(struct judge *j, const char *what, const char *said, int64_t now)
{
	char quote[80];

	if (j->alive_at)
		return;
	j->alive_at = now ? now : 1;
	clause(quote, sizeof quote, said);
	if (*quote)
		snprintf(j->alive_by, sizeof j->alive_by, "%s (\"%s\")", what, quote);
	else
		snprintf(j->alive_by, sizeof j->alive_by, "%s", what);
	if (j->stop_weight < STOP_PANIC)
		forget_stop(j);
}

/* The last line among the latest ones that tells why it will stop, in `out`; "" when none does. */
static void find_cause(const struct judge *j, char *out, size_t size)
{
	size_t end = j->tail.len;

	out[0] = 0;
	for (unsigned i = 0; i < CAUSE_LINES && end > 0 && !*out; i++) {
		size_t start = end - 1;
		char line[200];

		while (start > 0 && j->tail.data[start - 1] != '\n')
			start--;
		snprintf(line, sizeof line, "%.*s",
			 (int)clamp((int64_t)(end - start), 0, sizeof line - 1),
			 (const char *)j->tail.data + start);
		if (sign_of_cause(line))
			clause(out, size, line);
		end = start;
	}
}

static void stop(struct judge *j, enum stop_weight weight, const char *what, const char *said,
		 bool screen, int64_t now)
{
	char quote[sizeof j->stop_quote], cause[sizeof j->stop_quote];
	bool more;

	if ((j->alive_at && weight < STOP_PANIC) || (int)weight < j->stop_weight)
		return;
	find_cause(j, cause, sizeof cause);
	clause(quote, sizeof quote, screen || !*cause ? said : cause);
	if ((int)weight == j->stop_weight) {
		/* The first of its weight is the one that matters, the rest follows from it; but
		 * of its line more may come. */
		more = *j->stop_quote && strlen(quote) > strlen(j->stop_quote) &&
		       text_starts(quote, j->stop_quote);
		j->stop_on_screen = j->stop_on_screen && screen;
		if (!more)
			return;
	} else {
		j->stop_at = now ? now : 1;
		j->stop_weight = weight;
		j->stop_on_screen = screen;
	}
	snprintf(j->stop_quote, sizeof j->stop_quote, "%s", quote);
	snprintf(j->stopped_by, sizeof j->stopped_by, "%s%s%s%s", what, *quote ? ": \"" : "", quote,
		 *quote ? "\"" : "");
}

/* systemd cuts long names in the middle to fit the console: "syst…ck on /dev/vda" is one that
 * begins and ends so. */
static bool same_unit(const char *whole, size_t n, const char *name, size_t name_length)
{
	const char *cut = memmem(name, name_length, "\xe2\x80\xa6", 3);
	size_t head = cut ? (size_t)(cut - name) : 0, tail = cut ? name_length - head - 3 : 0;

	if (!cut)
		return n == name_length && memcmp(whole, name, n) == 0;
	return n >= head + tail && memcmp(whole, name, head) == 0 &&
	       memcmp(whole + n - tail, cut + 3, tail) == 0;
}

static void fail(struct judge *j, const char *name)
{
	size_t used = strlen(j->failed), n = strlen(name);

	for (const char *at = j->failed, *end; *at; at = *end ? end + 2 : end) {
		end = strstr(at, ", ");
		end = end ? end : at + strlen(at);
		if (same_unit(at, (size_t)(end - at), name, n) ||
		    same_unit(name, n, at, (size_t)(end - at)))
			return;
	}
	j->failed_count++;
	if (used + n + 3 < sizeof j->failed)
		snprintf(j->failed + used, sizeof j->failed - used, "%s%s", used ? ", " : "", name);
}

/* --- the serial console --- */

/* A clean line; `whole` when its end was received. Hearing a line again changes nothing. */
static void hear_line(struct judge *j, const char *line, bool whole, int64_t now)
{
	const char *what;
	char unit[120];
	enum stop_weight weight;

	if (!*line)
		return;
	if (sign_of_progress(line) && j->stop_weight == STOP_LOADER)
		forget_stop(j);
	weight = sign_of_stop(line, false, &what);
	if (weight != STOP_NONE)
		stop(j, weight, what, line, false, now);
	else if (sign_of_life(line, &what))
		prove(j, what, line, now);
	if (whole && sign_of_failed_unit(line, unit, sizeof unit))
		fail(j, unit);
}

static void each_line(struct judge *j, const struct buf *clean, bool whole, int64_t now)
{
	char *line = (char *)clean->data, *end;

	if (!clean->len)
		return;
	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = 0;
		hear_line(j, line, whole, now);
		*end = '\n';
	}
	hear_line(j, line, whole, now);
}

static void trim_tail(struct buf *tail)
{
	if (tail->len <= 2 * JUDGE_TAIL_BYTES)
		return;
	memmove(tail->data, tail->data + tail->len - JUDGE_TAIL_BYTES, JUDGE_TAIL_BYTES);
	tail->len = JUDGE_TAIL_BYTES;
	tail->data[tail->len] = 0;
}

static void end_line(struct judge *j, int64_t now)
{
	struct buf clean = {0};

	text_clean((const char *)j->line.data, j->line.len, LINE_MAX_BYTES, &clean);
	each_line(j, &clean, true, now);
	buf_add(&j->tail, clean.data, clean.len);
	buf_add_byte(&j->tail, '\n');
	trim_tail(&j->tail);
	buf_clear(&j->line);
	buf_release(&clean);
}

static void hear_serial(struct judge *j, const char *text, size_t n, int64_t now)
{
	struct buf clean = {0};

	while (n > 0) {
		size_t room = LINE_MAX_BYTES - j->line.len;
		size_t piece = n < room ? n : room;
		const char *end = memchr(text, '\n', piece);

		if (end)
			piece = (size_t)(end - text);
		buf_add(&j->line, text, piece);
		text += piece + (end != NULL);
		n -= piece + (end != NULL);
		if (end || j->line.len == LINE_MAX_BYTES)
			end_line(j, now);
	}
	/* A prompt waits without a line end. */
	text_clean((const char *)j->line.data, j->line.len, LINE_MAX_BYTES, &clean);
	each_line(j, &clean, false, now);
	buf_release(&clean);
}

/* --- the screen --- */

static void hear_screen(struct judge *j, const char *text, size_t n, int64_t now)
{
	bool stopped = false;
	char *line, *end;

	buf_clear(&j->screen);
	text_clean(text, n, JUDGE_TAIL_BYTES, &j->screen);
	if (!j->screen.len)
		buf_add_byte(&j->screen, '\n');
	for (line = (char *)j->screen.data; *line; line = end ? end + 1 : line + strlen(line)) {
		const char *what;
		enum stop_weight weight;

		end = strchr(line, '\n');
		if (end)
			*end = 0;
		weight = sign_of_stop(line, true, &what);
		if (weight != STOP_NONE) {
			stopped = true;
			stop(j, weight, what, line, true, now);
		} else if (sign_of_life(line, &what)) {
			prove(j, "a login prompt on the screen", line, now);
		}
		if (end)
			*end = '\n';
	}
	if (!stopped && j->stop_on_screen)
		forget_stop(j);
}

/* --- standing still --- */

/* The last line with anything on it. */
static void last_words(const struct judge *j, char *out, size_t size)
{
	struct buf clean = {0};
	size_t end, start;

	text_clean((const char *)j->line.data, j->line.len, LINE_MAX_BYTES, &clean);
	if (strspn(buf_str(&clean), " \t\n") == clean.len) {
		buf_clear(&clean);
		buf_add(&clean, j->tail.data, j->tail.len);
	}
	for (end = clean.len; end > 0 && strchr(" \t\n", clean.data[end - 1]); end--)
		;
	for (start = end; start > 0 && clean.data[start - 1] != '\n'; start--)
		;
	if (end < clean.len)
		clean.data[end] = 0;
	clause(out, size, end ? (const char *)clean.data + start : "");
	buf_release(&clean);
}

static enum verdict end_with(struct judge *j, const char *what, int64_t now)
{
	if (!j->stop_at)
		j->stop_at = now ? now : 1;
	if (!j->stopped_by[0])
		clause(j->stopped_by, sizeof j->stopped_by, what);
	j->alive_at = 0;
	return j->verdict = VERDICT_NOT_BOOTED;
}

/* The last line of `text` that a firmware or a boot loader wrote, and where that is. */
static bool find_loader(const struct buf *text, bool screen, char *said, size_t size,
			const char **what)
{
	bool found = false;

	for (size_t start = 0, end; start < text->len; start = end + 1) {
		const uint8_t *stop = memchr(text->data + start, '\n', text->len - start);
		char line[200];

		end = stop ? (size_t)(stop - text->data) : text->len;
		snprintf(line, sizeof line, "%.*s", (int)(end - start < 199 ? end - start : 199),
			 (const char *)text->data + start);
		if (sign_of_loader(line, screen, what)) {
			clause(said, size, line);
			found = true;
		}
	}
	return found;
}

static uint64_t number_in(const char *text, size_t n)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n && i < 18 && text[i] >= '0' && text[i] <= '9'; i++)
		value = value * 10 + (uint64_t)(text[i] - '0');
	return value;
}

static void hear_moved(struct judge *j, uint64_t bytes_read, int64_t now)
{
	if (bytes_read > j->bytes_read)
		j->went_on_at = now ? now : 1;
	j->bytes_read = bytes_read;
}

static void hear_still(struct judge *j, uint64_t bytes_read, int64_t now)
{
	const char *what = "it stopped before a system was loaded";
	char said[70] = "", size[24], last[120];
	bool loader;

	if (!j->still_since)
		j->still_since = now ? now : 1;
	if (j->alive_at || j->stop_at || now - j->still_since < j->still_ms)
		return;
	last_words(j, last, sizeof last);
	loader = find_loader(&j->screen, true, said, sizeof said, &what) ||
		 sign_of_loader(last, false, &what);
	if (bytes_read >= (loader ? LOADER_BYTES : NO_KERNEL_BYTES))
		return;
	if (!*said)
		clause(said, sizeof said, last);
	size_text(bytes_read, size);
	j->stop_at = j->still_since;
	snprintf(j->stopped_by, sizeof j->stopped_by,
		 "%s and stands still, with %s of its disks read%s%s%s", what, size,
		 *said ? ": \"" : "", said, *said ? "\"" : "");
	end_with(j, "", now);
}

/* --- decisions --- */

static enum verdict alive_verdict(const struct judge *j)
{
	return j->failed_count ? VERDICT_DEGRADED : VERDICT_BOOTED;
}

static bool goes_on(const struct judge *j, int64_t now)
{
	int64_t patience = j->deadline - j->started;

	return j->went_on_at && now - j->went_on_at < j->still_ms &&
	       now < j->started + JUDGE_PATIENCE_TIMES * patience;
}

enum verdict judge_tick(struct judge *j, int64_t now)
{
	if (j->verdict != VERDICT_NONE)
		return j->verdict;
	if (j->stop_at) {
		int64_t grace = j->stop_weight == STOP_PANIC ? j->grace_ms / 3 : j->grace_ms;

		if (now - j->stop_at >= grace || now >= j->deadline)
			return end_with(j, "", now);
	}
	if (j->alive_at && (now - j->alive_at >= j->settle_ms || now >= j->deadline))
		j->verdict = alive_verdict(j);
	else if (now >= j->deadline && !goes_on(j, now))
		j->verdict = VERDICT_UNPROVEN;
	j->ended = now;
	return j->verdict;
}

static enum verdict hear_reset(struct judge *j, int64_t now)
{
	if (j->line.len)
		end_line(j, now);
	if (++j->resets >= RESETS_UNTIL_END) {
		char what[80];

		snprintf(what, sizeof what, "the guest kept resetting itself (%u times)",
			 j->resets);
		return end_with(j, what, now);
	}
	j->alive_at = 0;
	j->alive_by[0] = 0;
	if (j->stop_weight < STOP_PANIC)
		forget_stop(j);
	return VERDICT_NONE;
}

static enum verdict hear_shutdown(struct judge *j, int64_t now)
{
	if (j->line.len)
		end_line(j, now);
	if (!j->alive_at)
		return end_with(j, "the guest powered itself off before any sign of life", now);
	fail(j, "the guest powered itself off");
	return j->verdict = alive_verdict(j);
}

static enum verdict hear_crash(struct judge *j, const char *text, size_t n, int64_t now)
{
	struct buf clean = {0};
	char said[121], what[160];

	text_clean(text, n, 120, &clean);
	clause(said, sizeof said, buf_str(&clean));
	snprintf(what, sizeof what, "QEMU ended by itself%s%s", *said ? ": " : "", said);
	buf_release(&clean);
	if (j->alive_at) {
		fail(j, what);
		return j->verdict = alive_verdict(j);
	}
	forget_stop(j);
	return end_with(j, what, now);
}

enum verdict judge_hear(struct judge *j, enum witness w, const char *text, size_t n, int64_t now)
{
	struct buf clean = {0};

	if (j->verdict != VERDICT_NONE)
		return j->verdict;
	if (w != WITNESS_STILL && w != WITNESS_SCREEN)
		j->still_since = 0;
	switch (w) {
	case WITNESS_SERIAL:
		j->went_on_at = now ? now : 1;
		hear_serial(j, text, n, now);
		break;
	case WITNESS_SCREEN: hear_screen(j, text, n, now); break;
	case WITNESS_SSH:
		text_clean(text, n, 80, &clean);
		if (text_starts(buf_str(&clean), "SSH-"))
			prove(j, "the SSH server", buf_str(&clean), now);
		break;
	case WITNESS_AGENT:
		text_clean(text, n, 80, &clean);
		prove(j, "the guest agent", buf_str(&clean), now);
		break;
	case WITNESS_RESET: hear_reset(j, now); break;
	case WITNESS_SHUTDOWN: hear_shutdown(j, now); break;
	case WITNESS_PANIC: stop(j, STOP_PANIC, "the guest panicked", "", false, now); break;
	case WITNESS_CRASH: hear_crash(j, text, n, now); break;
	case WITNESS_MOVED: hear_moved(j, number_in(text, n), now); break;
	case WITNESS_STILL: hear_still(j, number_in(text, n), now); break;
	}
	buf_release(&clean);
	return judge_tick(j, now);
}

/* --- the sentence --- */

void judge_sentence(const struct judge *j, char *out, size_t size)
{
	char when[24], last[120];

	switch (j->verdict) {
	case VERDICT_BOOTED:
		duration_text(j->alive_at - j->started, when);
		snprintf(out, size, "Booted: proven by %s after %s.", j->alive_by, when);
		break;
	case VERDICT_DEGRADED:
		duration_text(j->alive_at - j->started, when);
		snprintf(out, size, "Degraded: up, proven by %s after %s, but %u failed: %s.",
			 j->alive_by, when, j->failed_count, j->failed);
		break;
	case VERDICT_NOT_BOOTED:
		duration_text(j->stop_at - j->started, when);
		snprintf(out, size, "Not booted: %s, after %s%s%s.", j->stopped_by, when,
			 j->failed_count ? "; failed: " : "", j->failed);
		break;
	case VERDICT_UNPROVEN:
		duration_text(j->ended - j->started, when);
		last_words(j, last, sizeof last);
		snprintf(out, size,
			 "Unproven: within %s neither a sign of life nor of a stop was seen%s%s%s; "
			 "look at the screen, or give it more time.",
			 when, *last ? "; the serial console ended with \"" : "", last,
			 *last ? "\"" : "");
		break;
	case VERDICT_NOT_TESTED: snprintf(out, size, "Not tested."); break;
	case VERDICT_NONE: snprintf(out, size, "Not decided yet."); break;
	}
}
