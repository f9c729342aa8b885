/* The whole of the interface, from a C program, and what misuse of it returns. Prints nothing when all is
 * well. */

#include "warmheap.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
/* Heaps that reserve few addresses. Valgrind has fewer than a pool that sizes itself reserves on the host. */
#define SMALL "{heap_size_mb: 64, num_heaps: 2, warmup_sizes: []}"

static wh_pool open_pool(const char *device, const char *config) {
    wh_pool pool = {0};
    if (wh_pool_open(device, config, &pool) != WH_OK) {
        fprintf(stderr, "%s\n", wh_last_error());
        abort();
    }
    return pool;
}

static wh_buffer get(wh_pool pool, uint64_t size) {
    wh_buffer buffer = {0};
    assert(wh_allocate(pool, size, 0, 0, "c", &buffer) == WH_OK);
    return buffer;
}

static wh_statistics figures(wh_pool pool) {
    wh_statistics statistics = {.struct_size = sizeof statistics};
    assert(wh_pool_statistics(pool, &statistics) == WH_OK);
    return statistics;
}

static wh_buffer_info place(wh_buffer buffer) {
    wh_buffer_info info = {.struct_size = sizeof info};
    assert(wh_inspect(buffer, &info) == WH_OK);
    return info;
}

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static void every_device_has_its_name(void) {
    const char *const names[] = {"host", "host:budget=256", "sim", "sim:discrete", "sim:discrete,budget=256",
                                 "sim:purgeable"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        wh_pool pool = open_pool(names[i], SMALL);
        assert(wh_free(get(pool, MIB)) == WH_OK);
        assert(wh_pool_close(pool) == WH_OK);
    }
    wh_pool pool = {0};
    const char *const wrong[] = {"", "hots", "sim:", "host:discrete", "sim:budget=x", "cuda:-1", "host:budget=0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        wh_status status = wh_pool_open(wrong[i], NULL, &pool);
        assert(status != WH_OK || strcmp(wrong[i], "sim:") == 0);
        if (status == WH_OK) {
            assert(wh_pool_close(pool) == WH_OK);
        }
    }
}

static void one_setting_never_changes_how_heaps_are_sized(void) {
    const char *const kept[] = {"trim_after_ms: 200", "track_statistics: false", "scrub: on_free", "wait_ms: 5",
                                "quotas: {kv: 64}", "limits: {hard_mb: 32}", "compaction: {enabled: true}",
                                "metal_optimizations: {memory_pool: {log_exhaustion: false}}",
                                "metal_optimizations: {enabled: true}"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        wh_pool pool = open_pool("sim", kept[i]);
        wh_statistics statistics = figures(pool);
        assert(statistics.reserved_bytes == 0);
        assert(wh_pool_close(pool) == WH_OK);
    }
    const char *const fixed[] = {"heap_size_mb: 32", "num_heaps: 2", "heap_sizing: fixed",
                                 "allocation_strategy: best-fit", "warmup_sizes: [8]"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        wh_pool pool = open_pool("sim", fixed[i]);
        wh_statistics statistics = figures(pool);
        assert(statistics.reserved_bytes > 0);
        assert(wh_pool_close(pool) == WH_OK);
    }
}

static void the_environment_names_a_configuration(void) {
    wh_pool pool = {0};
    assert(setenv("WARMHEAP_CONFIG", "/no/such/file.yaml", 1) == 0);
    assert(wh_pool_open("sim", NULL, &pool) == WH_INVALID_CONFIG);
    assert(strstr(wh_last_error(), "/no/such/file.yaml") != NULL && pool.id == 0);
    pool = open_pool("sim", "wait_ms: 0"); /* a program that names one does not look for it */
    assert(unsetenv("WARMHEAP_CONFIG") == 0 && wh_pool_close(pool) == WH_OK);
    assert(setenv("WARMHEAP_NUM_HEPS", "2", 1) == 0);
    assert(wh_pool_open("sim", NULL, &pool) == WH_INVALID_CONFIG);
    assert(strstr(wh_last_error(), "WARMHEAP_NUM_HEPS") != NULL && unsetenv("WARMHEAP_NUM_HEPS") == 0);
}

