// SPDX-License-Identifier: Apache-2.0
/* Records: the plain bytes of a chunk or node, packed for keeping and sending, and back. */
#include <limits.h>
#include <lz4.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "store/store.h"

/* Making a compressor costs more than compressing a small chunk, so each thread keeps its own. */
struct packer {
	ZSTD_CCtx *compress;
	int level; /* that `compress` is set to */
	ZSTD_DCtx *decompress;
	LZ4_stream_t *lz4;
};

static pthread_key_t packer_key;
static pthread_once_t packer_once = PTHREAD_ONCE_INIT;

static void packer_free(void *p)
{
	struct packer *packer = p;
	ZSTD_freeCCtx(packer->compress);
	ZSTD_freeDCtx(packer->decompress);
	LZ4_freeStream(packer->lz4);
	free(packer);
}

static void packer_key_make(void)
{
	if (pthread_key_create(&packer_key, packer_free) != 0)
		abort();
}

static struct packer *packer_get(void)
{
	pthread_once(&packer_once, packer_key_make);
	struct packer *packer = pthread_getspecific(packer_key);
	if (packer)
		return packer;
	packer = xcalloc(1, sizeof *packer);
	packer->compress = ZSTD_createCCtx();
	packer->level = INT_MIN;
	packer->decompress = ZSTD_createDCtx();
	packer->lz4 = LZ4_createStream();
	if (!packer->compress || !packer->decompress || !packer->lz4)
		abort();
	pthread_setspecific(packer_key, packer);
	return packer;
}

/* Of the default: as fast as level 1, whose tables are made for large inputs, and 3 % smaller on
 * chunks of files (bench/limits). */
#define CHUNK_MIN_MATCH 5
#define CHUNK_HASH_LOG	14

static void level_set(struct packer *packer, int level)
{
	ZSTD_CCtx *c = packer->compress;
	if (packer->level == level)
		return;
	ZSTD_CCtx_reset(c, ZSTD_reset_parameters);
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level ? level : 1);
	if (level == 0) {
		ZSTD_CCtx_setParameter(c, ZSTD_c_strategy, ZSTD_fast);
		ZSTD_CCtx_setParameter(c, ZSTD_c_minMatch, CHUNK_MIN_MATCH);
		ZSTD_CCtx_setParameter(c, ZSTD_c_hashLog, CHUNK_HASH_LOG);
	}
	packer->level = level;
}

/* Bytes written to `to`, 0 when they do not fit into `room`. */
static size_t compress(enum codec codec, int level, const uint8_t *from, uint32_t n, uint8_t *to,
		       size_t room)
{
	struct packer *packer = packer_get();
	if (codec == CODEC_ZSTD) {
		level_set(packer, level);
		size_t got = ZSTD_compress2(packer->compress, to, room, from, n);
		return ZSTD_isError(got) ? 0 : got;
	}
	LZ4_resetStream_fast(packer->lz4);
	int got = LZ4_compress_fast_continue(packer->lz4, (const char *)from, (char *)to, (int)n,
					     (int)room, 1);
	if (got > 0)
		return (size_t)got;
	LZ4_initStream(packer->lz4, sizeof *packer->lz4); /* undefined after a failure */
	return 0;
}

void record_pack(struct record *r, enum codec codec, int level, const uint8_t *plain,
		 uint32_t plain_len, struct buf *scratch)
{
	r->codec = CODEC_RAW;
	r->plain_len = r->stored_len = plain_len;
	r->stored = plain;
	size_t room = plain_len - ((uint64_t)plain_len * 3 + 99) / 100;
	if (codec == CODEC_RAW || plain_len > RECORD_MAX_PLAIN || room == 0)
		return;
	buf_clear(scratch);
	buf_reserve(scratch, room);
	size_t got = compress(codec, level, plain, plain_len, scratch->data, room);
	if (got == 0)
		return;
	scratch->len = got;
	r->codec = (uint16_t)codec;
	r->stored_len = (uint32_t)got;
	r->stored = scratch->data;
}

int record_unpack(const struct record *r, struct buf *plain, struct err *e)
{
	if (r->plain_len == 0 || r->plain_len > RECORD_MAX_PLAIN || r->stored_len == 0 ||
	    r->stored_len > r->plain_len)
		return err_set(e, ERR_CORRUPT, "a record of %u bytes stored in %u cannot be",
			       r->plain_len, r->stored_len);
	buf_reserve(plain, r->plain_len);
	uint8_t *to = plain->data + plain->len;
	int64_t got = -1;
	switch (r->codec) {
	case CODEC_RAW:
		got = r->stored_len;
		memcpy(to, r->stored, r->stored_len);
		break;
	case CODEC_ZSTD: {
		size_t n = ZSTD_decompressDCtx(packer_get()->decompress, to, r->plain_len,
					       r->stored, r->stored_len);
		got = ZSTD_isError(n) ? -1 : (int64_t)n;
		break;
	}
	case CODEC_LZ4:
		got = LZ4_decompress_safe((const char *)r->stored, (char *)to, (int)r->stored_len,
					  (int)r->plain_len);
		break;
	default: return err_set(e, ERR_CORRUPT, "a record has the unknown codec %u", r->codec);
	}
	if (got != r->plain_len)
		return err_set(e, ERR_CORRUPT, "a record does not decompress to its %u bytes",
			       r->plain_len);
	plain->len += r->plain_len;
	plain->data[plain->len] = '\0';
	return 0;
}
