// SPDX-License-Identifier: Apache-2.0
/*
 * The cluster bitmap of NTFS: the linux-ntfs documentation and include/ntfs-3g/layout.h of ntfs-3g.
 * Numbers are little-endian. The bitmap carries no checksum, so it is believed only when Windows
 * closed the volume: its log says so, $Volume has no flag, and no system sleeps in hiberfil.sys.
 * Shadow copies keep what was in clusters that are free now; with them nothing is left out.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "block/used_private.h"

#define FIXUP_SECTOR	 512u
#define MAX_RECORD	 65536u
#define INDEX_BYTES	 4096u
#define MAX_RUNS	 65536u
#define CHUNK		 65536u
#define RECORD_MFT	 0u
#define RECORD_LOG	 2u
#define RECORD_VOLUME	 3u
#define RECORD_ROOT	 5u
#define RECORD_BITMAP	 6u
#define ATTR_LIST	 0x20u
#define ATTR_INFORMATION 0x70u
#define ATTR_DATA	 0x80u
#define ATTR_ALLOCATION	 0xa0u
#define ATTR_END	 0xffffffffu
#define LOG_CLEAN	 0x2u
#define MAX_ROOT_BYTES	 (4u << 20)
#define SHADOW_AT	 0x1e00u

static const char broken_record[] = "a record of its master file table is damaged";

struct run {
	uint64_t cluster, length;
	uint64_t first; /* cluster of the file */
};

struct file {
	struct run *items;
	size_t count, cap;
	uint64_t clusters, bytes, initialised;
};

struct ntfs {
	struct volume *v;
	uint32_t cluster_bytes, record_bytes;
	uint64_t clusters, mft_cluster;
	struct file mft, bitmap, log, root;
	uint8_t *record; /* with its first words in place */
};

/* --- the boot sector --- */

/* A count, or, negative, a power of two of bytes. */
static uint32_t record_size(int8_t value, uint32_t cluster_bytes)
{
	if (value > 0)
		return (uint32_t)value * cluster_bytes;
	return value > -31 ? 1u << -value : 0;
}

static bool power_of_2(uint64_t n)
{
	return n && (n & (n - 1)) == 0;
}

static int read_boot(struct ntfs *x, struct err *e)
{
	struct volume *v = x->v;
	const uint8_t *b;
	int result = volume_at(v, 0, 512, &b, e);
	if (result != FINE)
		return result;
	if (memcmp(b + 3, "NTFS    ", 8) != 0)
		return DOUBT;
	v->kind = "ntfs";
	uint32_t sector = le16_get(b + 11);
	uint32_t per = b[13] <= 0x80 ? b[13] : b[13] >= 0xf4 ? 1u << (256 - b[13]) : 0;
	uint64_t sectors = le64_get(b + 0x28);
	x->cluster_bytes = sector * per;
	if (!power_of_2(sector) || sector < 256 || sector > 4096 || !power_of_2(per) ||
	    x->cluster_bytes > 2u << 20 || x->cluster_bytes < 512 || b[510] != 0x55 ||
	    b[511] != 0xaa)
		return volume_doubt(v, "its boot sector is absurd");
	if (sectors == 0 || sectors > v->length / sector)
		return volume_doubt(v, "it is larger than its partition");
	x->clusters = sectors / per;
	x->mft_cluster = le64_get(b + 0x30);
	x->record_bytes = record_size((int8_t)b[0x40], x->cluster_bytes);
	if (!power_of_2(x->record_bytes) || x->record_bytes < 1024 ||
	    x->record_bytes > MAX_RECORD || x->mft_cluster == 0 || x->mft_cluster >= x->clusters)
		return volume_doubt(v, "its boot sector is absurd");
	if (record_size((int8_t)b[0x44], x->cluster_bytes) != INDEX_BYTES)
		return volume_doubt(v, "its index blocks are not of 4 KiB");
	return FINE;
}

/* The header of volsnap: an identifier and, behind it, where its catalog lies, if there is one. */
static int check_shadows(struct ntfs *x, struct err *e)
{
	static const uint8_t identifier[16] = {0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e,
					       0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52};
	const uint8_t *h;
	int result = volume_at(x->v, SHADOW_AT, 512, &h, e);
	if (result == FINE && memcmp(h, identifier, sizeof identifier) == 0 && le64_get(h + 48))
		return volume_doubt(x->v, "it has shadow copies, which use what is free");
	return result;
}

/* --- records and files --- */

