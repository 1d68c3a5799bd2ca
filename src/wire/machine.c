// SPDX-License-Identifier: Apache-2.0
#include "wire/machine.h"

#include "base/limits.h"

static const struct field machine_disk_fields[] = {
    FIELD_TEXT_OF(machine_disk, key, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine_disk, path, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine_disk, format, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine_disk, bus, LIMIT_NAME_BYTES),
    FIELD_INT_OF(machine_disk, size_bytes, INT64_MAX),
    FIELD_INT_OF(machine_disk, boot_order, INT64_MAX),
    FIELD_TEXT_OF(machine_disk, refusal, LIMIT_SENTENCE_BYTES),
};
const struct shape machine_disk_shape = SHAPE(machine_disk, machine_disk_fields);

static const struct field machine_nic_fields[] = {
    FIELD_TEXT_OF(machine_nic, mac, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine_nic, network, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine_nic, model, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine_nic, addresses, LIMIT_NAME_BYTES),
};
const struct shape machine_nic_shape = SHAPE(machine_nic, machine_nic_fields);

static const struct field machine_fields[] = {
    FIELD_TEXT_OF(machine, vm_id, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine, name, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine, path, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine, guest_os, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine, firmware, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine, machine, LIMIT_NAME_BYTES),
    FIELD_TEXT_OF(machine, power, LIMIT_NAME_BYTES),
    FIELD_INT_OF(machine, vcpus, INT64_MAX),
    FIELD_INT_OF(machine, memory_bytes, INT64_MAX),
    FIELD_LIST_OF(machine, disks, LIMIT_DISKS_PER_SERVER, &machine_disk_shape),
    FIELD_LIST_OF(machine, nics, LIMIT_NICS_PER_SERVER, &machine_nic_shape),
    FIELD_TEXT_OF(machine, refusal, LIMIT_SENTENCE_BYTES),
};
const struct shape machine_shape = SHAPE(machine, machine_fields);
