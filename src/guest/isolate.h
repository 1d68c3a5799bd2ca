// SPDX-License-Identifier: Apache-2.0
#ifndef GUEST_ISOLATE_H
#define GUEST_ISOLATE_H

#include "base/err.h"

/* ERR_DENIED unless there is no network interface but the loopback: not one packet of a guest may
 * leave, whatever QEMU is told. */
int require_isolation(struct err *e);

#endif
