/* How pools open, and what requests and quotas do, from a C program; misuse too. Prints nothing when all is well. */

#include "support.h"

#include <stdlib.h>
#include <string.h>

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

/* Under valgrind as well, which has few addresses. */
static void pools_that_size_themselves_share_the_address_space(void) {
    wh_pool pools[4];
    wh_buffer buffers[4];
    for (int i = 0; i < 4; i++) {
        pools[i] = open_pool("host", NULL);
        buffers[i] = get(pools[i], 30 * MIB);
        memset(place(buffers[i]).host_ptr, i, 30 * MIB);
    }
    for (int i = 0; i < 4; i++) {
        assert(((char *)place(buffers[i]).host_ptr)[30 * MIB - 1] == i && !place(buffers[i]).is_fallback);
        assert(wh_free(buffers[i]) == WH_OK && wh_pool_close(pools[i]) == WH_OK);
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
    request.tag = "requests";
    assert(wh_allocate_with(pool, &request, &buffer) == WH_OK);
    assert(place(buffer).device_address % 65536 == 0);

    char report[400];
    size_t needed = 0;
    assert(wh_pool_leak_report(pool, report, sizeof report, &needed) == WH_OK);
    assert(needed == strlen(report) + 1);
    assert(strstr(report, "requests.c:") != NULL && strstr(report, "tagged \"requests\"") != NULL);
    assert(wh_free(buffer) == WH_OK);

    wh_buffer plain = get(pool, 64);
    assert(wh_pool_leak_report(pool, report, sizeof report, NULL) == WH_OK);
    assert(strstr(report, "support.h:") != NULL && strstr(report, "tagged \"c\"") != NULL);
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

static void the_largest_figures_are_figures(void) {
    wh_pool pool = open_pool("sim", "limits: {hard_mb: 64}");
    wh_buffer buffer = get(pool, MIB), none = {0};
    wh_request request = WH_REQUEST_INIT;
    const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 255, UINT64_C(1) << 63};
    for (int i = 0; i < 3; i++) {
        request.size = sizes[i];
        assert(wh_allocate_with(pool, &request, &none) == WH_OUT_OF_MEMORY && none.id == 0);
        assert(wh_grow(buffer, sizes[i]) == WH_CANNOT_GROW);
        assert(wh_grow_or_move(buffer, &request, &none) == WH_OUT_OF_MEMORY && none.id == 0);
    }
    request.size = 1;
    request.growable = UINT64_MAX;
    request.wait_ms = UINT64_MAX;
    assert(wh_allocate_with(pool, &request, &none) == WH_OK && wh_free(none) == WH_OK);
    request.align = UINT64_C(1) << 63;
    assert(wh_allocate_with(pool, &request, &none) == WH_OK); /* a simulated device has such addresses */
    assert(place(none).device_address == request.align && wh_free(none) == WH_OK);
    request.align = 3;
    assert(wh_allocate_with(pool, &request, &none) == WH_INVALID_ARGUMENT);

    uint64_t next = 0;
    assert(wh_pool_maintain(pool, UINT64_MAX, &next) == WH_OK && wh_pool_maintain(pool, 0, &next) == WH_OK);
    assert(wh_pool_compact(pool, UINT64_MAX, UINT64_MAX, NULL) == WH_OK);
    assert(wh_pool_trim(pool, UINT64_MAX) == WH_OK);
    assert(wh_pool_set_quota(pool, "most", UINT64_MAX) == WH_OK && wh_pool_set_quota(pool, "none", 0) == WH_OK);
    assert(wh_allocate(pool, 1, 0, 0, "most", &none) == WH_OK && wh_free(none) == WH_OK);
    assert(wh_allocate(pool, 1, 0, 0, "none", &none) == WH_QUOTA_EXCEEDED);
    assert(wh_free(buffer) == WH_OK && wh_pool_close(pool) == WH_OK);
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

int main(void) {
    every_device_has_its_name();
    one_setting_never_changes_how_heaps_are_sized();
    pools_that_size_themselves_share_the_address_space();
    the_environment_names_a_configuration();
    requests_say_what_they_want();
    the_largest_figures_are_figures();
    quotas_have_an_error_of_their_own();
    return 0;
}