/* The last two bytes of each sector are kept in the header; there they have a number instead. */
static bool unfix(uint8_t *block, uint32_t bytes, const char *magic)
{
	uint32_t at = le16_get(block + 4), count = le16_get(block + 6);
	if (memcmp(block, magic, 4) != 0 || count != bytes / FIXUP_SECTOR + 1 || at < 8 || at % 2 ||
	    at + 2 * count > FIXUP_SECTOR - 2)
		return false;
	for (uint32_t i = 1; i < count; i++) {
		uint8_t *end = block + i * FIXUP_SECTOR - 2;
		if (memcmp(end, block + at, 2) != 0)
			return false;
		memcpy(end, block + at + 2 * i, 2);
	}
	return true;
}

static int add_run(struct ntfs *x, struct file *f, uint64_t cluster, uint64_t length)
{
	if (f->count == MAX_RUNS || length == 0 || cluster >= x->clusters ||
	    length > x->clusters - cluster || f->clusters + length > x->clusters)
		return volume_doubt(x->v, broken_record);
	VEC_GROW(f->items, f->count, f->cap);
	f->items[f->count++] = (struct run){cluster, length, f->clusters};
	f->clusters += length;
	return FINE;
}

static int64_t signed_number(const uint8_t *at, uint32_t bytes)
{
	uint64_t value = bytes && at[bytes - 1] & 0x80 ? UINT64_MAX : 0;
	for (uint32_t i = bytes; i-- > 0;)
		value = value << 8 | at[i];
	return (int64_t)value;
}

static int read_runs(struct ntfs *x, struct file *f, const uint8_t *at, const uint8_t *end)
{
	uint64_t cluster = 0;
	while (at < end && *at) {
		uint32_t length_bytes = *at & 15, offset_bytes = *at >> 4;
		at++;
		/* Without an offset it is a hole: these files have none. */
		if (length_bytes == 0 || length_bytes > 8 || offset_bytes == 0 ||
		    offset_bytes > 8 || length_bytes + offset_bytes > (size_t)(end - at))
			return volume_doubt(x->v, broken_record);
		uint64_t length = (uint64_t)signed_number(at, length_bytes);
		cluster += (uint64_t)signed_number(at + length_bytes, offset_bytes);
		at += length_bytes + offset_bytes;
		int result = add_run(x, f, cluster, length);
		if (result != FINE)
			return result;
	}
	return FINE;
}

/* Bytes of a file, all of which its runs must hold. */
static int read_file(struct ntfs *x, const struct file *f, uint64_t at, uint32_t length,
		     uint8_t *to, struct err *e)
{
	size_t low = 0, high = f->count;
	if (at > f->clusters * x->cluster_bytes || length > f->clusters * x->cluster_bytes - at)
		return volume_doubt(x->v, "a file of its own is shorter than it must be");
	while (length) {
		uint64_t which = at / x->cluster_bytes;
		for (high = f->count; high - low > 1;) {
			size_t middle = low + (high - low) / 2;
			if (f->items[middle].first <= which)
				low = middle;
			else
				high = middle;
		}
		const struct run *run = &f->items[low];
		uint64_t inside = at - run->first * x->cluster_bytes;
		uint64_t left = run->length * x->cluster_bytes - inside;
		uint32_t n = left < length ? (uint32_t)left : length;
		if (n > VOLUME_WINDOW_BYTES)
			n = VOLUME_WINDOW_BYTES;
		int result = volume_read(x->v, run->cluster * x->cluster_bytes + inside, n, to, e);
		if (result != FINE)
			return result;
		to += n;
		at += n;
		length -= n;
	}
	return FINE;
}

static int read_record(struct ntfs *x, uint32_t number, struct err *e)
{
	uint64_t at = (uint64_t)number * x->record_bytes;
	int result = number == RECORD_MFT
			 ? volume_read(x->v, x->mft_cluster * x->cluster_bytes, x->record_bytes,
				       x->record, e)
			 : read_file(x, &x->mft, at, x->record_bytes, x->record, e);
	if (result != FINE)
		return result;
	if (!unfix(x->record, x->record_bytes, "FILE") || !(le16_get(x->record + 22) & 1) ||
	    le32_get(x->record + 24) > x->record_bytes || le64_get(x->record + 32) != 0)
		return volume_doubt(x->v, broken_record);
	return FINE;
}

/* The first attribute of `type` in the record, without a name or with any; NULL with `why` set when
 * the record is damaged or continues in others. */
