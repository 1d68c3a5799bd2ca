// SPDX-License-Identifier: Apache-2.0
/*
 * Writes the seed inputs of the targets whose inputs carry checksums and names, with the code that
 * writes them in earnest: seeds CORPUS-FOLDER. Equal each time; the files are committed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "copy/journal.h"
#include "io/file.h"
#include "scratch.h"
#include "store/pack.h"
#include "store/segment.h"
#include "wire/door.h"
#include "wire/wire.h"

#define MUST(call)                                                                                 \
	do {                                                                                       \
		struct err must_err = {0}, *const err = &must_err;                                 \
		if ((call) < 0) {                                                                  \
			fprintf(stderr, "%s: %s\n", #call, err->text);                             \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static const char *corpus;

static void save(const char *name, const void *data, size_t n)
{
	char *path = xasprintf("%s/%s", corpus, name);
	MUST(file_write(path, data, n, 0644, err));
	free(path);
}

/* What a file at `path` became. */
static void save_file(const char *name, const char *path)
{
	struct buf file = {0};
	MUST(file_read(path, 64 * MIB, &file, err));
	save(name, file.data, file.len);
	buf_release(&file);
	unlink(path);
}

/* --- records and packs --- */

static void make_record(struct record *r, enum codec codec, enum record_kind kind, unsigned seed,
			uint32_t n, struct buf *plain, struct buf *scratch)
{
	buf_clear(plain);
	for (uint32_t i = 0; i < n; i++)
		buf_add_byte(plain, (uint8_t)(i / 7 * seed + i % 3));
	*r = (struct record){.kind = (uint16_t)kind};
	record_pack(r, codec, 3, plain->data, n, scratch);
	name_of(plain->data, n, &r->name);
}

static void save_record(const char *name, enum codec codec, enum record_kind kind, uint32_t n)
{
	struct buf plain = {0}, scratch = {0}, out = {0};
	struct record r;
	uint8_t header[RECORD_HEADER_BYTES];
	make_record(&r, codec, kind, 5, n, &plain, &scratch);
	record_header_encode(&r, header);
	buf_add(&out, header, sizeof header);
	buf_add(&out, r.stored, r.stored_len);
	save(name, out.data, out.len);
	buf_release(&plain);
	buf_release(&scratch);
	buf_release(&out);
}

static void save_pack(const char *name, enum record_kind kind, unsigned count)
{
	struct pack_writer w;
	struct name pack;
	char *temp = xasprintf("%s/pack.new", scratch_dir());
	struct buf plain = {0}, scratch = {0};
	MUST(pack_writer_open(&w, temp, kind, err));
	for (unsigned i = 0; i < count; i++) {
		struct record r;
		make_record(&r, (enum codec)(i % 3), kind, i, 100 + 50 * i, &plain, &scratch);
		MUST(pack_writer_append(&w, &r, err));
	}
	MUST(pack_writer_finish(&w, &pack, err));
	save_file(name, temp);
	pack_writer_close(&w);
	free(temp);
	buf_release(&plain);
	buf_release(&scratch);
}

/* --- segments --- */

static void save_segment(const char *name, enum segment_kind kind, uint32_t packs, uint32_t count,
			 size_t replaced_count)
{
	static const uint64_t replaced[] = {3, 4, 5};
	struct name *pack_names = xcalloc(packs + 1, sizeof *pack_names);
	uint8_t *entries = xcalloc(count + 1, SEGMENT_ENTRY_BYTES);
	char *path = xasprintf("%s/segment", scratch_dir());
	for (uint32_t i = 0; i < packs; i++)
		name_of(&i, sizeof i, &pack_names[i]);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *entry = entries + (size_t)i * SEGMENT_ENTRY_BYTES;
		uint32_t number = i + 1000;
		struct name chunk;
		name_of(&number, sizeof number, &chunk);
		memcpy(entry, chunk.bytes, NAME_BYTES);
		if (kind == SEGMENT_INDEX)
			index_entry_encode(&chunk, i % packs, 32 + i * 500, 400, entry);
	}
	segment_sort(entries, count);
	struct store_segment s = {.kind = kind,
				  .packs = pack_names->bytes,
				  .pack_count = packs,
				  .entries = entries,
				  .count = count};
	struct segment_notes notes = {.replaced = replaced, .replaced_count = replaced_count};
	int fd = segment_write(path, &s, 1, &notes, err);
	MUST(fd < 0 ? -1 : close(fd));
	save_file(name, path);
	free(pack_names);
	free(entries);
	free(path);
}

/* --- journals --- */

static void nothing_told(void *context, uint64_t region, const struct name *page)
{
	(void)context;
	(void)region;
	(void)page;
}

