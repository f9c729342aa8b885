// What a C++ program relies on in warmheap.hpp. Prints nothing when all is well.

#include "support.hpp"

#include <atomic>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using warmheap::Buffer;
using warmheap::Pool;
using warmheap::Queue;
using warmheap::Request;
using warmheap::Ticket;

static_assert(!std::is_copy_constructible_v<Buffer> && std::is_nothrow_move_constructible_v<Buffer>);
static_assert(!std::is_copy_constructible_v<Pool> && std::is_nothrow_move_assignable_v<Pool>);
static_assert(!std::is_copy_constructible_v<Queue> && std::is_nothrow_move_constructible_v<Queue>);
static_assert(std::is_nothrow_move_constructible_v<warmheap::Pin> && std::is_trivially_copyable_v<Ticket>);

static void owners_give_back_once() {
    Pool pool("host", FIXED);
    {
        Buffer first = pool.allocate(MIB);
        Buffer second = std::move(first);
        assert(!first && second && alive(pool) == 1);
        second = pool.allocate(Request(2 * MIB).zeroed().align(4096).tag("cpp"));
        assert(alive(pool) == 1 && second.size() == 2 * MIB && second.device_address() % 4096 == 0);
        assert(second.data<char>()[0] == 0 && !second.is_fallback());
        assert(pool.leak_report().find("wrapper.cpp:") != std::string::npos);
        std::vector<Buffer> many;
        for (int i = 0; i < 100; i++) {
            many.push_back(pool.allocate(1000));
        }
        assert(alive(pool) == 101);
        Buffer &self = second;
        second = std::move(self);
        assert(second);
    }
    assert(alive(pool) == 0);
    Buffer released = pool.allocate(64);
    const wh_buffer handle = released.release();
    assert(!released && alive(pool) == 1 && wh_free(handle) == WH_OK);

    Buffer survivor = pool.allocate(MIB);
    Pool moved = std::move(pool);
    assert(!pool && moved);
    moved.close();
    std::memset(survivor.host_ptr(), 1, MIB);
    assert(thrown<warmheap::Error>([&] { moved.allocate(1); }).status() == WH_INVALID_HANDLE);
    assert(thrown<warmheap::Error>([&] { moved.close(); }).status() == WH_INVALID_HANDLE);
    assert(thrown<warmheap::Error>([] { Buffer().size(); }).status() == WH_INVALID_HANDLE);
}

static void failures_are_exceptions_with_words() {
    const auto error = thrown<warmheap::Error>([] { Pool("hots"); });
    assert(error.status() == WH_INVALID_ARGUMENT && std::strstr(error.what(), "hots"));
    assert(thrown<warmheap::Error>([] { Pool("sim", "num_heaps: 0"); }).status() == WH_INVALID_CONFIG);
    assert(thrown<warmheap::Error>([] { Pool::from_file("sim", "/no/file"); }).status() == WH_INVALID_CONFIG);
    Pool pool("sim", "limits: {hard_mb: 16}");
    assert(std::strstr(thrown<warmheap::OutOfMemory>([&] { pool.allocate(32 * MIB); }).what(), "32.0 MiB"));
    assert(!pool.try_allocate(32 * MIB) && pool.try_allocate(MIB));
    thrown<warmheap::Error>([&] { (void)pool.try_allocate(0); });
    pool.set_quota("kv", MIB);
    assert(pool.quota("kv")->bytes == MIB && !pool.quota("other"));
    thrown<warmheap::QuotaExceeded>([&] { pool.allocate(Request(2 * MIB).tag("kv")); });
    pool.remove_quota("kv");
    pool.allocate(Request(2 * MIB).tag("kv"));
}

