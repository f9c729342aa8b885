/* What the tests in C share. */

#ifndef SUPPORT_H
#define SUPPORT_H

#include "warmheap.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB (UINT64_C(1) << 20)
/* Fixed heaps. */
#define SMALL "{heap_size_mb: 64, num_heaps: 2, warmup_sizes: []}"

static inline wh_pool open_pool(const char *device, const char *config) {
    wh_pool pool = {0};
    if (wh_pool_open(device, config, &pool) != WH_OK) {
        fprintf(stderr, "%s\n", wh_last_error());
        abort();
    }
    return pool;
}

static inline wh_buffer get(wh_pool pool, uint64_t size) {
    wh_buffer buffer = {0};
    assert(wh_allocate(pool, size, 0, 0, "c", &buffer) == WH_OK);
    return buffer;
}

static inline wh_statistics figures(wh_pool pool) {
    wh_statistics statistics = {.struct_size = sizeof statistics};
    assert(wh_pool_statistics(pool, &statistics) == WH_OK);
    return statistics;
}

static inline wh_buffer_info place(wh_buffer buffer) {
    wh_buffer_info info = {.struct_size = sizeof info};
    assert(wh_inspect(buffer, &info) == WH_OK);
    return info;
}

#endif
