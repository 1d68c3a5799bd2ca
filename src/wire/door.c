// SPDX-License-Identifier: Apache-2.0
#include "wire/door.h"

#include "base/limits.h"

#define WORD_MAX	    64 /* words, identifiers */
#define PEM_MAX		    (16 * KIB)
#define MACHINES_MAX	    64	 /* in one frame of an inventory */
#define HELD_MAX	    1024 /* in one frame of a welcome */
#define SEGMENTS_MAX	    256
#define REGIONS_MAX	    (LIMIT_DISK_MAX_BYTES / (64 * MIB) + 2 * SEGMENTS_MAX)
#define NUMBER_MAX	    (LIMIT_DISKS_PER_SERVER - 1)
#define ROOT_BYTES	    32
#define PAYLOAD_MAX	    (900 * KIB)
#define STORED_MAX	    (600 * KIB)
#define MACHINE_MAX	    (640 * KIB) /* every text of a machine as long as it may be */
#define BOOL_MAX	    1
#define COUNT_MAX	    INT64_MAX /* not negative */

#define TEXT(s, m, max)	    FIELD_TEXT_OF(s, m, max)
#define NAME(s, m)	    FIELD_TEXT_OF(s, m, LIMIT_NAME_BYTES)
#define WORD(s, m)	    FIELD_TEXT_OF(s, m, WORD_MAX)
#define SENTENCE(s, m)	    FIELD_TEXT_OF(s, m, LIMIT_SENTENCE_BYTES)
#define NUMBER(s, m, max)   FIELD_INT_OF(s, m, max)
#define BYTES(s, m, max)    FIELD_BYTES_OF(s, m, max)
#define LIST(s, m, max, of) FIELD_LIST_OF(s, m, max, &of)

static const struct field fault_fields[] = {
    WORD(door_fault, kind),
    SENTENCE(door_fault, text),
};
const struct shape door_fault_shape = SHAPE(door_fault, fault_fields);

static const struct field enrol_fields[] = {
    NAME(door_enrol, token),
    NAME(door_enrol, name),
    TEXT(door_enrol, request, PEM_MAX),
};
const struct shape door_enrol_shape = SHAPE(door_enrol, enrol_fields);

static const struct field enrolled_fields[] = {
    WORD(door_enrolled, connector_id),
    TEXT(door_enrolled, certificate, PEM_MAX),
    TEXT(door_enrolled, authority, PEM_MAX),
};
const struct shape door_enrolled_shape = SHAPE(door_enrolled, enrolled_fields);

static const struct field hello_fields[] = {
    NUMBER(door_hello, protocol, COUNT_MAX),
    NAME(door_hello, version),
    NAME(door_hello, capabilities),
    NAME(door_hello, manager_id),
    NAME(door_hello, manager_name),
    NAME(door_hello, manager_type),
    NAME(door_hello, ip),
    NAME(door_hello, mac),
    NAME(door_hello, host),
};
const struct shape door_hello_shape = SHAPE(door_hello, hello_fields);

static const struct field base_fields[] = {
    NAME(door_base, key),
    NUMBER(door_base, number, NUMBER_MAX),
    NUMBER(door_base, size_bytes, LIMIT_DISK_MAX_BYTES),
    BYTES(door_base, root, ROOT_BYTES),
};
const struct shape door_base_shape = SHAPE(door_base, base_fields);

static const struct field work_fields[] = {
    WORD(door_work, run_id),
    WORD(door_work, job_id),
    NUMBER(door_work, token, COUNT_MAX),
    NAME(door_work, vm_id),
    NAME(door_work, base_point),
    NAME(door_work, point),
    LIST(door_work, bases, LIMIT_DISKS_PER_SERVER, door_base_shape),
    NUMBER(door_work, copied, BOOL_MAX),
};
const struct shape door_work_shape = SHAPE(door_work, work_fields);

static const struct field point_fields[] = {
    NAME(door_point, vm_id),
    NAME(door_point, point),
};
const struct shape door_point_shape = SHAPE(door_point, point_fields);

static const struct field welcome_fields[] = {
    WORD(door_welcome, connector_id),
    NUMBER(door_welcome, heartbeat_ms, UNHEALTHY_AFTER_MS),
    NUMBER(door_welcome, last, BOOL_MAX),
    LIST(door_welcome, held, HELD_MAX, door_work_shape),
    LIST(door_welcome, points, LIMIT_SERVERS_PER_CONNECTOR, door_point_shape),
};
const struct shape door_welcome_shape = SHAPE(door_welcome, welcome_fields);

