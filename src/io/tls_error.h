// SPDX-License-Identifier: Apache-2.0
/* OpenSSL's reasons as our sentences; seen only inside this room. */
#ifndef IO_TLS_ERROR_H
#define IO_TLS_ERROR_H

#include "base/err.h"

/* As err_set, with OpenSSL's newest reason appended and its queue emptied. */
int tls_fail(struct err *e, enum err_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
