// SPDX-License-Identifier: Apache-2.0
/* Messages of the intake over a sequenced-packet socket. Seen only in copy/. */
#ifndef COPY_INTAKE_WIRE_H
#define COPY_INTAKE_WIRE_H

#include "base/mem.h"
#include "copy/intake.h"

#define INTAKE_MESSAGE_MAX (128u << 10)

/* One message, with a descriptor unless -1. */
int intake_send(int socket, uint16_t type, const struct shape *shape, const void *object, int fd,
		struct err *e);
/* 1; 0 when the other side closed. `body` is overwritten; *fd is -1 when none came. */
int intake_receive(int socket, uint16_t *type, struct buf *body, int *fd, struct err *e);

#endif
