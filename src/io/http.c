// SPDX-License-Identifier: Apache-2.0
#include "io/http.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "io/file.h"

#define HEADERS_MAX    24
#define SLOW_BYTES     1024
#define ERROR_BODY_MAX (64 * KIB) /* of an answer that is no 2xx */
#define UPLOAD_BUFFER  (256l << 10)

struct http {
	char *origin, *host, *ca_file;
	int64_t connect_ms, stalled_ms;
	pthread_mutex_t mutex;
	pthread_cond_t freed;
	CURL **idle; /* easy handles with their connections */
	unsigned idle_count, open_count, max;
};

/* One call in flight. */
struct exchange {
	struct http_answer *answer;
	uint64_t max;
	int to_fd;
	const uint8_t *body;
	size_t body_len, sent;
	struct err failed; /* why we ended it */
	char reason[CURL_ERROR_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void global_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* "scheme://host[:port]" and nothing more. */
static int origin_check(const char *origin, char **host, struct err *e)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *name = NULL, *port = NULL, *path = NULL, *user = NULL, *query = NULL;
	int result = -1;
	curl_url_set(u, CURLUPART_URL, origin, 0);
	curl_url_get(u, CURLUPART_USER, &user, 0);
	curl_url_get(u, CURLUPART_QUERY, &query, 0);
	if (user || strchr(origin, '@')) {
		err_set(e, ERR_INVALID, "an address must not hold a user or a password");
	} else if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
		   curl_url_get(u, CURLUPART_HOST, &name, 0) ||
		   (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
		err_set(e, ERR_INVALID,
			"\"%.200s\" is no address of a server; give https://HOST:PORT", origin);
	} else if (query || strchr(origin, '#') ||
		   (curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK &&
		    strcmp(path, "/") != 0)) {
		err_set(e, ERR_INVALID, "\"%.200s\" must end after the host or port", origin);
	} else {
		if (curl_url_get(u, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT) == CURLUE_OK)
			*host = xasprintf("%s:%s", name, port);
		else
			*host = xstrdup(name);
		result = 0;
	}
	curl_free(scheme);
	curl_free(name);
	curl_free(port);
	curl_free(path);
	curl_free(user);
	curl_free(query);
	curl_url_cleanup(u);
	return result;
}

int http_open(const struct http_plan *plan, struct http **out, struct err *e)
{
	char *host = NULL;
	pthread_once(&once, global_init);
	if (origin_check(plan->origin, &host, e) < 0)
		return -1;
	struct http *h = xcalloc(1, sizeof *h);
	h->origin = xstrdup(plan->origin);
	size_t n = strlen(h->origin);
	if (h->origin[n - 1] == '/')
		h->origin[n - 1] = '\0';
	h->host = host;
	h->ca_file = xstrdup(plan->ca_file);
	h->connect_ms = plan->connect_ms;
	h->stalled_ms = plan->stalled_ms;
	h->max = plan->connections;
	h->idle = xcalloc(h->max, sizeof(CURL *));
	pthread_mutex_init(&h->mutex, NULL);
	pthread_cond_init(&h->freed, NULL);
	*out = h;
	return 0;
}

void http_close(struct http *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < h->idle_count; i++)
		curl_easy_cleanup(h->idle[i]);
	pthread_mutex_destroy(&h->mutex);
	pthread_cond_destroy(&h->freed);
	free(h->idle);
	free(h->origin);
	free(h->host);
	free(h->ca_file);
	free(h);
}

const char *http_host(const struct http *h)
{
	return h->host;
}

static CURL *handle_take(struct http *h)
{
	CURL *c = NULL;
	pthread_mutex_lock(&h->mutex);
	while (!h->idle_count && h->open_count == h->max)
		pthread_cond_wait(&h->freed, &h->mutex);
	if (h->idle_count)
		c = h->idle[--h->idle_count];
	else
		h->open_count++;
	pthread_mutex_unlock(&h->mutex);
	if (!c)
		c = curl_easy_init();
	if (!c)
		abort(); /* only without memory */
	curl_easy_reset(c);
	return c;
}

static void handle_give(struct http *h, CURL *c)
{
	pthread_mutex_lock(&h->mutex);
	h->idle[h->idle_count++] = c;
	pthread_cond_signal(&h->freed);
	pthread_mutex_unlock(&h->mutex);
}

/* What libcurl calls */

