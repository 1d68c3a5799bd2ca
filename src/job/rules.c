// SPDX-License-Identifier: Apache-2.0
#include "job/step.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

#define DAY_MS (24ll * 3600 * 1000)

const struct job_rules job_rules_unlimited = {
    .name = "unlimited",
    .on_demand_per_day = ON_DEMAND_PER_DAY,
};

const struct job_rules job_rules_aws = {
    .name = "aws",
    .concurrent_jobs_max = 50,
    .terminate_after_ms = 90 * DAY_MS,
    .delete_paused_after_ms = 4 * DAY_MS,
    .volumes_max = 22,
    .boot_disk_max_bytes = 2 * TIB,
    .delta_max_bytes = 1 * TIB,
    .on_demand_per_day = ON_DEMAND_PER_DAY,
};

const struct job_rules *job_rules_named(const char *name)
{
	static const struct job_rules *const all[] = {&job_rules_unlimited, &job_rules_aws};
	for (size_t i = 0; i < COUNT_OF(all); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}