static const uint8_t *find_attribute(struct ntfs *x, uint32_t type, bool named, uint32_t *length)
{
	uint32_t at = le16_get(x->record + 20), end = le32_get(x->record + 24);
	const uint8_t *found = NULL;
	while (end >= 24 && at <= end - 8) {
		const uint8_t *a = x->record + at;
		uint32_t this_type = le32_get(a), bytes = le32_get(a + 4);
		if (this_type == ATTR_END)
			return found;
		if (bytes < 24 || bytes % 8 || bytes > end - at || this_type == ATTR_LIST)
			break;
		if (this_type == type && !found && (named || a[9] == 0)) {
			found = a;
			*length = bytes;
		}
		at += bytes;
	}
	volume_doubt(x->v, broken_record);
	return NULL;
}

static int find_file(struct ntfs *x, uint32_t number, uint32_t type, struct file *f, struct err *e)
{
	uint32_t length = 0;
	int result = read_record(x, number, e);
	if (result != FINE)
		return result;
	const uint8_t *a = find_attribute(x, type, type != ATTR_DATA, &length);
	if (!a)
		return type == ATTR_ALLOCATION && !x->v->why ? FINE
							     : volume_doubt(x->v, broken_record);
	if (a[8] != 1 || length < 64 || le16_get(a + 12) || le64_get(a + 16) ||
	    le16_get(a + 32) < 64 || le16_get(a + 32) >= length)
		return volume_doubt(x->v, broken_record);
	f->bytes = le64_get(a + 48);
	f->initialised = le64_get(a + 56);
	uint64_t last = le64_get(a + 24);
	if ((result = read_runs(x, f, a + le16_get(a + 32), a + length)) != FINE)
		return result;
	if (f->clusters != last + 1 || f->bytes > f->clusters * x->cluster_bytes ||
	    f->initialised > f->bytes)
		return volume_doubt(x->v, broken_record);
	return FINE;
}

/* --- was it closed --- */

static int check_volume_flags(struct ntfs *x, struct err *e)
{
	uint32_t length = 0;
	int result = read_record(x, RECORD_VOLUME, e);
	if (result != FINE)
		return result;
	const uint8_t *a = find_attribute(x, ATTR_INFORMATION, false, &length);
	if (!a || a[8] != 0 || le16_get(a + 20) > length - 12 || le32_get(a + 16) < 12)
		return volume_doubt(x->v, broken_record);
	const uint8_t *information = a + le16_get(a + 20);
	if (information[8] != 3 || information[9] > 1)
		return volume_doubt(x->v, "its version is not known");
	if (le16_get(information + 10))
		return volume_doubt(x->v, "it is marked for a check");
	return FINE;
}

/* Two restart pages at the log's start; either may be the newer. */
static int check_log(struct ntfs *x, struct err *e)
{
	uint8_t *page = xmalloc(CHUNK);
	uint32_t valid = 0, size = 4096;
	int result = find_file(x, RECORD_LOG, ATTR_DATA, &x->log, e);
	for (uint32_t i = 0; i < 2 && result == FINE; i++) {
		if ((result = read_file(x, &x->log, (uint64_t)i * size, 4096, page, e)) != FINE)
			break;
		if (i == 0 && memcmp(page, "\xff\xff\xff\xff", 4) == 0) {
			result = volume_doubt(x->v, "its log was emptied by another system, "
						    "which may still write");
			break;
		}
		if (memcmp(page, "RSTR", 4) != 0)
			continue;
		size = le32_get(page + 16);
		uint32_t area = le16_get(page + 24);
		if (!power_of_2(size) || size < 4096 || size > CHUNK) {
			result = volume_doubt(x->v, "its log is damaged");
			break;
		}
		result = read_file(x, &x->log, (uint64_t)i * size, size, page, e);
		if (result == FINE && (!unfix(page, size, "RSTR") || area < 32 ||
				       area > FIXUP_SECTOR - 64 || area % 8))
			result = volume_doubt(x->v, "its log is damaged");
		if (result == FINE && !(le16_get(page + area + 14) & LOG_CLEAN))
			result = volume_doubt(x->v, "its log would have to be replayed");
		valid++;
	}
	if (result == FINE && valid == 0)
		result = volume_doubt(x->v, "its log is damaged");
	free(page);
	return result;
}