static void requests_say_what_they_want(void) {
    wh_pool pool = open_pool("host", SMALL);
    wh_request request = WH_REQUEST_INIT;
    wh_buffer buffer = {0};
    assert(wh_allocate_with(pool, &request, &buffer) == WH_INVALID_ARGUMENT); /* no bytes */
    request.size = 100;
    request.align = 65536;
    request.flags = WH_ZEROED | WH_NO_FALLBACK | WH_NO_WAIT;
    request.tag = "whole";
    assert(wh_allocate_with(pool, &request, &buffer) == WH_OK);
    assert(place(buffer).device_address % 65536 == 0);

    char report[400];
    size_t needed = 0;
    assert(wh_pool_leak_report(pool, report, sizeof report, &needed) == WH_OK);
    assert(needed == strlen(report) + 1);
    assert(strstr(report, "whole.c:") != NULL && strstr(report, "tagged \"whole\"") != NULL);
    assert(wh_free(buffer) == WH_OK);

    wh_buffer plain = get(pool, 64);
    assert(wh_pool_leak_report(pool, report, sizeof report, NULL) == WH_OK);
    assert(strstr(report, "whole.c:") != NULL && strstr(report, "tagged \"c\"") != NULL);
    assert(wh_free(plain) == WH_OK);
    wh_status (*by_pointer)(wh_pool, uint64_t, uint64_t, uint32_t, const char *, wh_buffer *) = wh_allocate;
    assert(by_pointer(pool, 64, 0, 0, NULL, &plain) == WH_OK);
    assert(wh_free(plain) == WH_OK);

    request.flags = UINT32_C(1) << 31;
    assert(wh_allocate_with(pool, &request, &buffer) == WH_INVALID_ARGUMENT);
    request.flags = WH_MOVABLE;
    request.growable = MIB;
    assert(wh_allocate_with(pool, &request, &buffer) == WH_INVALID_ARGUMENT);
    request.flags = WH_NO_WAIT;
    request.wait_ms = 1;
    assert(wh_allocate_with(pool, &request, &buffer) == WH_INVALID_ARGUMENT);
    request.wait_ms = UINT64_MAX;
    request.flags = 0;
    assert(wh_allocate_with(pool, &request, &buffer) == WH_OK);
    assert(wh_free(buffer) == WH_OK);
    request.struct_size = 0;
    assert(wh_allocate_with(pool, &request, &buffer) == WH_INVALID_ARGUMENT);
    assert(strstr(wh_last_error(), "struct_size") != NULL);
    request.struct_size = sizeof request + 8;
    assert(wh_allocate_with(pool, &request, &buffer) == WH_INVALID_ARGUMENT);
    assert(wh_allocate_with(pool, NULL, &buffer) == WH_INVALID_ARGUMENT);
    wh_buffer_info info = {0};
    assert(wh_inspect(get(pool, 8), &info) == WH_INVALID_ARGUMENT);
    assert(wh_pool_close(pool) == WH_OK);
}

static void quotas_have_an_error_of_their_own(void) {
    wh_pool pool = open_pool("sim", NULL);
    uint64_t quota = 1, used = 1;
    assert(wh_pool_quota(pool, "kv", &quota, &used) == WH_OK);
    assert(quota == UINT64_MAX && used == 0);
    assert(wh_pool_set_quota(pool, "kv", MIB) == WH_OK);
    wh_buffer first = {0}, second = {0};
    assert(wh_allocate(pool, MIB, 0, 0, "kv", &first) == WH_OK);
    assert(wh_allocate(pool, 1, 0, 0, "kv", &second) == WH_QUOTA_EXCEEDED);
    assert(strstr(wh_last_error(), "kv") != NULL);
    assert(wh_pool_quota(pool, "kv", &quota, &used) == WH_OK);
    assert(quota == MIB && used == MIB);
    assert(wh_pool_remove_quota(pool, "kv") == WH_OK);
    assert(wh_allocate(pool, 1, 0, 0, "kv", &second) == WH_OK);
    assert(wh_free(first) == WH_OK && wh_free(second) == WH_OK);
    assert(wh_pool_set_quota(pool, NULL, 1) == WH_INVALID_ARGUMENT);
    assert(wh_pool_set_quota(pool, "", 1) == WH_INVALID_ARGUMENT);
    assert(wh_pool_quota(pool, "kv", NULL, NULL) == WH_OK);
    assert(wh_pool_close(pool) == WH_OK);
    assert(wh_pool_set_quota(pool, "kv", 1) == WH_INVALID_HANDLE);
}