static void queues_hold_memory_until_work_is_done() {
    Pool pool("sim", "limits: {hard_mb: 8}");
    Queue queue = pool.queue();
    Buffer scratch = pool.allocate(6 * MIB);
    const std::uint64_t address = scratch.device_address();
    const Ticket ticket = queue.signal();
    scratch.retire(ticket);
    assert(!scratch && queue.retired_bytes() == 6 * MIB && !ticket.is_complete());
    thrown<warmheap::WrongOrder>([&] { queue.close(); });
    thrown<warmheap::OutOfMemory>([&] { pool.allocate(Request(6 * MIB).wait(5ms)); });
    thrown<warmheap::OutOfMemory>([&] { pool.allocate(Request(6 * MIB).wait(0ms)); });
    Buffer again = queue.allocate(6 * MIB);
    assert(again.device_address() == address);
    again.reset();
    std::thread completion([ticket] {
        std::this_thread::sleep_for(20ms);
        ticket.complete();
    });
    assert(ticket.wait(10s));
    completion.join();
    queue.poll();
    assert(queue.retired_bytes() == 0);
    Buffer waited = pool.allocate(Request(6 * MIB).wait(10s));
    thrown<warmheap::Error>([&] { pool.queue(nullptr); });

    Pool other("sim");
    Buffer foreign = other.allocate(64);
    thrown<warmheap::Error>([&] { foreign.retire(ticket); });
    assert(foreign);
    // A queue that ends with memory waiting for it is lost, and its memory comes back.
    waited.retire(queue.signal());
    queue = Queue();
    thrown<warmheap::Error>([&] { ticket.is_complete(); });
}

static void buffers_grow_and_move() {
    Pool pool("host", FIXED);
    Buffer cache = pool.allocate(Request(MIB).growable(16 * MIB));
    std::memset(cache.host_ptr(), 7, MIB);
    const auto left = cache.grow_or_move(20 * MIB);
    assert(cache.size() == 20 * MIB && cache.data<char>()[MIB - 1] == 7);
    assert(!left || left->size() == MIB);
    assert(!cache.try_grow(1000 * MIB));
    assert(thrown<warmheap::Error>([&] { cache.grow(1000 * MIB); }).status() == WH_CANNOT_GROW);

    Buffer movable = pool.allocate(Request(MIB).movable());
    thrown<warmheap::WrongOrder>([&] { movable.size(); });
    {
        const warmheap::Pin pin = movable.pin();
        const warmheap::Pin second = movable.pin();
        pin.data<char>()[0] = 9;
        assert(pin.device_address() == second.device_address() && movable.size() == MIB);
        assert(pool.compact().finished);
    }
    assert(movable.pin().data<char>()[0] == 9);
    thrown<warmheap::WrongOrder>([&] { (void)movable.info(); });
    // A pin that outlives its buffer does not keep the memory, and its end does no harm.
    {
        std::optional<warmheap::Pin> late;
        Buffer gone = pool.allocate(Request(64).movable());
        late.emplace(gone);
        gone.reset();
        assert(alive(pool) == 2 + (left ? 1 : 0));
    }
}

static void texts_are_whole() {
    Pool pool("sim");
    Buffer buffer = pool.allocate(MIB);
    const std::string json = pool.statistics_json();
    assert(json.front() == '{' && json.back() == '}');
    assert(pool.prometheus("a").find("{pool=\"a\"") != std::string::npos);
    Pool other("sim");
    const std::string page = warmheap::prometheus({{"a", &pool}, {"b", &other}});
    assert(page.find("warmheap_allocations_total{pool=\"a\"} 1\nwarmheap_allocations_total{pool=\"b\"} 0\n") !=
           std::string::npos);
    assert(warmheap::prometheus({}).empty());
    assert(thrown<warmheap::Error>([] { warmheap::prometheus({{"a", nullptr}}); }).status() == WH_INVALID_HANDLE);
    Pool twin("sim", pool.settings());
    assert(twin.settings() == pool.settings());
    pool.reset_statistics();
    pool.trim();
    pool.make_purgeable();
    assert(pool.maintain(100ms) <= 100ms);
    const std::string path = "/tmp/warmheap-cpp-" + std::to_string(buffer.device_address()) + ".csv";
    pool.record(path);
    pool.allocate(5);
    assert(pool.stop_recording() == 2);
    std::remove(path.c_str());
}