/* The name, upper or lower case, in UTF-16 anywhere in the bytes. */
static bool has_name(const uint8_t *bytes, uint32_t n, const char *name)
{
	size_t length = strlen(name);
	for (uint32_t at = 0; at + 2 * length <= n; at += 2) {
		size_t i = 0;
		while (i < length && bytes[at + 2 * i + 1] == 0 &&
		       (bytes[at + 2 * i] | (name[i] == '.' ? 0 : 0x20)) == (uint8_t)name[i])
			i++;
		if (i == length)
			return true;
	}
	return false;
}

/* Windows sleeps in \hiberfil.sys; a name in the root directory is enough. */
static int check_hibernation(struct ntfs *x, struct err *e)
{
	static const char asleep[] = "it has a hiberfil.sys: a system may sleep in it";
	int result = find_file(x, RECORD_ROOT, ATTR_ALLOCATION, &x->root, e);
	if (result != FINE)
		return result;
	if (has_name(x->record, x->record_bytes, "hiberfil.sys")) {
		x->v->hibernated = true;
		return volume_doubt(x->v, asleep);
	}
	uint64_t bytes = x->root.clusters * x->cluster_bytes;
	if (bytes > MAX_ROOT_BYTES)
		return volume_doubt(x->v, "its root directory is larger than is looked at");
	uint8_t *index = xmalloc(bytes ? bytes : 1);
	if (bytes)
		result = read_file(x, &x->root, 0, (uint32_t)bytes, index, e);
	for (uint64_t at = 0; result == FINE && at + INDEX_BYTES <= bytes; at += INDEX_BYTES)
		if (memcmp(index + at, "INDX", 4) == 0 && !unfix(index + at, INDEX_BYTES, "INDX"))
			result = volume_doubt(x->v, "its root directory is damaged");
	if (result == FINE && has_name(index, (uint32_t)bytes, "hiberfil.sys")) {
		x->v->hibernated = true;
		result = volume_doubt(x->v, asleep);
	}
	free(index);
	return result;
}

/* --- the bitmap --- */

static int read_bitmap(struct ntfs *x, struct err *e)
{
	struct extents none = {0};
	uint64_t needed = (x->clusters + 7) / 8;
	uint8_t *bits = xmalloc(CHUNK);
	int result = find_file(x, RECORD_BITMAP, ATTR_DATA, &x->bitmap, e);
	if (result == FINE && (x->bitmap.bytes < needed || x->bitmap.initialised < needed))
		result = volume_doubt(x->v, "its bitmap is shorter than it must be");
	for (uint64_t at = 0; at < needed && result == FINE; at += CHUNK) {
		uint32_t n = needed - at < CHUNK ? (uint32_t)(needed - at) : CHUNK;
		uint64_t first = at * 8, left = x->clusters - first;
		if ((result = read_file(x, &x->bitmap, at, n, bits, e)) == FINE)
			volume_free_bits(x->v, bits, left < n * 8ull ? left : n * 8ull,
					 first * x->cluster_bytes, x->cluster_bytes);
	}
	if (result == FINE)
		volume_finish(x->v, &none);
	free(bits);
	return result;
}

/* What is certainly in use must not be free: the boot sector and its own files. */
static int check_own_files(struct ntfs *x)
{
	const struct file *own[] = {&x->mft, &x->bitmap, &x->log, &x->root};
	bool bad = extents_touch(&x->v->unused, 0, 8192);
	for (size_t i = 0; i < COUNT_OF(own); i++)
		for (size_t k = 0; k < own[i]->count; k++)
			bad |= extents_touch(&x->v->unused,
					     own[i]->items[k].cluster * x->cluster_bytes,
					     own[i]->items[k].length * x->cluster_bytes);
	return bad ? volume_doubt(x->v, "its bitmap calls its own files free") : FINE;
}

int used_ntfs(struct volume *v, struct err *e)
{
	struct ntfs x = {.v = v};
	if (v->length < 65536)
		return DOUBT;
	int result = read_boot(&x, e);
	if (result != FINE)
		return result;
	x.record = xmalloc(x.record_bytes);
	if ((result = check_shadows(&x, e)) == FINE &&
	    (result = find_file(&x, RECORD_MFT, ATTR_DATA, &x.mft, e)) == FINE &&
	    (result = check_volume_flags(&x, e)) == FINE && (result = check_log(&x, e)) == FINE &&
	    (result = check_hibernation(&x, e)) == FINE && (result = read_bitmap(&x, e)) == FINE)
		result = check_own_files(&x);
	free(x.record);
	free(x.mft.items);
	free(x.bitmap.items);
	free(x.log.items);
	free(x.root.items);
	return result;
}
