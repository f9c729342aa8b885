/* Queues and tickets, and handles of the wrong kind, from a C program; misuse too. Prints nothing when all is well. */

#include "support.h"

#include <string.h>

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
    /* It waits for nothing more, but its first work still uses the memory. */
    assert(wh_queue_retired_bytes(queue, &waiting) == WH_OK && waiting == 0);
    assert(wh_queue_close(queue) == WH_WRONG_ORDER && strstr(wh_last_error(), "position 1") != NULL);
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

int main(void) {
    retired_memory_waits_for_its_ticket();
    kinds_of_handles_are_told_apart();
    a_lost_queue_tells_so();
    return 0;
}