static void containers_live_in_a_pool() {
    Pool pool("host", FIXED);
    warmheap::MemoryResource resource(pool, "containers"), same(pool);
    assert(resource == same && resource != *std::pmr::new_delete_resource());
    {
        std::pmr::vector<std::pmr::string> words(&resource);
        std::pmr::map<int, std::pmr::list<double>> lists(&resource);
        for (int i = 0; i < 300; i++) {
            words.emplace_back(std::string(static_cast<std::size_t>(i), 'x'));
            lists[i % 7].push_back(i);
        }
        assert(words[299].size() == 299 && lists[3].size() == 43 && alive(pool) > 100);
        for (std::size_t align = 1; align <= 65536; align *= 2) {
            void *block = resource.allocate(100, align);
            assert(reinterpret_cast<std::uintptr_t>(block) % align == 0);
            std::memset(block, 3, 100);
            same.deallocate(block, 100, align);
        }
    }
    assert(alive(pool) == 0);
    thrown<std::bad_alloc>([&] { (void)resource.allocate(std::numeric_limits<std::size_t>::max(), 8); });
    Pool blind("sim"); // a device whose memory the CPU cannot reach
    warmheap::MemoryResource none(blind);
    thrown<std::bad_alloc>([&] { (void)none.allocate(10, 8); });
    assert(alive(blind) == 0);
}

static void threads_share_a_pool() {
    Pool pool("sim");
    for (int threads : {1, 2, 3, 16, 64}) {
        std::atomic<int> served{0};
        std::vector<std::thread> running;
        for (int t = 0; t < threads; t++) {
            running.emplace_back([&pool, &served] {
                Queue queue = pool.queue();
                for (std::uint64_t i = 1; i <= 50; i++) {
                    Buffer buffer = i % 2 == 0 ? pool.allocate(i * 1000) : queue.allocate(i * 1000);
                    const Ticket ticket = queue.signal();
                    buffer.retire(ticket);
                    ticket.complete();
                    served++;
                }
            });
        }
        for (auto &thread : running) {
            thread.join();
        }
        assert(served == threads * 50 && alive(pool) == 0);
    }
}

// Owners with static lifetime end after main, and owners of a thread end after its function.
static Pool &lasting() {
    static Pool pool("sim");
    return pool;
}

static void owners_may_outlive_main_and_their_threads() {
    static Buffer kept = lasting().allocate(MIB);
    static Queue queue = lasting().queue();
    static Pool closed_last("host", FIXED);
    std::thread([] {
        thread_local Buffer own = lasting().allocate(1000);
        thread_local Buffer other = closed_last.allocate(1000);
        other.grow(1);
        own.grow(1);
    }).join();
    assert(alive(lasting()) == 1 && alive(closed_last) == 0);
    kept.retire(queue.signal());
    kept = lasting().allocate(64);
}

// A thread that waits for a ticket goes on when its queue is closed.
static void closing_a_queue_wakes_its_waiters() {
    Pool pool("sim");
    Queue queue = pool.queue();
    const Ticket ticket = queue.signal();
    std::atomic<bool> waiting{false};
    std::thread waiter([&] {
        waiting = true;
        const auto error = thrown<warmheap::Error>([&] { ticket.wait(1h); });
        assert(error.status() == WH_QUEUE_LOST || error.status() == WH_INVALID_HANDLE);
    });
    while (!waiting) {
        std::this_thread::yield();
    }
    std::this_thread::sleep_for(20ms);
    queue.close();
    waiter.join();
}

int main() {
    owners_give_back_once();
    failures_are_exceptions_with_words();
    queues_hold_memory_until_work_is_done();
    buffers_grow_and_move();
    texts_are_whole();
    containers_live_in_a_pool();
    threads_share_a_pool();
    closing_a_queue_wakes_its_waiters();
    owners_may_outlive_main_and_their_threads();
}
