// SPDX-License-Identifier: Apache-2.0
/* A connector without a certificate gets one for its token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"
#include "job/door_private.h"
#include "wire/wire.h"

int door_enrol(struct connection *c, const struct buf *body, struct err *e)
{
	struct door *d = c->door;
	struct door_enrol ask = {0};
	struct door_enrolled answer = {0};
	struct enrol_token_row token = {0};
	struct connector_row row = {0};
	struct meta_tx *tx = NULL;
	struct buf ca = {0};
	char hash[65], id[ID_BYTES];
	int64_t now = clock_now_ms();
	int r = wire_decode(&door_enrol_shape, body->data, body->len, &ask, e);
	if (r < 0)
		return -1;
	struct name digest;
	name_of(ask.token ? ask.token : "", ask.token ? strlen(ask.token) : 0, &digest);
	name_hex(&digest, hash);
	id_make(id, "c-", 17);
	char *ca_file = xasprintf("%s/ca.pem", d->tls_dir);
	r = file_read(ca_file, 64 * KIB, &ca, e);
	free(ca_file);
	if (r == 0)
		r = meta_begin(d->service->meta, true, &tx, e);
	if (r < 0)
		goto out;
	struct err none;
	if (meta_get(tx, &meta_enrol_tokens, hash, &token, &none) < 0)
		r = err_set(e, ERR_DENIED,
			    "this registration token is unknown; make one with 'godwit connector "
			    "token'");
	else if (token.used_by)
		r = err_set(e, ERR_DENIED, "this registration token was used already (by %s)",
			    token.used_by);
	else if (token.expires < now)
		r = err_set(e, ERR_DENIED,
			    "this registration token has expired; make a new one "
			    "with 'godwit connector token'");
	else
		r = tls_sign_request(d->tls_dir, ask.request ? ask.request : "", id,
				     CERTIFICATE_DAYS, &answer.certificate, e);
	if (r == 0) {
		text_set(&token.used_by, id);
		text_set(&row.id, id);
		text_set(&row.name, ask.name);
		row.associated = now;
		text_set(&row.reason, "has not connected yet");
		r = meta_put(tx, &meta_enrol_tokens, &token, e);
		if (r == 0)
			r = meta_put(tx, &meta_connectors, &row, e);
	}
	if (meta_end(tx, r == 0, r == 0 ? e : &none) < 0)
		r = -1;
	if (r == 0) {
		text_set(&answer.connector_id, id);
		text_set(&answer.authority, buf_str(&ca));
		r = door_send(c, DOOR_ENROLLED, &answer, e);
		log_info("connector %s (%s) registered", id, ask.name ? ask.name : "no name");
	}
out:
	buf_release(&ca);
	shape_release(&door_enrol_shape, &ask);
	shape_release(&door_enrolled_shape, &answer);
	shape_release(meta_enrol_tokens.shape, &token);
	shape_release(meta_connectors.shape, &row);
	return r;
}