static const struct field heartbeat_fields[] = {
    NUMBER(door_heartbeat, healthy, BOOL_MAX),
    SENTENCE(door_heartbeat, reason),
};
const struct shape door_heartbeat_shape = SHAPE(door_heartbeat, heartbeat_fields);

static const struct field list_fields[] = {
    NUMBER(door_list, import, COUNT_MAX),
};
const struct shape door_list_shape = SHAPE(door_list, list_fields);

static const struct field inventory_fields[] = {
    NUMBER(door_inventory, import, COUNT_MAX),
    NUMBER(door_inventory, last, BOOL_MAX),
    LIST(door_inventory, machines, MACHINES_MAX, machine_shape),
    SENTENCE(door_inventory, refusal),
};
const struct shape door_inventory_shape = SHAPE(door_inventory, inventory_fields);

static const struct field stage_fields[] = {
    WORD(door_stage, run_id),
    NUMBER(door_stage, token, COUNT_MAX),
    WORD(door_stage, stage),
};
const struct shape door_stage_shape = SHAPE(door_stage, stage_fields);

static const struct field snapshot_disk_fields[] = {
    NAME(door_snapshot_disk, key),
    NUMBER(door_snapshot_disk, number, NUMBER_MAX),
    NUMBER(door_snapshot_disk, size_bytes, LIMIT_DISK_MAX_BYTES),
    NUMBER(door_snapshot_disk, changed_bytes, 0), /* -1 says something */
    SENTENCE(door_snapshot_disk, reason),
};
const struct shape door_snapshot_disk_shape = SHAPE(door_snapshot_disk, snapshot_disk_fields);

static const struct field snapshot_fields[] = {
    WORD(door_snapshot, run_id),
    NUMBER(door_snapshot, token, COUNT_MAX),
    NAME(door_snapshot, point),
    NUMBER(door_snapshot, keeps_point, BOOL_MAX),
    WORD(door_snapshot, consistency),
    BYTES(door_snapshot, machine, MACHINE_MAX),
    LIST(door_snapshot, disks, LIMIT_DISKS_PER_SERVER, door_snapshot_disk_shape),
};
const struct shape door_snapshot_shape = SHAPE(door_snapshot, snapshot_fields);

static const struct field run_fields[] = {
    WORD(door_run, run_id),
    NUMBER(door_run, token, COUNT_MAX),
};
const struct shape door_run_shape = SHAPE(door_run, run_fields);

static const struct field forget_fields[] = {
    WORD(door_forget, job_id),
    NAME(door_forget, vm_id),
    NAME(door_forget, point),
};
const struct shape door_forget_shape = SHAPE(door_forget, forget_fields);

static const struct field retire_fields[] = {
    WORD(door_retire, connector_id),
};
const struct shape door_retire_shape = SHAPE(door_retire, retire_fields);

static const struct field failed_fields[] = {
    WORD(door_failed, run_id),
    NUMBER(door_failed, token, COUNT_MAX),
    WORD(door_failed, kind),
    SENTENCE(door_failed, text),
};
const struct shape door_failed_shape = SHAPE(door_failed, failed_fields);

static const struct field stream_fields[] = {
    WORD(door_stream, run_id),
    NUMBER(door_stream, token, COUNT_MAX),
    NUMBER(door_stream, number, NUMBER_MAX),
    NAME(door_stream, point),
    NUMBER(door_stream, size_bytes, LIMIT_DISK_MAX_BYTES),
};
const struct shape door_stream_shape = SHAPE(door_stream, stream_fields);

static const struct field ready_fields[] = {
    NUMBER(door_ready, has_base, BOOL_MAX),
    NUMBER(door_ready, base_size_bytes, LIMIT_DISK_MAX_BYTES),
    BYTES(door_ready, base_starts, SEGMENTS_MAX * 8),
    BYTES(door_ready, done, REGIONS_MAX / 8),
};
const struct shape door_ready_shape = SHAPE(door_ready, ready_fields);

static const struct field layout_fields[] = {
    NUMBER(door_layout, size_bytes, LIMIT_DISK_MAX_BYTES),
    BYTES(door_layout, starts, SEGMENTS_MAX * 8),
};
const struct shape door_layout_shape = SHAPE(door_layout, layout_fields);

static const struct field region_fields[] = {
    NUMBER(door_region, region, REGIONS_MAX - 1),
    BYTES(door_region, ops, PAYLOAD_MAX),
};
const struct shape door_region_shape = SHAPE(door_region, region_fields);

static const struct field outline_fields[] = {
    NUMBER(door_outline, region, REGIONS_MAX - 1),
    BYTES(door_outline, runs, PAYLOAD_MAX),
};
const struct shape door_outline_shape = SHAPE(door_outline, outline_fields);