static void save_journal(const char *name, uint64_t size, const uint64_t *starts, uint32_t count,
			 unsigned records)
{
	struct name base;
	struct journal j;
	struct layout layout;
	char *path = xasprintf("%s/seed.0", scratch_dir());
	name_of(name, strlen(name), &base);
	MUST(layout_from_starts(&layout, size, starts, count, err));
	MUST(journal_open(scratch_dir(), "seed", 0, "point", size, &base, 0, nothing_told, NULL, &j,
			  err));
	MUST(journal_start(&j, "point", &base, &layout, err));
	for (unsigned i = 0; i < records; i++)
		journal_add(&j, i, &base);
	MUST(journal_sync(&j, err));
	journal_close(&j);
	save_file(name, path);
	free(path);
}

/* --- what a sender says; the disk is the one of fuzz_intake.c --- */

#define DISK_BYTES (65 * MIB + 512)

static void say_layout(struct buf *out, uint64_t size, const uint64_t *starts, uint32_t count)
{
	struct door_layout m = {.size_bytes = (int64_t)size};
	bytes_set(&m.starts, starts, count * sizeof *starts);
	wire_frame(DOOR_LAYOUT, &door_layout_shape, &m, out);
	shape_release(&door_layout_shape, &m);
}

static void say_region(struct buf *out, int64_t region, const struct ops *ops)
{
	struct door_region m = {.region = region};
	struct buf body = {0};
	ops_encode(ops, &body);
	bytes_set(&m.ops, body.data, body.len);
	wire_frame(DOOR_REGION, &door_region_shape, &m, out);
	shape_release(&door_region_shape, &m);
	buf_release(&body);
}

static struct op data_op(uint8_t byte, uint16_t blocks)
{
	struct op op = {.kind = OP_DATA, .count = blocks};
	uint8_t *plain = xmalloc(blocks * BLOCK_BYTES);
	memset(plain, byte, blocks * BLOCK_BYTES);
	name_of(plain, blocks * BLOCK_BYTES, &op.name);
	free(plain);
	return op;
}

static void say_chunk(struct buf *out, int64_t region, int64_t index, enum codec codec,
		      uint8_t byte, uint32_t blocks)
{
	uint32_t n = blocks * BLOCK_BYTES;
	uint8_t *plain = xmalloc(n);
	struct buf scratch = {0};
	struct record r = {0};
	memset(plain, byte, n);
	record_pack(&r, codec, 1, plain, n, &scratch);
	struct door_chunk m = {
	    .region = region, .index = index, .codec = r.codec, .plain_len = (int64_t)n};
	bytes_set(&m.stored, r.stored, r.stored_len);
	wire_frame(DOOR_CHUNK, &door_chunk_shape, &m, out);
	shape_release(&door_chunk_shape, &m);
	buf_release(&scratch);
	free(plain);
}

static void say_finish(struct buf *out)
{
	static const uint8_t frame[FRAME_HEADER_BYTES] = {2, 0, 0, 0, DOOR_FINISH};
	buf_add(out, frame, sizeof frame);
}

static void say_progress(struct buf *out)
{
	struct door_progress m = {.bytes_total = 100, .bytes_done = 50, .chunks = 3};
	wire_frame(DOOR_PROGRESS, &door_progress_shape, &m, out);
}

static void say_outline(struct buf *out, int64_t region)
{
	struct door_outline m = {.region = region};
	wire_frame(DOOR_OUTLINE_WANTED, &door_outline_shape, &m, out);
}

static void say_fault(struct buf *out)
{
	struct door_fault m = {.kind = xstrdup("io"), .text = xstrdup("the disk cannot be read")};
	wire_frame(DOOR_FAULT, &door_fault_shape, &m, out);
	shape_release(&door_fault_shape, &m);
}

static void say_data(struct buf *out, enum codec codec)
{
	struct op first[] = {data_op(0x11, 1),
			     data_op(0x33, 4),
			     data_op(0x33, 4),
			     {.kind = OP_ZERO, .count = REGION_BLOCKS - 9}};
	struct op second[] = {data_op(0x33, 4), {.kind = OP_ZERO, .count = 252}, data_op(0x44, 1)};
	say_region(out, 0, &(struct ops){first, COUNT_OF(first), 0, false});
	say_region(out, 1, &(struct ops){second, COUNT_OF(second), 0, false});
	say_chunk(out, 0, 0, codec, 0x11, 1);
	say_chunk(out, 1, 1, codec, 0x44, 1);
	say_chunk(out, 0, 1, codec, 0x33, 4);
}