static void retired_memory_waits_for_its_ticket(void) {
    wh_pool pool = open_pool("sim", "limits: {hard_mb: 8}"), other = open_pool("sim", NULL);
    wh_queue queue = {0}, foreign = {0};
    wh_ticket ticket = {0}, strange = {0};
    uint64_t waiting = 0, freed = 0;
    bool done = true;
    assert(wh_queue_open(pool, &queue) == WH_OK && wh_queue_open(other, &foreign) == WH_OK);
    assert(wh_queue_signal(foreign, &strange) == WH_OK);

    wh_buffer buffer = get(pool, 6 * MIB);
    uint64_t address = place(buffer).device_address;
    assert(wh_retire(buffer, (wh_ticket){queue, 1}) == WH_INVALID_ARGUMENT); /* never signalled */
    assert(wh_queue_signal(queue, &ticket) == WH_OK);
    assert(wh_retire(buffer, strange) == WH_INVALID_ARGUMENT);
    assert(strstr(wh_last_error(), "another pool") != NULL);
    assert(wh_retire(buffer, ticket) == WH_OK);
    assert(wh_retire(buffer, ticket) == WH_INVALID_HANDLE && wh_free(buffer) == WH_INVALID_HANDLE);
    assert(wh_queue_retired_bytes(queue, &waiting) == WH_OK && waiting == 6 * MIB);
    assert(wh_ticket_wait(ticket, 0, &done) == WH_OK && !done);
    assert(wh_ticket_wait(ticket, 20, &done) == WH_OK && !done);
    assert(wh_queue_close(queue) == WH_WRONG_ORDER);

    /* Nothing else fits below the limit, with or without a wait. */
    wh_request request = WH_REQUEST_INIT;
    request.size = 6 * MIB;
    assert(wh_allocate_with(pool, &request, &buffer) == WH_OUT_OF_MEMORY);
    request.wait_ms = 20;
    assert(wh_allocate_with(pool, &request, &buffer) == WH_OUT_OF_MEMORY);
    assert(strstr(wh_last_error(), "waited") != NULL);
    /* The same queue has it at once. */
    assert(wh_queue_allocate(queue, &request, &buffer) == WH_OK);
    assert(place(buffer).device_address == address);
    wh_ticket second = {0};
    assert(wh_queue_signal(queue, &second) == WH_OK && wh_retire(buffer, second) == WH_OK);

    assert(wh_queue_complete(ticket) == WH_OK);
    assert(wh_ticket_wait(ticket, 0, &done) == WH_OK && done);
    assert(wh_ticket_wait(second, 0, &done) == WH_OK && !done);
    assert(wh_queue_complete(second) == WH_OK && wh_queue_complete(ticket) == WH_OK);
    assert(wh_queue_poll(queue, &freed) == WH_OK && freed == 1);
    assert(wh_queue_poll(queue, NULL) == WH_OK);
    assert(wh_allocate_with(pool, &request, &buffer) == WH_OK && wh_free(buffer) == WH_OK);

    request.flags = WH_MOVABLE;
    assert(wh_queue_allocate(queue, &request, &buffer) == WH_INVALID_ARGUMENT);
    assert(wh_queue_signal(queue, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_ticket_wait(ticket, 0, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_queue_retired_bytes(queue, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_queue_open(pool, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_queue_open_stream(pool, NULL, &queue) == WH_INVALID_ARGUMENT); /* the host has no streams */
    assert(wh_queue_close(queue) == WH_OK && wh_queue_close(queue) == WH_INVALID_HANDLE);
    assert(wh_queue_complete(ticket) == WH_INVALID_HANDLE);
    assert(wh_ticket_wait(ticket, 0, &done) == WH_INVALID_HANDLE);
    assert(wh_retire(get(pool, 1), ticket) == WH_INVALID_HANDLE);
    assert(wh_queue_signal((wh_queue){0}, &ticket) == WH_INVALID_HANDLE);

    /* A pool may close before its queues. */
    assert(wh_queue_open(pool, &queue) == WH_OK && wh_queue_signal(queue, &ticket) == WH_OK);
    buffer = get(pool, MIB);
    assert(wh_pool_close(pool) == WH_OK);
    request.flags = 0;
    wh_buffer none = {0};
    assert(wh_queue_allocate(queue, &request, &none) == WH_INVALID_HANDLE && none.id == 0);
    assert(wh_queue_open(pool, &foreign) == WH_INVALID_HANDLE);
    assert(wh_retire(buffer, ticket) == WH_OK && wh_queue_complete(ticket) == WH_OK);
    assert(wh_queue_close(queue) == WH_OK);
    assert(wh_pool_close(other) == WH_OK);
}

/* A handle of one kind in place of another, as a binding without types may pass it. */
static void kinds_of_handles_are_told_apart(void) {
    wh_pool pool = open_pool("sim", NULL);
    wh_queue queue = {0};
    wh_ticket ticket = {0};
    wh_buffer buffers[100];
    assert(wh_queue_open(pool, &queue) == WH_OK && wh_queue_signal(queue, &ticket) == WH_OK);
    for (int i = 0; i < 100; i++) {
        buffers[i] = get(pool, 64);
        assert(wh_pool_close((wh_pool){buffers[i].id}) == WH_INVALID_HANDLE);
        assert(wh_queue_close((wh_queue){buffers[i].id}) == WH_INVALID_HANDLE);
        assert(wh_retire(buffers[i], (wh_ticket){{buffers[i].id}, 1}) == WH_INVALID_HANDLE);
    }
    assert(wh_free((wh_buffer){pool.id}) == WH_INVALID_HANDLE && wh_free((wh_buffer){queue.id}) == WH_INVALID_HANDLE);
    assert(wh_pool_close((wh_pool){queue.id}) == WH_INVALID_HANDLE);
    assert(wh_queue_close((wh_queue){pool.id}) == WH_INVALID_HANDLE);
    for (int i = 0; i < 100; i++) {
        assert(wh_free(buffers[i]) == WH_OK);
    }
    assert(wh_queue_close(queue) == WH_OK && wh_pool_close(pool) == WH_OK);
}

static void a_lost_queue_tells_so(void) {
    wh_pool pool = open_pool("sim", NULL);
    wh_queue queue = {0};
    wh_ticket ticket = {0};
    bool done = false;
    assert(wh_queue_open(pool, &queue) == WH_OK && wh_queue_signal(queue, &ticket) == WH_OK);
    assert(wh_queue_lose(queue, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_queue_lose(queue, "the worker died") == WH_OK);
    assert(wh_ticket_wait(ticket, 1000, &done) == WH_QUEUE_LOST && !done);
    assert(strstr(wh_last_error(), "the worker died") != NULL);
    assert(wh_retire(get(pool, 64), ticket) == WH_OK);
    assert(wh_queue_poll(queue, NULL) == WH_QUEUE_LOST);
    assert(wh_queue_close(queue) == WH_OK && wh_pool_close(pool) == WH_OK);
}

static void buffers_grow_in_place_or_move(void) {
    wh_pool pool = open_pool("host", SMALL);
    wh_request request = WH_REQUEST_INIT;
    request.size = MIB;
    request.growable = 64 * MIB;
    wh_buffer cache = {0}, left = {UINT64_C(7)};
    assert(wh_allocate_with(pool, &request, &cache) == WH_OK);
    wh_buffer_info before = place(cache);
    memset(before.host_ptr, 0x5A, MIB);
    assert(wh_grow(cache, 8 * MIB) == WH_OK && wh_grow(cache, 1) == WH_OK);
    assert(place(cache).size == 8 * MIB && place(cache).device_address == before.device_address);

    /* Whichever way the places run, the one in the middle has another behind it. */
    wh_buffer wall = get(pool, 64), small = get(pool, 64), second = get(pool, 64);
    memset(place(small).host_ptr, 0x77, 64);
    assert(wh_grow(small, 32 * MIB) == WH_CANNOT_GROW && place(small).size == 64);
    request.size = 32 * MIB;
    request.growable = 0;
    assert(wh_grow_or_move(small, &request, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_grow_or_move(small, &request, &left) == WH_OK && left.id != 0 && left.id != small.id);
    assert(place(small).size == 32 * MIB && ((char *)place(small).host_ptr)[63] == 0x77);
    assert(place(left).size == 64 && wh_free(left) == WH_OK);
    assert(wh_grow_or_move(small, &request, &left) == WH_OK && left.id == 0);
    assert(wh_grow(small, UINT64_MAX) == WH_CANNOT_GROW);
    assert(wh_free(small) == WH_OK && wh_grow(small, 1) == WH_INVALID_HANDLE);
    assert(wh_grow_or_move(small, &request, &left) == WH_INVALID_HANDLE);
    assert(wh_free(cache) == WH_OK && wh_free(wall) == WH_OK && wh_free(second) == WH_OK);
    assert(wh_pool_close(pool) == WH_OK);
}

static void movable_buffers_move_unless_pinned(void) {
    wh_pool pool = open_pool("host", "{heap_size_mb: 32, num_heaps: 1, warmup_sizes: [], thread_cache_mb: 0}");
    wh_request request = WH_REQUEST_INIT;
    request.size = 2 * MIB;
    request.flags = WH_MOVABLE;
    wh_buffer movable[12] = {{0}};
    wh_buffer_info info = {.struct_size = sizeof info};
    wh_queue queue = {0};
    wh_ticket ticket = {0};
    assert(wh_queue_open(pool, &queue) == WH_OK && wh_queue_signal(queue, &ticket) == WH_OK);
    for (int i = 0; i < 12; i++) {
        assert(wh_allocate_with(pool, &request, &movable[i]) == WH_OK);
        assert(wh_inspect(movable[i], &info) == WH_WRONG_ORDER);
        assert(wh_in_flight_until(movable[i], ticket) == WH_WRONG_ORDER);
        assert(wh_unpin(movable[i]) == WH_WRONG_ORDER);
        assert(wh_pin(movable[i], &info) == WH_OK && info.moves == 0);
        memset(info.host_ptr, i, info.size);
        assert(wh_unpin(movable[i]) == WH_OK);
    }
    for (int i = 0; i < 12; i += 2) {
        assert(wh_free(movable[i]) == WH_OK);
    }
    /* Two pins on one buffer, and work in flight on another: both stay. */
    assert(wh_pin(movable[11], &info) == WH_OK && wh_pin(movable[11], &info) == WH_OK);
    assert(wh_free(movable[11]) == WH_WRONG_ORDER && wh_unpin(movable[11]) == WH_OK);
    uint64_t pinned_at = info.device_address;
    assert(wh_pin(movable[9], &info) == WH_OK && wh_in_flight_until(movable[9], ticket) == WH_OK);
    uint64_t used_at = info.device_address;
    assert(wh_unpin(movable[9]) == WH_OK);

    wh_compaction report = {.struct_size = sizeof report};
    assert(wh_pool_compact(pool, 0, 0, &report) == WH_OK);
    assert(report.finished && report.busy_buffers >= 2 && report.moved_buffers >= 1);
    assert(wh_inspect(movable[11], &info) == WH_OK && info.device_address == pinned_at);
    assert(wh_pin(movable[9], &info) == WH_OK && info.device_address == used_at && wh_unpin(movable[9]) == WH_OK);
    assert(wh_unpin(movable[11]) == WH_OK && wh_unpin(movable[11]) == WH_WRONG_ORDER);
    assert(wh_queue_complete(ticket) == WH_OK);
    assert(wh_pool_compact(pool, 0, 0, NULL) == WH_OK);

    uint64_t moves = 0;
    for (int i = 1; i < 12; i += 2) {
        assert(wh_grow(movable[i], 4 * MIB) == WH_INVALID_ARGUMENT);
        assert(wh_pin(movable[i], &info) == WH_OK);
        const unsigned char *bytes = info.host_ptr;
        assert(bytes[0] == i && bytes[info.size - 1] == i);
        moves += info.moves;
    }
    assert(moves >= 3 && figures(pool).moved_buffers == moves);
    /* A pool that its queue keeps open moves nothing that is pinned from now on. */
    assert(wh_unpin(movable[1]) == WH_OK && wh_pool_close(pool) == WH_OK);
    assert(wh_pin(movable[1], &info) == WH_OK && wh_unpin(movable[1]) == WH_OK);
    assert(wh_retire(movable[3], ticket) == WH_OK && wh_unpin(movable[3]) == WH_INVALID_HANDLE);
    assert(wh_queue_close(queue) == WH_OK);
    for (int i = 5; i < 12; i += 2) {
        assert(wh_unpin(movable[i]) == WH_OK && wh_free(movable[i]) == WH_OK);
    }
    assert(wh_free(movable[1]) == WH_OK);
    wh_buffer fixed = get(open_pool("sim", NULL), 64);
    assert(wh_pin(fixed, &info) == WH_INVALID_ARGUMENT && wh_unpin(fixed) == WH_INVALID_ARGUMENT);
    assert(wh_pin(fixed, NULL) == WH_INVALID_ARGUMENT && wh_free(fixed) == WH_OK);
}

struct cache {
    wh_buffer kept;
    int calls, released;
    uint64_t requested;
};

static void give_up(void *user, wh_pool pool, const wh_pressure *pressure) {
    struct cache *cache = user;
    assert(pressure->struct_size == sizeof *pressure);
    cache->calls++;
    if (pressure->kind == WH_PRESSURE_EXHAUSTED && cache->kept.id != 0) {
        cache->requested = pressure->requested;
        /* It may call the library, with the pool that is short. */
        assert(figures(pool).active_allocations >= 1);
        assert(wh_free(cache->kept) == WH_OK);
        cache->kept.id = 0;
    }
}

static void release(void *user) {
    ((struct cache *)user)->released++;
}

static void a_callback_frees_what_it_can(void) {
    wh_pool pool = open_pool("sim", "limits: {hard_mb: 16}");
    struct cache cache = {get(pool, 12 * MIB), 0, 0, 0};
    assert(wh_pool_on_pressure(pool, NULL, &cache, release) == WH_INVALID_ARGUMENT && cache.released == 0);
    assert(wh_pool_on_pressure(pool, give_up, &cache, release) == WH_OK);
    wh_buffer buffer = get(pool, 10 * MIB);
    assert(cache.kept.id == 0 && cache.requested == 10 * MIB && cache.calls >= 1);
    wh_buffer none = {0};
    assert(wh_allocate(pool, 10 * MIB, 0, 0, NULL, &none) == WH_OUT_OF_MEMORY);
    /* Growth that meets pressure may free other buffers of the same program. */
    cache.kept = get(pool, 2 * MIB);
    wh_request request = WH_REQUEST_INIT;
    request.size = 15 * MIB;
    assert(wh_grow_or_move(buffer, &request, &none) != WH_OK || none.id == 0 || wh_free(none) == WH_OK);
    assert(wh_free(buffer) == WH_OK);
    if (cache.kept.id != 0) {
        assert(wh_free(cache.kept) == WH_OK);
    }
    assert(cache.released == 0 && wh_pool_close(pool) == WH_OK && cache.released == 1);
    assert(wh_pool_on_pressure(pool, give_up, &cache, release) == WH_INVALID_HANDLE && cache.released == 1);
}

struct lines {
    pthread_mutex_t lock;
    char text[4000];
    int count, worst;
};

static void keep_line(void *user, const wh_log_record *record) {
    struct lines *lines = user;
    assert(record->struct_size == sizeof *record && record->fields[0] == '{');
    pthread_mutex_lock(&lines->lock);
    lines->count++;
    if (lines->worst == 0 || (int)record->level < lines->worst) {
        lines->worst = (int)record->level;
    }
    size_t used = strlen(lines->text);
    snprintf(lines->text + used, sizeof lines->text - used, "%s %s\n", record->message, record->fields);
    pthread_mutex_unlock(&lines->lock);
    /* A callback may use the library, and its own records do not come back to it. */
    wh_pool pool = open_pool("sim", NULL);
    assert(wh_free(get(pool, 1)) == WH_OK && wh_pool_close(pool) == WH_OK);
}

static void the_log_comes_to_the_program(void) {
    struct lines lines = {.lock = PTHREAD_MUTEX_INITIALIZER};
    assert(wh_set_log(keep_line, &lines, 0) == WH_INVALID_ARGUMENT);
    assert(wh_set_log(keep_line, &lines, 9) == WH_INVALID_ARGUMENT);
    assert(wh_set_log(keep_line, &lines, WH_LOG_DEBUG) == WH_OK);
    wh_pool pool = open_pool("sim", "{heap_size_mb: 32, num_heaps: 1, warmup_sizes: [64]}");
    assert(strstr(lines.text, "64") != NULL); /* the warm-up size that does not fit */
    wh_buffer fallback = get(pool, 40 * MIB);
    assert(strstr(lines.text, "Heap exhausted for 40.0MB allocation") != NULL);
    assert(strstr(lines.text, "Consider increasing heap_size_mb or num_heaps") != NULL);
    assert(wh_pool_close(pool) == WH_OK);
    assert(strstr(lines.text, "Memory leak detected!") != NULL && strstr(lines.text, "whole.c:") != NULL);
    assert(lines.worst == WH_LOG_ERROR && wh_free(fallback) == WH_OK);

    int before = lines.count;
    assert(wh_set_log(keep_line, &lines, WH_LOG_ERROR) == WH_OK);
    assert(wh_pool_close(open_pool("sim", NULL)) == WH_OK && lines.count == before);
    assert(wh_set_log(NULL, NULL, 0) == WH_OK);
    pool = open_pool("sim", NULL);
    fallback = get(pool, 1);
    assert(wh_pool_close(pool) == WH_OK && wh_free(fallback) == WH_OK && lines.count == before);
}

static void figures_come_as_texts(void) {
    wh_pool pool = open_pool("sim", NULL);
    wh_buffer buffer = get(pool, 3 * MIB);
    size_t needed = 0;
    assert(wh_pool_statistics_json(pool, NULL, 0, &needed) == WH_OK && needed > 100);
    char *text = malloc(needed);
    assert(wh_pool_statistics_json(pool, text, needed, NULL) == WH_OK);
    assert(text[0] == '{' && ends_with(text, "}") && strstr(text, "\"active_allocations\":") != NULL);
    /* What does not fit is cut, and ends with a zero byte. */
    memset(text, 'x', needed);
    assert(wh_pool_statistics_json(pool, text, 10, NULL) == WH_OK && strlen(text) == 9 && text[10] == 'x');
    assert(wh_pool_statistics_json(pool, text, 1, NULL) == WH_OK && text[0] == 0);
    assert(wh_pool_statistics_json(pool, NULL, 10, &needed) == WH_INVALID_ARGUMENT);
    assert(wh_pool_statistics_json(pool, NULL, 0, NULL) == WH_INVALID_ARGUMENT);
    free(text);

    assert(wh_pool_prometheus(pool, "main", NULL, 0, &needed) == WH_OK);
    text = malloc(needed);
    assert(wh_pool_prometheus(pool, "main", text, needed, &needed) == WH_OK);
    assert(strstr(text, "{pool=\"main\"") != NULL && strstr(text, "# TYPE warmheap_") != NULL);
    free(text);
    assert(wh_pool_prometheus(pool, NULL, NULL, 0, &needed) == WH_INVALID_ARGUMENT);

    char settings[4000];
    assert(wh_pool_settings(pool, settings, sizeof settings, NULL) == WH_OK);
    assert(strstr(settings, "heap_sizing: elastic") != NULL);
    wh_pool twin = open_pool("sim", settings);
    assert(wh_pool_close(twin) == WH_OK);

    assert(wh_free(buffer) == WH_OK);
    uint64_t bytes = 7, next = 0;
    assert(wh_pool_make_purgeable(pool, &bytes) == WH_OK && wh_pool_make_purgeable(pool, NULL) == WH_OK);
    assert(wh_pool_maintain(pool, 100, &next) == WH_OK && next <= 100 && wh_pool_maintain(pool, 1, NULL) == WH_OK);
    assert(wh_pool_close(pool) == WH_OK);
    assert(wh_pool_statistics_json(pool, settings, sizeof settings, NULL) == WH_INVALID_HANDLE);
    assert(wh_pool_prometheus(pool, "p", settings, sizeof settings, NULL) == WH_INVALID_HANDLE);
    assert(wh_pool_leak_report(pool, settings, sizeof settings, NULL) == WH_INVALID_HANDLE);
    assert(wh_pool_settings(pool, settings, sizeof settings, NULL) == WH_INVALID_HANDLE);
    assert(wh_pool_maintain(pool, 1, NULL) == WH_INVALID_HANDLE);
    assert(wh_pool_make_purgeable(pool, NULL) == WH_INVALID_HANDLE);
    assert(wh_pool_compact(pool, 0, 0, NULL) == WH_INVALID_HANDLE);
}

/* Reads the trace of the recording, without its header, as "action,size" separated by spaces. */
static void read_trace(const char *path, char *events, size_t room) {
    FILE *file = fopen(path, "r");
    char line[300], action[40], pointer[40];
    unsigned long long size;
    assert(file != NULL && fgets(line, sizeof line, file) != NULL);
    events[0] = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        assert(sscanf(line, "%*[^,],%*[^,],%39[^,],%39[^,],%llu", action, pointer, &size) == 3);
        size_t used = strlen(events);
        snprintf(events + used, room - used, "%s,%llu ", action, size);
    }
    fclose(file);
}

static void a_recording_shows_what_was_done(void) {
    char path[] = "/tmp/warmheap-c-XXXXXX";
    int file = mkstemp(path);
    assert(file >= 0 && close(file) == 0);
    wh_pool pool = open_pool("sim", "limits: {hard_mb: 64}");
    uint64_t events = 0;
    wh_buffer before = get(pool, 11);
    assert(wh_pool_stop_recording(pool, &events) == WH_WRONG_ORDER);
    assert(wh_pool_record(pool, "/no/such/folder/t.csv") == WH_FILE_ERROR);
    assert(wh_pool_record(pool, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_pool_record(pool, path) == WH_OK && wh_pool_record(pool, path) == WH_WRONG_ORDER);

    wh_queue queue = {0};
    wh_ticket ticket = {0};
    wh_buffer left = {0}, reused = {0};
    wh_request request = WH_REQUEST_INIT;
    assert(wh_queue_open(pool, &queue) == WH_OK);
    wh_buffer buffer = get(pool, 100), wall = get(pool, 200);
    request.size = 1000000;
    assert(wh_grow_or_move(buffer, &request, &left) == WH_OK && left.id != 0);
    assert(wh_free(left) == WH_OK);
    assert(wh_grow(buffer, 2000000) == WH_OK); /* it has room since it moved */
    assert(wh_queue_signal(queue, &ticket) == WH_OK && wh_retire(buffer, ticket) == WH_OK);
    request.size = 300;
    assert(wh_queue_allocate(queue, &request, &reused) == WH_OK);
    request.size = 100 * MIB;
    assert(wh_allocate_with(pool, &request, &left) == WH_OUT_OF_MEMORY);
    assert(wh_queue_complete(ticket) == WH_OK);
    request.size = 400;
    request.flags = WH_MOVABLE;
    wh_buffer movable = {0};
    assert(wh_allocate_with(pool, &request, &movable) == WH_OK && wh_free(movable) == WH_OK);
    assert(wh_pool_stop_recording(pool, &events) == WH_OK);
    assert(wh_free(wall) == WH_OK && wh_free(reused) == WH_OK && wh_free(before) == WH_OK);

    char trace[1000];
    read_trace(path, trace, sizeof trace);
    const char *expected = "allocate,100 allocate,200 allocate,1000000 free,100 free,1000000 allocate,2000000 "
                           "allocate,300 allocate failure,104857600 free,2000000 allocate,400 free,400 ";
    if (strcmp(trace, expected) != 0) {
        fprintf(stderr, "%s\n", trace);
        abort();
    }
    assert(events == 11);
    /* A full disk is told at the end, and the program has gone on. */
    if (access("/dev/full", W_OK) == 0) {
        assert(wh_pool_record(pool, "/dev/full") == WH_OK);
        assert(wh_free(get(pool, 5)) == WH_OK);
        assert(wh_pool_stop_recording(pool, &events) == WH_FILE_ERROR && wh_last_error()[0] != 0);
        assert(wh_pool_stop_recording(pool, &events) == WH_WRONG_ORDER);
    }
    /* Closing ends a recording, too. */
    assert(wh_pool_record(pool, path) == WH_OK && wh_free(get(pool, 5)) == WH_OK);
    assert(wh_queue_close(queue) == WH_OK && wh_pool_close(pool) == WH_OK);
    read_trace(path, trace, sizeof trace);
    assert(strcmp(trace, "allocate,5 free,5 ") == 0);
    assert(wh_pool_record(pool, path) == WH_INVALID_HANDLE);
    assert(wh_pool_stop_recording(pool, NULL) == WH_INVALID_HANDLE);
    unlink(path);
}

int main(void) {
    every_device_has_its_name();
    one_setting_never_changes_how_heaps_are_sized();
    the_environment_names_a_configuration();
    requests_say_what_they_want();
    quotas_have_an_error_of_their_own();
    retired_memory_waits_for_its_ticket();
    kinds_of_handles_are_told_apart();
    a_lost_queue_tells_so();
    buffers_grow_in_place_or_move();
    movable_buffers_move_unless_pinned();
    a_callback_frees_what_it_can();
    the_log_comes_to_the_program();
    figures_come_as_texts();
    a_recording_shows_what_was_done();
    return 0;
}