static const struct field need_fields[] = {
    NUMBER(door_need, region, REGIONS_MAX - 1),
    BYTES(door_need, need, 64 * KIB),
};
const struct shape door_need_shape = SHAPE(door_need, need_fields);

static const struct field chunk_fields[] = {
    NUMBER(door_chunk, region, REGIONS_MAX - 1), NUMBER(door_chunk, index, UINT32_MAX),
    NUMBER(door_chunk, codec, UINT8_MAX),	 NUMBER(door_chunk, plain_len, UINT32_MAX),
    BYTES(door_chunk, stored, STORED_MAX),
};
const struct shape door_chunk_shape = SHAPE(door_chunk, chunk_fields);

static const struct field durable_fields[] = {
    BYTES(door_durable, regions, 64 * KIB),
};
const struct shape door_durable_shape = SHAPE(door_durable, durable_fields);

static const struct field progress_fields[] = {
    NUMBER(door_progress, bytes_total, COUNT_MAX), NUMBER(door_progress, bytes_done, COUNT_MAX),
    NUMBER(door_progress, bytes_read, COUNT_MAX),  NUMBER(door_progress, bytes_new, COUNT_MAX),
    NUMBER(door_progress, bytes_sent, COUNT_MAX),  NUMBER(door_progress, chunks, COUNT_MAX),
    NUMBER(door_progress, chunks_new, COUNT_MAX),
};
const struct shape door_progress_shape = SHAPE(door_progress, progress_fields);

static const struct field finished_fields[] = {
    BYTES(door_finished, root, ROOT_BYTES),
    NUMBER(door_finished, bytes_stored, COUNT_MAX),
};
const struct shape door_finished_shape = SHAPE(door_finished, finished_fields);

static const struct shape nothing_shape = {.name = "door_finish"};

static const struct door_entry {
	const struct shape *shape;
	const char *word;
} entries[] = {
    [DOOR_FAULT] = {&door_fault_shape, "fault"},
    [DOOR_ENROL] = {&door_enrol_shape, "enrol"},
    [DOOR_ENROLLED] = {&door_enrolled_shape, "enrolled"},
    [DOOR_HELLO] = {&door_hello_shape, "hello"},
    [DOOR_WELCOME] = {&door_welcome_shape, "welcome"},
    [DOOR_HEARTBEAT] = {&door_heartbeat_shape, "heartbeat"},
    [DOOR_LIST] = {&door_list_shape, "list"},
    [DOOR_INVENTORY] = {&door_inventory_shape, "inventory"},
    [DOOR_WORK] = {&door_work_shape, "work"},
    [DOOR_STAGE] = {&door_stage_shape, "stage"},
    [DOOR_SNAPSHOT] = {&door_snapshot_shape, "snapshot"},
    [DOOR_COPIED] = {&door_run_shape, "copied"},
    [DOOR_FAILED] = {&door_failed_shape, "failed"},
    [DOOR_COMMITTED] = {&door_run_shape, "committed"},
    [DOOR_CANCEL] = {&door_run_shape, "cancel"},
    [DOOR_RELEASED] = {&door_run_shape, "released"},
    [DOOR_FORGET] = {&door_forget_shape, "forget"},
    [DOOR_FORGOTTEN] = {&door_forget_shape, "forgotten"},
    [DOOR_RETIRE] = {&door_retire_shape, "retire"},
    [DOOR_STREAM] = {&door_stream_shape, "stream"},
    [DOOR_READY] = {&door_ready_shape, "ready"},
    [DOOR_LAYOUT] = {&door_layout_shape, "layout"},
    [DOOR_OUTLINE_WANTED] = {&door_outline_shape, "outline wanted"},
    [DOOR_OUTLINE] = {&door_outline_shape, "outline"},
    [DOOR_REGION] = {&door_region_shape, "region"},
    [DOOR_NEED] = {&door_need_shape, "need"},
    [DOOR_CHUNK] = {&door_chunk_shape, "chunk"},
    [DOOR_DURABLE] = {&door_durable_shape, "durable"},
    [DOOR_PROGRESS] = {&door_progress_shape, "progress"},
    [DOOR_FINISH] = {&nothing_shape, "finish"},
    [DOOR_FINISHED] = {&door_finished_shape, "finished"},
};

const struct shape *door_shape(uint16_t type)
{
	return type < sizeof entries / sizeof *entries ? entries[type].shape : NULL;
}

const char *door_word(uint16_t type)
{
	const char *word = type < sizeof entries / sizeof *entries ? entries[type].word : NULL;
	return word ? word : "unknown";
}
