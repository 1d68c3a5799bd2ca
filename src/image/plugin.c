// SPDX-License-Identifier: Apache-2.0
/*
 * The nbdkit plugin: versions of disks as read-only NBD exports.
 *
 * nbdkit nbdkit-godwit-plugin.so store=WHERE disk0=ROOT [disk1=ROOT …] [cache=SIZE]
 *
 * Every other key is the name of an export and its value the root of a version; the first one is
 * the default export. man/nbdkit-godwit-plugin.1
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/limits.h"
#include "base/text.h"
#include "image/image.h"
#include "store/lease.h"

#define THREAD_MODEL	    NBDKIT_THREAD_MODEL_PARALLEL
#define CACHE_DEFAULT_BYTES (128 * MIB)

struct export
{
	char *name;
	struct name root;
	struct version *version;
};

static char *store_where;
static uint64_t cache_bytes = CACHE_DEFAULT_BYTES;
static struct export exports[LIMIT_DISKS_PER_SERVER];
static unsigned export_count;
static struct store *store;
static struct lease *lease;
static struct version_cache *cache;

static int complain(const struct err *e)
{
	nbdkit_error("%s", e->text);
	nbdkit_set_error(EIO);
	return -1;
}

static int add_export(const char *name, const char *root)
{
	struct export *export = &exports[export_count];

	if (export_count == COUNT_OF(exports)) {
		nbdkit_error("more than %zu exports", COUNT_OF(exports));
		return -1;
	}
	if (!name_parse(root, &export->root)) {
		nbdkit_error("%s=%s: the root of a version has 64 hexadecimal digits", name, root);
		return -1;
	}
	export->name = xstrdup(name);
	export_count++;
	return 0;
}

static int plugin_config(const char *key, const char *value)
{
	struct err e = {0};

	if (strcmp(key, "store") == 0) {
		free(store_where);
		store_where = xstrdup(value);
		return 0;
	}
	if (strcmp(key, "cache") == 0)
		return size_parse("cache", value, MIB, GIB, &cache_bytes, &e) < 0 ? complain(&e)
										  : 0;
	return add_export(key, value);
}

static int plugin_config_complete(void)
{
	if (store_where && export_count)
		return 0;
	nbdkit_error("store=WHERE and at least one disk0=ROOT are needed");
	return -1;
}

/* After the fork, so that a store may have threads. */
static int plugin_after_fork(void)
{
	struct name roots[LIMIT_DISKS_PER_SERVER];
	struct err e = {0};

	for (unsigned i = 0; i < export_count; i++)
		roots[i] = exports[i].root;
	if (store_open(store_where, false, false, &store, &e) < 0 ||
	    lease_take(store, roots, export_count, "NBD server", &lease, &e) < 0)
		return complain(&e);
	cache = version_cache_new(cache_bytes);
	for (unsigned i = 0; i < export_count; i++)
		if (version_open(store, &exports[i].root, cache, &exports[i].version, &e) < 0)
			return complain(&e);
	return 0;
}

static void plugin_unload(void)
{
	for (unsigned i = 0; i < export_count; i++) {
		version_close(exports[i].version);
		free(exports[i].name);
	}
	version_cache_free(cache);
	lease_release(lease);
	if (store)
		store_close(store);
	free(store_where);
}

static int plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *list)
{
	(void)readonly;
	(void)is_tls;
	for (unsigned i = 0; i < export_count; i++)
		if (nbdkit_add_export(list, exports[i].name, NULL) < 0)
			return -1;
	return 0;
}

static const char *plugin_default_export(int readonly, int is_tls)
{
	(void)readonly;
	(void)is_tls;
	return exports[0].name;
}

static void *plugin_open(int readonly)
{
	const char *name = nbdkit_export_name();

	(void)readonly;
	if (!name)
		return NULL;
	for (unsigned i = 0; i < export_count; i++)
		if (strcmp(exports[i].name, name) == 0 || (!*name && i == 0))
			return exports[i].version;
	nbdkit_error("there is no export '%s'", name);
	nbdkit_set_error(ENOENT);
	return NULL;
}

static int64_t plugin_get_size(void *handle)
{
	return (int64_t)version_size(handle);
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
			     uint32_t *maximum)
{
	(void)handle;
	*minimum = 1;
	*preferred = BLOCK_BYTES;
	*maximum = 0xffffffff;
	return 0;
}

static int plugin_can_multi_conn(void *handle)
{
	(void)handle;
	return 1; /* nothing is ever written */
}

static int plugin_can_extents(void *handle)
{
	(void)handle;
	return 1;
}

static int plugin_pread(void *handle, void *to, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err e = {0};

	(void)flags;
	return version_read(handle, to, offset, count, &e) < 0 ? complain(&e) : 0;
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			  struct nbdkit_extents *list)
{
	struct err e = {0};

	for (uint64_t done = 0; done < count;) {
		uint64_t length;
		bool zero;

		if (version_extent(handle, offset + done, count - done, &length, &zero, &e) < 0)
			return complain(&e);
		if (nbdkit_add_extent(list, offset + done, length,
				      zero ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0) < 0)
			return -1;
		done += length;
		if (flags & NBDKIT_FLAG_REQ_ONE)
			break;
	}
	return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "godwit",
    .longname = "versions of disks in a godwit store",
    .version = GODWIT_VERSION,
    .unload = plugin_unload,
    .config = plugin_config,
    .config_complete = plugin_config_complete,
    .config_help = "store=WHERE  The store (required).\n"
		   "NAME=ROOT    An export and the root of its version (at least one).\n"
		   "cache=SIZE   Memory for what was read, of all exports, default 128M.",
    .after_fork = plugin_after_fork,
    .list_exports = plugin_list_exports,
    .default_export = plugin_default_export,
    .open = plugin_open,
    .get_size = plugin_get_size,
    .block_size = plugin_block_size,
    .can_multi_conn = plugin_can_multi_conn,
    .can_extents = plugin_can_extents,
    .pread = plugin_pread,
    .extents = plugin_extents,
    .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN(plugin)
