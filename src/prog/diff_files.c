// SPDX-License-Identifier: Apache-2.0
/* image diff --files: what virt-diff of libguestfs says of two images, over our exports. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "guest/boot.h"
#include "io/file.h"
#include "io/process.h"
#include "prog/godwit_local.h"

#define LIST_MAX    (64 * MIB)
#define PATIENCE_MS (3600ll * 1000)

/* "= - 0644 1234 /etc/motd": what happened, kind, mode, size, path; lines of diff(1) are passed. */
static json_t *parse(const char *text)
{
	json_t *files = json_array();

	for (const char *line = text; *line;) {
		size_t n = strcspn(line, "\n");
		char sign = line[0], kind, mode[16];
		long long size;
		int at = 0;
		char *copy = xstrndup(line, n);

		if (strchr("+-=", sign) &&
		    sscanf(copy + 1, " %c %15s %lld %n", &kind, mode, &size, &at) == 3 && at &&
		    copy[1 + at] == '/') {
			json_t *path = json_string(copy + 1 + at);

			if (!path) /* not UTF-8 */
				path = json_string("?");
			json_array_append_new(files,
					      json_pack("{s:s, s:s, s:s, s:I, s:o}", "change",
							sign == '+'   ? "added"
							: sign == '-' ? "removed"
								      : "changed",
							"type", (char[]){kind, 0}, "mode", mode,
							"size", (json_int_t)size, "path", path));
		}
		free(copy);
		line += n + (line[n] == '\n');
	}
	return files;
}

static void add_disks(char **argv, unsigned *n, const char *option, const char *side,
		      const struct local *l, const char *socket_path)
{
	for (unsigned i = 0; i < l->count; i++) {
		argv[(*n)++] = xstrdup("--format=raw");
		argv[(*n)++] = xstrdup(option);
		argv[(*n)++] = xasprintf("nbd:///%s%u?socket=%s", side, i, socket_path);
	}
}

static void show(const struct cli *c, const char *text)
{
	json_t *files = parse(text), *file;
	size_t i;

	if (c->json)
		show_json(files);
	else
		json_array_foreach(files, i, file)
		{
			printf("%-8s %s %5s %12lld ", text_of(file, "change"),
			       text_of(file, "type"), text_of(file, "mode"),
			       (long long)number_of(file, "size"));
			show_text(text_of(file, "path"));
			putchar('\n');
		}
	json_decref(files);
}

static int run(const struct cli *c, const struct local *a, const struct local *b,
	       const char *socket_path, struct err *e)
{
	static const char *const env[] = {"LIBGUESTFS_BACKEND=direct",
					  "LIBGUESTFS_BACKEND_SETTINGS=force_tcg", NULL};
	static const char *const env_kvm[] = {"LIBGUESTFS_BACKEND=direct", NULL};
	char **argv = xcalloc(3 + 3 * (size_t)(a->count + b->count), sizeof *argv);
	struct process_plan plan = {.argv = (const char *const *)argv,
				    .env = boot_kvm_works() ? env_kvm : env};
	struct buf text = {0};
	unsigned n = 0;
	int result;

	argv[n++] = xstrdup("virt-diff");
	add_disks(argv, &n, "-a", "a", a, socket_path);
	add_disks(argv, &n, "-A", "b", b, socket_path);
	result = process_run(&plan, PATIENCE_MS, LIST_MAX, &text, e);
	if (result == 0)
		show(c, buf_str(&text));
	else if (e && e->kind != ERR_NOT_FOUND)
		err_prefix(e, "the files cannot be compared, for which libguestfs must find an "
			      "operating system in both images");
	for (unsigned i = 0; i < n; i++)
		free(argv[i]);
	free(argv);
	buf_release(&text);
	return result;
}

int diff_files(const struct cli *c, const struct local *a, const struct local *b, struct err *e)
{
	struct serve_disk disks[LIMIT_DISKS_PER_SERVER];
	char names[LIMIT_DISKS_PER_SERVER][8], scratch[] = "/tmp/godwit-diff-XXXXXX", *path;
	pid_t server;
	int result;

	if (a->count + b->count > LIMIT_DISKS_PER_SERVER)
		return err_set(e, ERR_INVALID, "the two images have more than %d disks",
			       LIMIT_DISKS_PER_SERVER);
	for (unsigned i = 0; i < a->count + b->count; i++) {
		bool first = i < a->count;
		unsigned k = first ? i : i - a->count;

		snprintf(names[i], sizeof names[i], "%c%u", first ? 'a' : 'b', k);
		disks[i] = (struct serve_disk){names[i],
					       first ? a->serve[k].root : b->serve[k].root};
	}
	if (!mkdtemp(scratch))
		return err_errno(e, errno, "cannot make a scratch folder in /tmp");
	path = xasprintf("%s/nbd", scratch);
	result = image_serve(a->store, disks, a->count + b->count, path, NULL, false, &server, e);
	if (result == 0) {
		result = run(c, a, b, path, e);
		process_stop(server, 5000);
	}
	file_remove_tree(scratch, NULL);
	free(path);
	return result;
}
