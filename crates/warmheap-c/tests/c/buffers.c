/* Buffers that grow and buffers that move, from a C program; misuse too. Prints nothing when all is well. */

#include "support.h"

#include <string.h>

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

int main(void) {
    buffers_grow_in_place_or_move();
    movable_buffers_move_unless_pinned();
    return 0;
}
