// SPDX-License-Identifier: Apache-2.0
#include "copy/intake_wire.h"

#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "io/process.h"
#include "wire/wire.h"

#define WORD_MAX 100

static const struct field job_fields[] = {
    FIELD_INT_OF(intake_job, request, INT64_MAX),
    FIELD_TEXT_OF(intake_job, stream_id, WORD_MAX),
    FIELD_TEXT_OF(intake_job, group, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(intake_job, run_id, WORD_MAX),
    FIELD_INT_OF(intake_job, number, LIMIT_DISKS_PER_SERVER - 1),
    FIELD_TEXT_OF(intake_job, point, LIMIT_NAME_BYTES),
    FIELD_INT_OF(intake_job, size_bytes, LIMIT_DISK_MAX_BYTES),
    FIELD_BYTES_OF(intake_job, base_root, NAME_BYTES),
};
const struct shape intake_job_shape = SHAPE(intake_job, job_fields);

static const struct field request_fields[] = {
    FIELD_INT_OF(intake_request, request, INT64_MAX),
    FIELD_TEXT_OF(intake_request, text, REF_NAME_MAX),
    FIELD_BYTES_OF(intake_request, data, REF_BYTES_MAX),
};
const struct shape intake_request_shape = SHAPE(intake_request, request_fields);

static const struct field answer_fields[] = {
    FIELD_INT_OF(intake_answer, request, INT64_MAX),
    FIELD_TEXT_OF(intake_answer, kind, WORD_MAX),
    FIELD_TEXT_OF(intake_answer, text, LIMIT_SENTENCE_BYTES),
    FIELD_INT_OF(intake_answer, stored_bytes, INT64_MAX),
    FIELD_INT_OF(intake_answer, free_bytes, INT64_MAX),
    FIELD_INT_OF(intake_answer, total_bytes, INT64_MAX),
};
const struct shape intake_answer_shape = SHAPE(intake_answer, answer_fields);

static const struct field note_fields[] = {
    FIELD_TEXT_OF(intake_note, stream_id, WORD_MAX),
    FIELD_TEXT_OF(intake_note, run_id, WORD_MAX),
    FIELD_INT_OF(intake_note, number, LIMIT_DISKS_PER_SERVER - 1),
    FIELD_INT_OF(intake_note, bytes_total, INT64_MAX),
    FIELD_INT_OF(intake_note, bytes_done, INT64_MAX),
    FIELD_INT_OF(intake_note, bytes_read, INT64_MAX),
    FIELD_INT_OF(intake_note, bytes_new, INT64_MAX),
    FIELD_INT_OF(intake_note, bytes_sent, INT64_MAX),
    FIELD_INT_OF(intake_note, chunks, INT64_MAX),
    FIELD_INT_OF(intake_note, chunks_new, INT64_MAX),
    FIELD_BYTES_OF(intake_note, root, NAME_BYTES),
    FIELD_INT_OF(intake_note, bytes_stored, INT64_MAX),
    FIELD_TEXT_OF(intake_note, kind, WORD_MAX),
    FIELD_TEXT_OF(intake_note, text, LIMIT_SENTENCE_BYTES),
};
const struct shape intake_note_shape = SHAPE(intake_note, note_fields);

static const struct field collected_fields[] = {
    FIELD_INT_OF(intake_collected, names, INT64_MAX),
    FIELD_INT_OF(intake_collected, live_names, INT64_MAX),
    FIELD_INT_OF(intake_collected, record_bytes, INT64_MAX),
    FIELD_INT_OF(intake_collected, live_bytes, INT64_MAX),
    FIELD_INT_OF(intake_collected, freed_bytes, INT64_MAX),
    FIELD_INT_OF(intake_collected, packs, INT64_MAX),
    FIELD_INT_OF(intake_collected, packs_removed, INT64_MAX),
    FIELD_INT_OF(intake_collected, packs_rewritten, INT64_MAX),
    FIELD_INT_OF(intake_collected, packs_spoiled, INT64_MAX),
    FIELD_TEXT_OF(intake_collected, kind, WORD_MAX),
    FIELD_TEXT_OF(intake_collected, text, LIMIT_SENTENCE_BYTES),
};
const struct shape intake_collected_shape = SHAPE(intake_collected, collected_fields);

int intake_send(int socket, uint16_t type, const struct shape *shape, const void *object, int fd,
		struct err *e)
{
	struct buf frame = {0};
	int result;

	if (wire_check(shape, object, e))
		return -1;
	wire_frame(type, shape, object, &frame);
	result = fd_send(socket, frame.data, frame.len, &fd, fd >= 0 ? 1 : 0, e);
	buf_release(&frame);
	return result;
}

int intake_receive(int socket, uint16_t *type, struct buf *body, int *fd, struct err *e)
{
	int fds[4], got;
	unsigned fd_count = 0;
	uint32_t body_len;

	*fd = -1;
	buf_clear(body);
	buf_reserve(body, INTAKE_MESSAGE_MAX);
	got = fd_receive(socket, body->data, INTAKE_MESSAGE_MAX, fds, &fd_count, e);
	if (got <= 0)
		return got;
	for (unsigned i = 1; i < fd_count; i++)
		close(fds[i]);
	if (fd_count > 0)
		*fd = fds[0];
	if (got < FRAME_HEADER_BYTES || wire_frame_header(body->data, &body_len, type, e) ||
	    body_len != (uint32_t)got - FRAME_HEADER_BYTES) {
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		return err_set(e, ERR_INVALID, "a message of the intake is malformed");
	}
	memmove(body->data, body->data + FRAME_HEADER_BYTES, body_len);
	body->len = body_len;
	return 1;
}
