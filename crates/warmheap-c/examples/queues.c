/* A server in C: requests are worked off by a thread in the order of a queue. Each needs scratch memory, which
 * goes back when its work is done, and a key-value cache that grows. */

#include <warmheap.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 200, TOKENS = 32 };
#define TOKEN_BYTES 4096

/* Work that the thread does in order. A GPU would do it by itself. */
struct work {
    unsigned char *scratch, *cache;
    size_t scratch_bytes, cache_bytes;
    wh_ticket done;
};

static struct {
    struct work items[64];
    size_t first, count;
    bool ended;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} orders = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void check(wh_status status, const char *call) {
    if (status != WH_OK) {
        fprintf(stderr, "%s: %s\n", call, wh_last_error());
        exit(1);
    }
}

#define CHECK(call) check(call, #call)

static void print_log(void *user, const wh_log_record *record) {
    (void)user;
    fprintf(stderr, "warmheap: %s\n", record->message);
}

static void *work_off(void *unused) {
    for (;;) {
        pthread_mutex_lock(&orders.lock);
        while (orders.count == 0 && !orders.ended) {
            pthread_cond_wait(&orders.changed, &orders.lock);
        }
        if (orders.count == 0) {
            pthread_mutex_unlock(&orders.lock);
            return unused;
        }
        struct work work = orders.items[orders.first];
        orders.first = (orders.first + 1) % 64;
        orders.count--;
        pthread_cond_broadcast(&orders.changed);
        pthread_mutex_unlock(&orders.lock);

        memset(work.scratch, 1, work.scratch_bytes);
        memset(work.cache, 2, work.cache_bytes);
        CHECK(wh_queue_complete(work.done));
    }
}

static void submit(struct work work) {
    pthread_mutex_lock(&orders.lock);
    while (orders.count == 64) {
        pthread_cond_wait(&orders.changed, &orders.lock);
    }
    orders.items[(orders.first + orders.count++) % 64] = work;
    pthread_cond_broadcast(&orders.changed);
    pthread_mutex_unlock(&orders.lock);
}

static unsigned char *bytes_of(wh_buffer buffer) {
    wh_buffer_info info = {.struct_size = sizeof info};
    CHECK(wh_inspect(buffer, &info));
    return info.host_ptr;
}

/* Makes the cache longer. Where it has to move, the work that writes to it must be done. */
static void grow(wh_buffer cache, uint64_t size, wh_ticket last) {
    wh_status status = wh_grow(cache, size);
    if (status != WH_CANNOT_GROW) {
        check(status, "wh_grow");
        return;
    }
    wh_request request = WH_REQUEST_INIT;
    request.size = size;
    wh_buffer left = {0};
    bool done = false;
    CHECK(wh_ticket_wait(last, 60000, &done));
    if (!done) {
        fprintf(stderr, "the work takes longer than a minute\n");
        exit(1);
    }
    CHECK(wh_grow_or_move(cache, &request, &left));
    if (left.id != 0) {
        CHECK(wh_free(left));
    }
}

static void serve(wh_pool pool, wh_queue queue, int number) {
    wh_request request = WH_REQUEST_INIT;
    request.size = TOKEN_BYTES;
    request.growable = TOKENS * TOKEN_BYTES;
    request.tag = "kv-cache";
    wh_buffer cache = {0};
    CHECK(wh_allocate_with(pool, &request, &cache));
    wh_ticket last = {0};
    for (uint64_t token = 1; token <= TOKENS; token++) {
        wh_buffer scratch = {0};
        grow(cache, token * TOKEN_BYTES, last);
        wh_request temporary = WH_REQUEST_INIT;
        temporary.size = (uint64_t)(number % 7 + 1) * 10000;
        temporary.tag = "scratch";
        temporary.wait_ms = 10000;
        CHECK(wh_queue_allocate(queue, &temporary, &scratch));
        struct work work = {bytes_of(scratch), bytes_of(cache), temporary.size, token * TOKEN_BYTES, {{0}, 0}};
        CHECK(wh_queue_signal(queue, &work.done));
        last = work.done;
        submit(work);
        CHECK(wh_retire(scratch, last)); /* free once that work is done */
    }
    CHECK(wh_retire(cache, last));
}

int main(void) {
    CHECK(wh_set_log(print_log, NULL, WH_LOG_WARN));
    wh_pool pool = {0};
    wh_queue queue = {0};
    CHECK(wh_pool_open("host", "{heap_size_mb: 32, num_heaps: 2, warmup_sizes: [8]}", &pool));
    CHECK(wh_queue_open(pool, &queue));
    pthread_t worker;
    if (pthread_create(&worker, NULL, work_off, NULL) != 0) {
        return 1;
    }

    for (int number = 0; number < REQUESTS; number++) {
        serve(pool, queue, number);
    }
    /* All work is done when the worker has ended. */
    pthread_mutex_lock(&orders.lock);
    orders.ended = true;
    pthread_cond_broadcast(&orders.changed);
    pthread_mutex_unlock(&orders.lock);
    pthread_join(worker, NULL);
    CHECK(wh_queue_poll(queue, NULL));

    wh_statistics statistics = {.struct_size = sizeof statistics};
    CHECK(wh_pool_statistics(pool, &statistics));
    printf("%llu allocations, %.1f %% of them from heaps, %llu alive\n",
           (unsigned long long)statistics.total_allocations, statistics.hit_rate * 100,
           (unsigned long long)statistics.active_allocations);
    CHECK(wh_queue_close(queue));
    CHECK(wh_pool_close(pool));
    CHECK(wh_set_log(NULL, NULL, 0));
    return statistics.active_allocations == 0 ? 0 : 1;
}