static size_t take_header(char *data, size_t size, size_t n, void *context)
{
	struct exchange *x = context;
	n *= size;
	/* A new status line (after a 100 Continue) begins anew. */
	if (n >= 5 && memcmp(data, "HTTP/", 5) == 0)
		buf_clear(&x->answer->headers);
	if (x->answer->headers.len + n > LIMIT_REQUEST_HEADER_BYTES) {
		err_set(&x->failed, ERR_INVALID, "it answers with more than %llu bytes of headers",
			LIMIT_REQUEST_HEADER_BYTES);
		return 0;
	}
	buf_add(&x->answer->headers, data, n);
	return n;
}

static bool status_is_good(const struct buf *headers)
{
	const char *space = strchr(buf_str(headers), ' ');
	return space && space[1] == '2';
}

static size_t take_body(char *data, size_t size, size_t n, void *context)
{
	struct exchange *x = context;
	struct http_answer *a = x->answer;
	bool good = status_is_good(&a->headers);
	uint64_t max = good ? x->max : ERROR_BODY_MAX;
	n *= size;
	if (n > max - a->body_len) {
		err_set(&x->failed, ERR_INVALID, "it answers with more than %llu bytes",
			(unsigned long long)max);
		return 0;
	}
	if (good && x->to_fd >= 0) {
		if (fd_write_all(x->to_fd, data, n, &x->failed) < 0)
			return 0;
	} else {
		buf_add(&a->body, data, n);
	}
	a->body_len += n;
	return n;
}

static size_t give_body(char *to, size_t size, size_t n, void *context)
{
	struct exchange *x = context;
	n *= size;
	if (n > x->body_len - x->sent)
		n = x->body_len - x->sent;
	memcpy(to, x->body + x->sent, n);
	x->sent += n;
	return n;
}

static int rewind_body(void *context, curl_off_t offset, int origin)
{
	struct exchange *x = context;
	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > x->body_len)
		return CURL_SEEKFUNC_CANTSEEK;
	x->sent = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

/* The request */

/* The headers of the request, ours and those signing adds. */
struct header_list {
	struct http_header items[HEADERS_MAX];
	unsigned count;
	char date[17], hash[65];
	struct buf authorization;
};

static void header_add(struct header_list *l, const char *name, const char *value)
{
	if (l->count == HEADERS_MAX)
		abort();
	l->items[l->count++] = (struct http_header){name, value};
}

static void payload_hash(const struct http_request *r, char out[65])
{
	uint8_t digest[32];
	if (EVP_Digest(r->body ? r->body : "", r->body_len, digest, NULL, EVP_sha256(), NULL) != 1)
		abort();
	hex_encode(digest, sizeof digest, out);
}

static int headers_make(const struct http *h, const struct http_request *r,
			const struct http_signer *s, struct header_list *l, struct err *e)
{
	header_add(l, "Host", h->host);
	for (unsigned i = 0; i < r->header_count; i++)
		header_add(l, r->headers[i].name, r->headers[i].value);
	if (!s)
		return 0;
	amz_date_text(clock_now_ms(), l->date);
	payload_hash(r, l->hash);
	header_add(l, "x-amz-date", l->date);
	header_add(l, "x-amz-content-sha256", l->hash);
	if (s->session_token)
		header_add(l, "x-amz-security-token", s->session_token);
	struct http_request signed_request = *r;
	signed_request.headers = l->items;
	signed_request.header_count = l->count;
	signed_request.payload_sha256 = l->hash;
	if (sigv4_sign(&signed_request, l->date, s->region, s->service, s->access_key_id, s->secret,
		       &l->authorization, e) < 0)
		return -1;
	header_add(l, "Authorization", buf_str(&l->authorization));
	return 0;
}

static struct curl_slist *headers_list(const struct header_list *l)
{
	struct curl_slist *list = NULL;
	struct buf line = {0};
	for (unsigned i = 0; i < l->count; i++) {
		buf_clear(&line);
		buf_printf(&line, "%s: %s", l->items[i].name, l->items[i].value);
		list = curl_slist_append(list, buf_str(&line));
	}
	/* No waiting for a 100, and no type that was not signed. */
	list = curl_slist_append(list, "Expect:");
	buf_release(&line);
	return list;
}

