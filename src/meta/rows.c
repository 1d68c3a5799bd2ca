// SPDX-License-Identifier: Apache-2.0
#include "meta/rows.h"

#include "base/limits.h"
#include "base/mem.h"

/* What a text column can hold at most; a value that came from outside was cut or refused before. */
#define ID	 128 /* an identifier, also "<run id>.<number>", or a hash */
#define NAME	 LIMIT_NAME_BYTES
#define WORD	 64
#define SENTENCE LIMIT_SENTENCE_BYTES
#define ABOUT	 LIMIT_DESCRIPTION_BYTES
#define VALUE	 (64 * KIB)
#define BLOB	 LIMIT_FRAME_BYTES

#define TABLE(variable, table_name, row, fields, index_array)                                      \
	static const struct shape row##_shape = SHAPE(row, fields);                                \
	const struct meta_table variable = {                                                       \
	    .name = table_name,                                                                    \
	    .shape = &row##_shape,                                                                 \
	    .indexes = index_array,                                                                \
	    .index_count = COUNT_OF(index_array),                                                  \
	}
#define TABLE_WITHOUT_INDEX(variable, table_name, row, fields)                                     \
	static const struct shape row##_shape = SHAPE(row, fields);                                \
	const struct meta_table variable = {.name = table_name, .shape = &row##_shape}

#define T(member, bytes) FIELD_TEXT_OF(ROW, member, bytes)
#define I(member)	 FIELD_INT_OF(ROW, member, 0)
#define B(member)	 FIELD_BYTES_OF(ROW, member, BLOB)

#define ROW		 setting_row
static const struct field setting_fields[] = {T(name, NAME), T(value, VALUE)};
TABLE_WITHOUT_INDEX(meta_settings, "setting", setting_row, setting_fields);
#undef ROW

#define ROW access_key_row
static const struct field access_key_fields[] = {
    T(access_key_id, ID), T(secret, NAME), T(user, NAME), I(created), I(disabled),
};
TABLE_WITHOUT_INDEX(meta_access_keys, "access_key", access_key_row, access_key_fields);
#undef ROW

#define ROW enrol_token_row
static const struct field enrol_token_fields[] = {
    T(secret_sha256, ID), T(name, NAME), I(created), I(expires), T(used_by, ID),
};
TABLE_WITHOUT_INDEX(meta_enrol_tokens, "enrol_token", enrol_token_row, enrol_token_fields);
#undef ROW

#define ROW connector_row
static const struct field connector_fields[] = {
    T(id, ID),		 T(name, NAME),		T(version, WORD),      T(capabilities, NAME),
    T(manager_id, NAME), T(manager_name, NAME), T(manager_type, WORD), T(ip, WORD),
    T(mac, WORD),	 T(host, NAME),		I(associated),	       I(last_seen),
    I(healthy),		 T(reason, SENTENCE),	I(disassociated),
};
TABLE_WITHOUT_INDEX(meta_connectors, "connector", connector_row, connector_fields);
#undef ROW

#define ROW server_row
static const struct field server_fields[] = {
    T(id, ID),		 T(manager_id, NAME),	T(vm_id, NAME),
    T(connector_id, ID), T(manager_name, NAME), T(manager_type, WORD),
    T(name, NAME),	 T(path, NAME),		B(machine),
    I(listed),		 T(job_id, ID),		I(job_terminated),
    I(imported),
};
#undef ROW
static const struct meta_index server_indexes[] = {
    {.name = "address", .columns = {"manager_id", "vm_id"}, .unique = true},
    {.name = "listed", .columns = {"listed", "id"}},
};
TABLE(meta_servers, "server", server_row, server_fields, server_indexes);

#define ROW job_row
static const struct field job_fields[] = {
    T(id, ID),
    T(server_id, ID),
    T(manager_id, NAME),
    T(vm_id, NAME),
    T(manager_name, NAME),
    T(manager_type, WORD),
    T(vm_name, NAME),
    T(vm_path, NAME),
    T(state, WORD),
    T(status_message, ABOUT),
    T(description, ABOUT),
    T(license_type, WORD),
    T(role_name, NAME),
    T(kms_key_id, NAME),
    I(created),
    I(seed),
    I(frequency_hours),
    I(run_once),
    I(next_run),
    I(due),
    I(keep_images),
    I(encrypted),
    I(failures),
    I(failure_limit),
    I(pause_on_failure),
    T(boot_test, WORD),
    I(boot_test_every),
    I(runs_made),
    T(latest_ami_id, ID),
    T(active_run_id, ID),
    T(base_image_id, ID),
    T(base_point, NAME),
    T(base_connector_id, ID),
    I(slot),
    I(first_started),
    I(paused),
};
#undef ROW
static const struct meta_index job_indexes[] = {
    {.name = "due", .columns = {"due"}},
    {.name = "server", .columns = {"server_id"}},
    {.name = "created", .columns = {"created"}},
    {.name = "base", .columns = {"base_connector_id", "state"}},
};
TABLE(meta_jobs, "job", job_row, job_fields, job_indexes);

#define ROW run_row
static const struct field run_fields[] = {
    T(id, ID),
    T(job_id, ID),
    T(state, WORD),
    T(type, WORD),
    T(stage, WORD),
    T(stage_progress, WORD),
    T(status_message, ABOUT),
    T(description, ABOUT),
    T(kms_key_id, NAME),
    I(encrypted),
    I(scheduled),
    I(started),
    I(completed),
    I(stage_since),
    I(sequence),
    T(connector_id, ID),
    I(token),
    I(lease_expires),
    T(point, NAME),
    I(keeps_point),
    T(consistency, WORD),
    T(ami_id, ID),
    T(verdict, WORD),
    T(verdict_text, ABOUT),
    B(machine),
    I(bytes_total),
    I(bytes_done),
    I(bytes_read),
    I(bytes_new),
    I(bytes_sent),
    I(bytes_stored),
    I(chunks),
    I(chunks_new),
    I(bytes_reread),
    T(read_reason, ABOUT),
};
#undef ROW
static const struct meta_index run_indexes[] = {
    {.name = "job", .columns = {"job_id", "sequence"}},
    {.name = "state", .columns = {"state"}},
    {.name = "connector", .columns = {"connector_id"}},
};
TABLE(meta_runs, "run", run_row, run_fields, run_indexes);

#define ROW run_disk_row
static const struct field run_disk_fields[] = {
    T(id, ID),	   T(run_id, ID),   I(number),	   T(key, NAME),  I(size_bytes),
    T(root, ID),   I(bytes_total),  I(bytes_done), I(bytes_read), I(bytes_new),
    I(bytes_sent), I(bytes_stored), I(chunks),	   I(chunks_new),
};
#undef ROW
static const struct meta_index run_disk_indexes[] = {
    {.name = "run", .columns = {"run_id", "number"}},
};
TABLE(meta_run_disks, "run_disk", run_disk_row, run_disk_fields, run_disk_indexes);

#define ROW image_disk
static const struct field image_disk_fields[] = {
    T(key, NAME),
    I(size_bytes),
    T(root, ID),
    T(bus, WORD),
};
#undef ROW
const struct shape image_disk_shape = SHAPE(image_disk, image_disk_fields);

#define ROW image_row
static const struct field image_fields[] = {
    T(id, ID),	      T(job_id, ID),
    T(server_id, ID), T(run_id, ID),
    T(name, NAME),    I(created),
    I(sequence),      T(state, WORD),
    T(verdict, WORD), T(verdict_text, ABOUT),
    I(verdict_at),    T(evidence, 4 * KIB),
    B(machine),	      FIELD_LIST_OF(image_row, disks, LIMIT_DISKS_PER_SERVER, &image_disk_shape),
    I(size_bytes),    I(bytes_stored),
    I(bytes_new),     T(overlay_of, ID),
};
#undef ROW
static const struct meta_index image_indexes[] = {
    {.name = "job", .columns = {"job_id", "sequence"}},
    {.name = "created", .columns = {"created"}},
};
TABLE(meta_images, "image", image_row, image_fields, image_indexes);

const struct meta_table *const meta_tables[] = {
    &meta_settings, &meta_access_keys, &meta_enrol_tokens, &meta_connectors, &meta_servers,
    &meta_jobs,	    &meta_runs,	       &meta_run_disks,	   &meta_images,
};
const unsigned meta_table_count = COUNT_OF(meta_tables);
