/* Statistics as texts, and recordings, from a C program; misuse too. Prints nothing when all is well. */

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
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

/* Returns how often `part` is in `text`. */
static int count(const char *text, const char *part) {
    int number = 0;
    for (; (text = strstr(text, part)) != NULL; text++) {
        number++;
    }
    return number;
}

static void several_pools_have_one_page(void) {
    wh_pool pools[] = {open_pool("sim", NULL), open_pool("sim:discrete", NULL)};
    const char *names[] = {"weights", "a \"b\""};
    wh_buffer buffers[] = {get(pools[0], MIB), get(pools[1], 3 * MIB)};
    size_t needed = 0;
    assert(wh_pools_prometheus(pools, names, 2, NULL, 0, &needed) == WH_OK && needed > 100);
    char *text = malloc(needed);
    assert(wh_pools_prometheus(pools, names, 2, text, needed, NULL) == WH_OK && strlen(text) + 1 == needed);
    assert(count(text, "# TYPE warmheap_allocations_total ") == 1);
    assert(count(text, "\nwarmheap_allocations_total{") == 2);
    assert(strstr(text, "warmheap_allocations_total{pool=\"weights\"} 1\n") != NULL);
    assert(strstr(text, "warmheap_allocations_total{pool=\"a \\\"b\\\"\"} 1\n") != NULL);
    assert(wh_pools_prometheus(pools, names, 2, text, 10, &needed) == WH_OK && strlen(text) == 9);

    /* No pool, no text. What is wrong is refused, and nothing is written. */
    assert(wh_pools_prometheus(NULL, NULL, 0, text, 10, &needed) == WH_OK && needed == 1 && text[0] == 0);
    text[0] = 'x';
    assert(wh_pools_prometheus(NULL, names, 2, text, 10, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_pools_prometheus(pools, NULL, 2, text, 10, NULL) == WH_INVALID_ARGUMENT);
    names[1] = NULL;
    assert(wh_pools_prometheus(pools, names, 2, text, 10, NULL) == WH_INVALID_ARGUMENT);
    assert(strstr(wh_last_error(), "names[1]") != NULL);
    names[1] = "weights";
    assert(wh_pools_prometheus(pools, names, 2, text, 10, NULL) == WH_INVALID_ARGUMENT);
    assert(strstr(wh_last_error(), "weights") != NULL);
    names[1] = "caches";
    assert(wh_free(buffers[0]) == WH_OK && wh_free(buffers[1]) == WH_OK);
    assert(wh_pool_close(pools[1]) == WH_OK);
    assert(wh_pools_prometheus(pools, names, 2, text, 10, NULL) == WH_INVALID_HANDLE && text[0] == 'x');
    free(text);
    assert(wh_pool_close(pools[0]) == WH_OK);
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
    figures_come_as_texts();
    several_pools_have_one_page();
    a_recording_shows_what_was_done();
    return 0;
}