static void method_set(CURL *c, const struct http_request *r, struct exchange *x)
{
	if (strcmp(r->method, "PUT") == 0) {
		curl_easy_setopt(c, CURLOPT_UPLOAD, 1l);
		curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->body_len);
		curl_easy_setopt(c, CURLOPT_READFUNCTION, give_body);
		curl_easy_setopt(c, CURLOPT_READDATA, x);
		curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, rewind_body);
		curl_easy_setopt(c, CURLOPT_SEEKDATA, x);
		curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER);
	} else if (strcmp(r->method, "HEAD") == 0) {
		curl_easy_setopt(c, CURLOPT_NOBODY, 1l);
	} else if (strcmp(r->method, "POST") == 0) {
		curl_easy_setopt(c, CURLOPT_POST, 1l);
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body ? r->body : "");
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
	} else if (strcmp(r->method, "GET") != 0) {
		curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method);
	}
}

static void options_set(const struct http *h, CURL *c, int64_t limit_ms, struct exchange *x)
{
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1l);
	curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1l);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	if (h->ca_file) {
		curl_easy_setopt(c, CURLOPT_CAINFO, h->ca_file);
		curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)h->connect_ms);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)(h->stalled_ms / 1000));
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)limit_ms);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, x->reason);
}

static int perform(const struct http *h, CURL *c, struct exchange *x, struct err *e)
{
	CURLcode code = curl_easy_perform(c);
	const char *reason = x->reason[0] ? x->reason : curl_easy_strerror(code);
	long status = 0;
	if (x->failed.kind != ERR_NONE)
		return err_set(e, x->failed.kind, "%s: %s", h->origin, x->failed.text);
	if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
		return err_set(e, ERR_DENIED,
			       "the certificate of %s is not trusted (%s); name its "
			       "authority with ca=FILE",
			       h->origin, reason);
	if (code != CURLE_OK)
		return err_set(e, ERR_UNAVAILABLE, "no answer from %s: %s", h->origin, reason);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	x->answer->status = (int)status;
	return 0;
}

int http_send(struct http *h, const struct http_request *r, const struct http_signer *signer,
	      int64_t limit_ms, uint64_t max, int to_fd, struct http_answer *a, struct err *e)
{
	struct header_list l = {0};
	struct exchange x = {
	    .answer = a, .max = max, .to_fd = to_fd, .body = r->body, .body_len = r->body_len};
	*a = (struct http_answer){0};
	if (headers_make(h, r, signer, &l, e) < 0) {
		buf_release(&l.authorization);
		return -1;
	}
	bool has_query = r->query && *r->query;
	char *url = xasprintf("%s%s%s%s", h->origin, r->path, has_query ? "?" : "",
			      has_query ? r->query : "");
	struct curl_slist *headers = headers_list(&l);
	CURL *c = handle_take(h);
	options_set(h, c, limit_ms, &x);
	method_set(c, r, &x);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	int result = perform(h, c, &x, e);
	handle_give(h, c);
	curl_slist_free_all(headers);
	free(url);
	buf_release(&l.authorization);
	return result;
}

void http_answer_release(struct http_answer *a)
{
	buf_release(&a->headers);
	buf_release(&a->body);
}

bool http_answer_header(const struct http_answer *a, const char *name, char *out, size_t room)
{
	size_t n = strlen(name);
	for (const char *line = buf_str(&a->headers); *line;) {
		size_t len = strcspn(line, "\r\n");
		if (len > n && line[n] == ':' && strncasecmp(line, name, n) == 0) {
			const char *value = line + n + 1, *end = line + len;
			while (value < end && (*value == ' ' || *value == '\t'))
				value++;
			while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
				end--;
			snprintf(out, room, "%.*s", (int)(end - value), value);
			return true;
		}
		line += len;
		line += strspn(line, "\r\n");
	}
	return false;
}

bool http_date_parse(const char *text, int64_t *ms)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	char month[4];
	struct tm tm = {0};
	int end = 0;
	if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &tm.tm_mday, month,
		   &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end) != 6 ||
	    !end || text[end])
		return false;
	const char *at = strlen(month) == 3 ? strstr(months, month) : NULL;
	if (!at || (at - months) % 3 || tm.tm_year < 1970)
		return false;
	tm.tm_mon = (int)(at - months) / 3;
	tm.tm_year -= 1900;
	*ms = (int64_t)timegm(&tm) * 1000;
	return true;
}