static void say_increment(struct buf *out)
{
	struct op ops[] = {{.kind = OP_KEEP, .count = 2},
			   data_op(0x55, 1),
			   {.kind = OP_ZERO, .count = 1},
			   {.kind = OP_KEEP, .count = 1, .skip = 3}};
	say_outline(out, 0);
	say_outline(out, 1);
	say_region(out, 0, &(struct ops){ops, COUNT_OF(ops), 0, false});
	say_chunk(out, 0, 0, CODEC_LZ4, 0x55, 1);
}

static void save_talk(const char *name, uint8_t flags, const struct buf *first,
		      const struct buf *then)
{
	struct buf out = {0};
	size_t n = first ? first->len : 0;
	uint8_t head[3] = {flags, (uint8_t)n, (uint8_t)(n >> 8)};
	buf_add(&out, head, sizeof head);
	if (first)
		buf_add(&out, first->data, first->len);
	buf_add(&out, then->data, then->len);
	save(name, out.data, out.len);
	buf_release(&out);
}

static void save_talks(void)
{
	static const uint64_t starts[] = {63 * 512};
	struct buf full = {0}, more = {0}, other = {0}, whole = {0};
	say_layout(&full, DISK_BYTES, NULL, 0);
	say_data(&full, CODEC_ZSTD);
	say_layout(&other, DISK_BYTES, starts, 1);
	say_finish(&other);
	say_layout(&whole, DISK_BYTES, NULL, 0);
	say_finish(&whole);
	save_talk("intake/broken-off", 0, &full, &whole);
	save_talk("intake/other-layout", 0, &full, &other);
	save_talk("intake/zero", 0, NULL, &whole);
	save_talk("intake/inherits", 1, NULL, &whole);
	save_talk("intake/segments", 1, NULL, &other);
	say_progress(&full);
	say_finish(&full);
	save_talk("intake/full", 0, NULL, &full);
	say_layout(&more, DISK_BYTES, NULL, 0);
	say_increment(&more);
	say_finish(&more);
	save_talk("intake/increment", 1, NULL, &more);
	buf_clear(&more);
	say_layout(&more, DISK_BYTES, NULL, 0);
	say_data(&more, CODEC_RAW);
	say_fault(&more);
	save_talk("intake/fault", 1, NULL, &more);
	buf_clear(&more);
	say_layout(&more, DISK_BYTES - 512, NULL, 0);
	save_talk("intake/size-differs", 0, NULL, &more);
	/* The same name for chunks of two lengths. */
	struct op longer = data_op(0x11, 1);
	longer.count = 257;
	if (longer.count > CHUNK_MAX_BLOCKS)
		longer.count = CHUNK_MAX_BLOCKS;
	struct op twice[] = {longer, {.kind = OP_ZERO, .count = (uint16_t)(257 - longer.count)}};
	buf_clear(&more);
	say_layout(&more, DISK_BYTES, NULL, 0);
	say_region(&more, 1, &(struct ops){twice, COUNT_OF(twice), 0, false});
	say_finish(&more);
	save_talk("intake/name-of-a-shorter-chunk", 1, NULL, &more);
	buf_release(&full);
	buf_release(&more);
	buf_release(&other);
	buf_release(&whole);
}

int main(int argc, char **argv)
{
	static const uint64_t starts[] = {63 * 512, 63 * 512 + 40 * MIB + 512};
	static const char *const folders[] = {"pack", "record", "index", "journal", "intake"};
	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	corpus = argv[1];
	for (size_t i = 0; i < COUNT_OF(folders); i++) {
		char *dir = xasprintf("%s/%s", corpus, folders[i]);
		MUST(file_make_dirs(dir, 0755, err));
		free(dir);
	}
	save_record("record/raw", CODEC_RAW, RECORD_CHUNK, 60);
	save_record("record/zstd", CODEC_ZSTD, RECORD_CHUNK, 3000);
	save_record("record/lz4", CODEC_LZ4, RECORD_NODE, 3000);
	save_pack("pack/chunks", RECORD_CHUNK, 4);
	save_pack("pack/nodes", RECORD_NODE, 2);
	save_pack("pack/empty", RECORD_CHUNK, 0);
	save_segment("index/places", SEGMENT_INDEX, 2, 12, 0);
	save_segment("index/merged", SEGMENT_INDEX, 1, 3, 3);
	save_segment("index/names", SEGMENT_KNOWN, 0, 8, 1);
	save_segment("index/no-entries", SEGMENT_KNOWN, 0, 0, 0);
	save_journal("journal/fresh", 65 * MIB, NULL, 0, 0);
	save_journal("journal/regions", 200 * MIB, NULL, 0, 4);
	save_journal("journal/segments", 130 * MIB + 512, starts, COUNT_OF(starts), 3);
	save_talks();
	return 0;
}
