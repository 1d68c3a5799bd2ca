// SPDX-License-Identifier: Apache-2.0
#include "copy/flight.h"

#include <stdlib.h>

#include "base/mem.h"

void flights_init(struct flights *all)
{
	*all = (struct flights){0};
	pthread_mutex_init(&all->mutex, NULL);
}

void flight_begin(struct flights *all, struct flight *f, const struct name *base)
{
	*f = (struct flight){.base = *base};
	pthread_mutex_init(&f->mutex, NULL);
	if (!all)
		return;
	pthread_mutex_lock(&all->mutex);
	f->next = all->first;
	all->first = f;
	pthread_mutex_unlock(&all->mutex);
}

void flight_end(struct flights *all, struct flight *f)
{
	if (all) {
		pthread_mutex_lock(&all->mutex);
		for (struct flight **at = &all->first; *at; at = &(*at)->next)
			if (*at == f) {
				*at = f->next;
				break;
			}
		pthread_mutex_unlock(&all->mutex);
	}
	free(f->nodes);
	f->nodes = NULL;
	pthread_mutex_destroy(&f->mutex);
}

void flight_pages(struct flight *f, struct name *pages, uint8_t *done, uint64_t regions)
{
	pthread_mutex_lock(&f->mutex);
	f->pages = pages;
	f->done = done;
	f->regions = regions;
	pthread_mutex_unlock(&f->mutex);
}

void flight_open(struct flight *f, unsigned slot, const struct op *const *data, uint32_t count)
{
	pthread_mutex_lock(&f->mutex);
	f->open[slot] = (struct flight_region){data, count};
	pthread_mutex_unlock(&f->mutex);
}

void flight_node(struct flight *f, const struct name *node)
{
	pthread_mutex_lock(&f->mutex);
	VEC_GROW(f->nodes, f->node_count, f->node_cap);
	f->nodes[f->node_count++] = *node;
	pthread_mutex_unlock(&f->mutex);
}

void flight_close(struct flight *f, unsigned slot, uint64_t region, const struct name *page)
{
	pthread_mutex_lock(&f->mutex);
	if (page) {
		f->pages[region] = *page;
		f->done[region / 8] |= (uint8_t)(1u << region % 8);
	}
	f->open[slot] = (struct flight_region){0};
	f->node_count = 0;
	pthread_mutex_unlock(&f->mutex);
}

static void gather_one(struct flight *f, struct flown *out)
{
	if (!name_is_zero(&f->base)) {
		VEC_GROW(out->bases, out->base_count, out->base_cap);
		out->bases[out->base_count++] = f->base;
	}
	for (uint64_t i = 0; i < f->regions; i++) {
		if (!(f->done[i / 8] >> i % 8 & 1) || name_is_zero(&f->pages[i]))
			continue;
		VEC_GROW(out->pages, out->page_count, out->page_cap);
		out->pages[out->page_count++] = f->pages[i];
	}
	for (size_t i = 0; i < f->node_count; i++) {
		VEC_GROW(out->nodes, out->node_count, out->node_cap);
		out->nodes[out->node_count++] = f->nodes[i];
	}
	for (unsigned r = 0; r < FLIGHT_REGIONS; r++)
		for (uint32_t i = 0; i < f->open[r].count; i++) {
			VEC_GROW(out->chunks, out->chunk_count, out->chunk_cap);
			out->chunks[out->chunk_count++] = f->open[r].data[i]->name;
		}
}

void flights_gather(struct flights *all, struct flown *out)
{
	*out = (struct flown){0};
	pthread_mutex_lock(&all->mutex);
	for (struct flight *f = all->first; f; f = f->next) {
		pthread_mutex_lock(&f->mutex);
		gather_one(f, out);
		pthread_mutex_unlock(&f->mutex);
	}
	pthread_mutex_unlock(&all->mutex);
}

void flown_release(struct flown *flown)
{
	free(flown->bases);
	free(flown->pages);
	free(flown->chunks);
	free(flown->nodes);
	*flown = (struct flown){0};
}
