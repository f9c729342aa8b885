/* What a C program relies on, on the host device. Prints nothing when all is well. */

#include "warmheap.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static const char *const SETTINGS =
    "metal_optimizations: {memory_pool: {heap_size_mb: 32, num_heaps: 2, warmup_sizes: [8]}}";

static wh_pool open_host(const char *config) {
    wh_pool pool = {0};
    if (wh_pool_open("host", config, &pool) != WH_OK) {
        fprintf(stderr, "%s\n", wh_last_error());
        abort();
    }
    return pool;
}

static void versions_agree(void) {
    assert(strcmp(wh_last_error(), "") == 0);
    assert(wh_version() == ((uint32_t)WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR));
    assert(strlen(wh_version_string()) > 0);
}

static void a_buffer_lives_and_dies_once(void) {
    wh_pool pool = open_host(SETTINGS);
    wh_buffer buffer = {0};
    assert(wh_allocate(pool, 3 * MIB, 4096, WH_ZEROED, "kv-cache", &buffer) == WH_OK);

    wh_buffer_info info = {.struct_size = sizeof info};
    assert(wh_inspect(buffer, &info) == WH_OK);
    assert(info.size == 3 * MIB && info.device_address % 4096 == 0 && info.host_ptr != NULL);
    const unsigned char *bytes = info.host_ptr;
    assert(bytes[0] == 0 && bytes[3 * MIB - 1] == 0);
    memset(info.host_ptr, 0xA5, info.size);

    wh_statistics statistics = {.struct_size = sizeof statistics};
    assert(wh_pool_statistics(pool, &statistics) == WH_OK);
    assert(statistics.active_allocations == 1 && statistics.reserved_bytes >= 3 * MIB);

    assert(wh_free(buffer) == WH_OK);
    assert(wh_free(buffer) == WH_INVALID_HANDLE);
    assert(wh_inspect(buffer, &info) == WH_INVALID_HANDLE);

    /* The place is used again; the old handle still names nothing. */
    wh_buffer second = {0};
    assert(wh_allocate(pool, 1, 0, 0, NULL, &second) == WH_OK);
    assert(wh_free(buffer) == WH_INVALID_HANDLE);
    assert(wh_free(second) == WH_OK);

    assert(wh_pool_reset_statistics(pool) == WH_OK);
    assert(wh_pool_statistics(pool, &statistics) == WH_OK);
    assert(statistics.total_allocations == 0);
    assert(wh_pool_close(pool) == WH_OK);
}

