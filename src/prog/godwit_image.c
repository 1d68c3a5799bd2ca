// SPDX-License-Identifier: Apache-2.0
/* image list, show, delete: what the service knows of images. */
#include <stdio.h>

#include "prog/godwit.h"

int cmd_image_list(struct cli *c, struct err *e)
{
	static const char *const titles[] = {"IMAGE",  "NAME",	  "MADE",   "SIZE",
					     "STORED", "VERDICT", "BECAUSE"};
	const char *job = cli_value(c, "job");
	json_t *images, *one, *rows = json_array();
	size_t i;
	if (call_godwit_list(c, "ListImages", json_pack("{s:s*}", "replicationJobId", job),
			     "imageList", &images, e) < 0) {
		json_decref(rows);
		return -1;
	}
	json_array_foreach(images, i, one) json_array_append_new(
	    rows, json_pack("[o, o, o, o, o, o, o]", cell_text(one, "imageId"),
			    cell_text(one, "name"), cell_time(one, "createdOn"),
			    cell_size(one, "sizeBytes"), cell_size(one, "bytesStored"),
			    cell_text(one, "verdict"), cell_text(one, "verdictText")));
	if (c->json) {
		show_json(images);
		json_decref(rows);
	} else {
		show_table(titles, COUNT_OF(titles), rows);
	}
	json_decref(images);
	return 0;
}

static void show_cell(const char *label, json_t *cell)
{
	show_field(label, json_string_value(cell));
	json_decref(cell);
}

static void show_machine(const json_t *machine)
{
	if (!json_object_size(machine))
		return;
	show_field("machine", text_of(machine, "path"));
	show_field("firmware", text_of(machine, "firmware"));
	show_field("chipset", text_of(machine, "machine"));
	if (number_of(machine, "vcpus"))
		printf("%-15s %lld\n", "processors", (long long)number_of(machine, "vcpus"));
	show_cell("memory", cell_size(machine, "memoryBytes"));
}

int cmd_image_show(struct cli *c, struct err *e)
{
	json_t *image, *disk;
	size_t i;
	if (call_godwit(c, "GetImage", json_pack("{s:s}", "imageId", c->args[0]), &image, e) < 0)
		return -1;
	if (c->json) {
		show_json(image);
		json_decref(image);
		return 0;
	}
	show_field("image", text_of(image, "imageId"));
	show_field("name", text_of(image, "name"));
	show_field("state", text_of(image, "state"));
	show_cell("made", cell_time(image, "createdOn"));
	show_field("overlay of", text_of(image, "overlayOf"));
	show_field("job", text_of(image, "replicationJobId"));
	show_field("run", text_of(image, "replicationRunId"));
	show_field("verdict", text_of(image, "verdict"));
	show_field("because", text_of(image, "verdictText"));
	show_field("evidence", text_of(image, "evidence"));
	show_cell("size", cell_size(image, "sizeBytes"));
	show_cell("new", cell_size(image, "bytesNew"));
	show_cell("stored", cell_size(image, "bytesStored"));
	show_machine(json_object_get(image, "machine"));
	json_array_foreach(json_object_get(image, "disks"), i, disk)
	{
		char label[32];
		snprintf(label, sizeof label, "disk %zu", i);
		show_field(label, text_of(disk, "key"));
		show_cell("  size", cell_size(disk, "sizeBytes"));
		show_field("  root", text_of(disk, "root"));
	}
	json_decref(image);
	return 0;
}

int cmd_image_delete(struct cli *c, struct err *e)
{
	if (call_godwit(c, "DeleteImage", json_pack("{s:s}", "imageId", c->args[0]), NULL, e) < 0)
		return -1;
	puts(c->json ? "{}" : "Deleted.");
	return 0;
}
