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

/* A line "- d 0755 4096 /etc": what happened, kind, mode, size, path. */
struct entry {
	char sign, kind[2], mode[16];
	long long size;
	const char *path; /* in the line; NULL: it is another line */
};

static struct entry parse_line(const char *line)
{
	struct entry f = {.sign = line[0]};
	int at = 0;

	if (f.sign && strchr("+-=", f.sign) &&
	    sscanf(line + 1, " %1s %15s %lld %n", f.kind, f.mode, &f.size, &at) == 3 && at &&
	    line[1 + at] == '/')
		f.path = line + 1 + at;
	return f;
}

static void add_file(json_t *files, const struct entry *f, const char *change, const char *what)
{
	json_t *file = json_pack("{s:s, s:s, s:s, s:I}", "change", change, "type", f->kind, "mode",
				 f->mode, "size", (json_int_t)f->size);
	json_t *path = json_string(f->path);

	json_object_set_new(file, "path", path ? path : json_string("(a name that is not UTF-8)"));
	if (what)
		json_object_set_new(file, "what", json_string(what));
	json_array_append_new(files, file);
}

#define CHANGED "# changed: "

/* What is in both with a difference is told in three lines: as it was, as it is, and "# changed:"
 * with what of it. That the two disks are two devices is no difference. */
static json_t *parse(char *text)
{
	json_t *files = json_array();
	struct entry was = {0};
	char *line, *rest = text;

	while ((line = strsep(&rest, "\n"))) {
		struct entry now = parse_line(line);

		if (was.path && now.path && now.sign == '+' && strcmp(was.path, now.path) == 0 &&
		    rest && text_starts(rest, CHANGED)) {
			const char *what = strsep(&rest, "\n") + strlen(CHANGED);

			if (strcmp(what, "st_dev") != 0)
				add_file(files, &now, "changed",
					 text_starts(what, "st_dev, ") ? what + 8 : what);
			was.path = now.path = NULL;
		}
		if (was.path)
			add_file(files, &was, "removed", NULL);
		was.path = NULL;
		if (now.path && now.sign == '-')
			was = now;
		else if (now.path)
			add_file(files, &now, now.sign == '+' ? "added" : "changed", NULL);
	}
	if (was.path)
		add_file(files, &was, "removed", NULL);
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

static void show(const struct cli *c, char *text)
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
			if (*text_of(file, "what"))
				printf(" (%s)", text_of(file, "what"));
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
	buf_add_str(&text, ""); /* it may have said nothing */
	if (result == 0)
		show(c, (char *)text.data);
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
