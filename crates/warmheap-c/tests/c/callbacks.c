/* Memory pressure and the log, handed to functions of a C program; misuse too. Prints nothing when all is well. */

#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

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
    /* The callback ends with the handle of the pool, which a queue keeps open. */
    wh_queue queue = {0};
    assert(wh_queue_open(pool, &queue) == WH_OK);
    assert(cache.released == 0 && wh_pool_close(pool) == WH_OK && cache.released == 1);
    assert(wh_queue_close(queue) == WH_OK && cache.released == 1);
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
    assert(strstr(lines.text, "Memory leak detected!") != NULL && strstr(lines.text, "support.h:") != NULL);
    assert(lines.worst == WH_LOG_ERROR && wh_free(fallback) == WH_OK);

    int before = lines.count;
    assert(wh_set_log(keep_line, &lines, WH_LOG_ERROR) == WH_OK);
    assert(wh_pool_close(open_pool("sim", NULL)) == WH_OK && lines.count == before);
    struct lines other = {.lock = PTHREAD_MUTEX_INITIALIZER};
    assert(wh_unset_log(NULL, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_set_log(keep_line, &other, WH_LOG_INFO) == WH_OK && wh_unset_log(keep_line, &lines) == WH_OK);
    assert(wh_pool_close(open_pool("sim", NULL)) == WH_OK && lines.count == before && other.count == 1);
    assert(wh_unset_log(keep_line, &other) == WH_OK && wh_unset_log(keep_line, &other) == WH_OK);
    assert(wh_set_log(NULL, NULL, 0) == WH_OK && other.count == 1);
    pool = open_pool("sim", NULL);
    fallback = get(pool, 1);
    assert(wh_pool_close(pool) == WH_OK && wh_free(fallback) == WH_OK && lines.count == before);
}

int main(void) {
    a_callback_frees_what_it_can();
    the_log_comes_to_the_program();
    return 0;
}