static void nonsense_is_answered(void) {
    wh_pool pool = {0};
    wh_buffer buffer = {0};
    assert(wh_pool_open(NULL, NULL, &pool) == WH_INVALID_ARGUMENT);
    assert(wh_pool_open("host", NULL, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_pool_open("hots", NULL, &pool) == WH_INVALID_ARGUMENT);
    assert(strstr(wh_last_error(), "hots") != NULL);
    assert(wh_pool_open("\xff", NULL, &pool) == WH_INVALID_ARGUMENT);
    assert(wh_pool_open("host", "metal_optimizations: {memory_pool: {num_heaps: 0}}", &pool) ==
           WH_INVALID_CONFIG);
    assert(strstr(wh_last_error(), "num_heaps") != NULL);
    assert(wh_pool_open_file("host", "/no/such/file.yaml", &pool) == WH_INVALID_CONFIG);
    assert(wh_pool_open_file("host", NULL, &pool) == WH_INVALID_ARGUMENT);
    assert(wh_pool_open("cuda:999", NULL, &pool) == WH_UNAVAILABLE);

    assert(wh_pool_close(pool) == WH_INVALID_HANDLE);
    assert(wh_pool_trim(pool, 0) == WH_INVALID_HANDLE);
    assert(wh_pool_reset_statistics(pool) == WH_INVALID_HANDLE);
    assert(wh_inspect(buffer, NULL) == WH_INVALID_HANDLE);
    assert(wh_pool_statistics(pool, NULL) == WH_INVALID_HANDLE);
    assert(wh_allocate(pool, 1, 0, 0, NULL, &buffer) == WH_INVALID_HANDLE);
    assert(wh_free(buffer) == WH_INVALID_HANDLE);
    for (int bit = 0; bit < 64; bit++) {
        wh_buffer wild = {UINT64_C(1) << bit};
        wh_pool foreign = {UINT64_MAX >> bit};
        assert(wh_free(wild) == WH_INVALID_HANDLE);
        assert(wh_pool_close(foreign) == WH_INVALID_HANDLE);
    }

    pool = open_host(SETTINGS);
    assert(wh_pool_statistics(pool, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_allocate(pool, 0, 0, 0, NULL, &buffer) == WH_INVALID_ARGUMENT);
    assert(wh_allocate(pool, 1, 3, 0, NULL, &buffer) == WH_INVALID_ARGUMENT);
    assert(wh_allocate(pool, 1, 0, 64, NULL, &buffer) == WH_INVALID_ARGUMENT);
    assert(wh_allocate(pool, 1, 0, 0, "\xff", &buffer) == WH_INVALID_ARGUMENT);
    assert(wh_allocate(pool, 1, 0, 0, NULL, NULL) == WH_INVALID_ARGUMENT);
    assert(wh_allocate(pool, UINT64_MAX, 0, 0, NULL, &buffer) == WH_OUT_OF_MEMORY);
    assert(wh_allocate(pool, UINT64_MAX, UINT64_C(1) << 63, 0, NULL, &buffer) != WH_OK);
    assert(buffer.id == 0);
    assert(wh_allocate(pool, 1, 0, 0, NULL, &buffer) == WH_OK);
    assert(wh_inspect(buffer, NULL) == WH_INVALID_ARGUMENT);
    /* What resembles a live handle names nothing either. */
    for (int bit = 0; bit < 64; bit++) {
        wh_buffer forged = {buffer.id ^ UINT64_C(1) << bit};
        wh_pool likewise = {pool.id ^ UINT64_C(1) << bit};
        assert(wh_free(forged) == WH_INVALID_HANDLE);
        assert(wh_pool_close(likewise) == WH_INVALID_HANDLE);
    }
    assert(wh_free(buffer) == WH_OK);
    assert(wh_pool_close(pool) == WH_OK);
    assert(wh_pool_close(pool) == WH_INVALID_HANDLE);
}

/* printf("%d %s", call(), wh_last_error()) may ask for the words before the call. */
static void the_words_stay_in_their_place(void) {
    const char *before = wh_last_error();
    wh_pool pool = {0};
    assert(wh_pool_open("hots", NULL, &pool) == WH_INVALID_ARGUMENT);
    assert(strstr(before, "hots") != NULL && wh_last_error() == before);
    /* A long text is cut, between characters. */
    char *name = malloc(20001);
    for (int i = 0; i < 20000; i += 2) {
        memcpy(name + i, "\xc3\xa9", 2);
    }
    name[20000] = 0;
    assert(wh_pool_open(name, NULL, &pool) == WH_INVALID_ARGUMENT);
    size_t length = strlen(before);
    assert(length > 4000 && length < 4096 && ((unsigned char)before[length - 1] & 0xC0) != 0xC0);
    free(name);
}

static void buffers_outlive_their_pool(void) {
    wh_pool pool = open_host(SETTINGS);
    wh_buffer buffer = {0};
    wh_buffer_info info = {.struct_size = sizeof info};
    assert(wh_allocate(pool, MIB, 0, 0, NULL, &buffer) == WH_OK);
    assert(wh_pool_close(pool) == WH_OK);
    assert(wh_inspect(buffer, &info) == WH_OK);
    memset(info.host_ptr, 1, info.size);
    assert(wh_free(buffer) == WH_OK);
}

static void a_pool_that_sizes_itself_gives_all_back(void) {
    wh_pool pool = open_host(NULL);
    wh_buffer buffer = {0};
    wh_statistics statistics = {.struct_size = sizeof statistics};
    assert(wh_allocate(pool, 300 * MIB, 0, 0, NULL, &buffer) == WH_OK);
    assert(wh_pool_statistics(pool, &statistics) == WH_OK);
    assert(statistics.reserved_bytes >= 300 * MIB && statistics.fallback_allocations == 0);
    assert(wh_free(buffer) == WH_OK);
    assert(wh_pool_trim(pool, 100 * MIB) == WH_OK);
    assert(wh_pool_statistics(pool, &statistics) == WH_OK);
    assert(statistics.reserved_bytes > 90 * MIB && statistics.reserved_bytes <= 100 * MIB);
    assert(wh_pool_trim(pool, 0) == WH_OK);
    assert(wh_pool_statistics(pool, &statistics) == WH_OK);
    assert(statistics.reserved_bytes == 0);
    assert(wh_pool_close(pool) == WH_OK);
}

static void *churn(void *argument) {
    wh_pool pool = *(wh_pool *)argument;
    wh_buffer kept[16] = {{0}};
    for (int step = 0; step < 2000; step++) {
        wh_buffer *place = &kept[step * 7 % 16];
        if (place->id != 0) {
            assert(wh_free(*place) == WH_OK);
        }
        assert(wh_allocate(pool, (uint64_t)(step % 40 + 1) * 1000, 0, 0, NULL, place) == WH_OK);
        wh_buffer_info info = {.struct_size = sizeof info};
        assert(wh_inspect(*place, &info) == WH_OK);
        memset(info.host_ptr, step, info.size);
        /* An error of this thread; the words must be its own. */
        assert(wh_free((wh_buffer){0}) == WH_INVALID_HANDLE);
        assert(strstr(wh_last_error(), "buffer") != NULL);
    }
    for (int place = 0; place < 16; place++) {
        assert(wh_free(kept[place]) == WH_OK);
    }
    return NULL;
}

static void threads_share_a_pool(void) {
    wh_pool pool = open_host(SETTINGS);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert(pthread_create(&threads[i], NULL, churn, &pool) == 0);
    }
    for (int i = 0; i < 4; i++) {
        assert(pthread_join(threads[i], NULL) == 0);
    }
    wh_statistics statistics = {.struct_size = sizeof statistics};
    assert(wh_pool_statistics(pool, &statistics) == WH_OK);
    assert(statistics.active_allocations == 0 && statistics.total_allocations == 4 * 2000);
    assert(wh_pool_close(pool) == WH_OK);
}

int main(void) {
    versions_agree();
    a_buffer_lives_and_dies_once();
    nonsense_is_answered();
    the_words_stay_in_their_place();
    buffers_outlive_their_pool();
    threads_share_a_pool();
    a_pool_that_sizes_itself_gives_all_back();
    return 0;
}
