// Callbacks of a C++ program, and their end. Prints nothing when all is well.

#include "support.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using warmheap::Buffer;
using warmheap::Log;
using warmheap::Pool;

static void callbacks_may_throw_and_end_with_their_owner() {
    auto kept = std::make_shared<int>(1);
    int calls = 0;
    {
        Pool pool("sim", "limits: {hard_mb: 16}");
        Buffer cache = pool.allocate(12 * MIB);
        pool.on_pressure([&, kept](const warmheap::Pressure &pressure) {
            calls++;
            if (pressure.kind == WH_PRESSURE_EXHAUSTED) {
                cache.reset();
            }
            throw 42;
        });
        assert(kept.use_count() == 2);
        assert(pool.allocate(10 * MIB) && calls > 0 && !cache);
        thrown<warmheap::Error>([&] { pool.on_pressure({}); });
    }
    assert(kept.use_count() == 1);
}

// What a callback refers to may end after its pool: queues that keep the memory call it no more, and other
// threads have left it.
static void no_callback_runs_after_its_pool() {
    for (int threads : {1, 2, 3, 16, 64}) {
        std::optional<Pool> pool(std::in_place, "sim", "limits: {hard_mb: 4}");
        const warmheap::Queue queue = pool->queue();
        Buffer survivor = pool->allocate(MIB);
        std::atomic<int> inside{0}, calls{0};
        pool->on_pressure([&](const warmheap::Pressure &) {
            inside++;
            calls++;
            std::this_thread::sleep_for(20ms);
            inside--;
        });
        std::vector<std::thread> running;
        for (int t = 0; t < threads; t++) {
            running.emplace_back([handle = pool->get()] {
                wh_buffer none{};
                const wh_status status = wh_allocate(handle, 8 * MIB, 0, 0, nullptr, &none);
                assert(status == WH_OUT_OF_MEMORY || status == WH_INVALID_HANDLE);
            });
        }
        while (calls == 0) {
            std::this_thread::yield();
        }
        pool.reset();
        const int before = calls;
        assert(inside == 0);
        thrown<warmheap::Error>([&] { survivor.grow_or_move(8 * MIB); });
        for (auto &thread : running) {
            thread.join();
        }
        assert(calls == before);
    }
}

static void a_log_may_throw_and_ends_with_its_owner() {
    std::string lines;
    {
        warmheap::Log log(WH_LOG_WARN, [&](wh_log_level, const char *message, const char *) {
            lines += message;
            throw 42;
        });
        Buffer leaked;
        {
            Pool pool("sim");
            leaked = pool.allocate(10);
        }
    }
    assert(lines.find("Memory leak detected!") != std::string::npos);
    const std::string before = lines;
    Buffer silent = Pool("sim").allocate(10);
    assert(lines == before);
}

static void say_something() {
    Pool("sim").allocate(1);
}

static void the_end_of_a_log_that_was_replaced_leaves_the_newer_one() {
    int first = 0, second = 0;
    auto older = std::make_unique<Log>(WH_LOG_DEBUG, [&](auto...) { first++; });
    say_something();
    const int before = first;
    assert(before > 0);
    auto newer = std::make_unique<Log>(WH_LOG_DEBUG, [&](auto...) { second++; });
    say_something();
    older.reset();
    const int after = second;
    say_something();
    assert(first == before && after > 0 && second > after);
    newer.reset();
    const int last = second;
    say_something();
    assert(second == last);
    thrown<warmheap::Error>([] { Log(WH_LOG_WARN, {}); });
}

// Threads that log while logs come and go never meet one that is gone.
static void no_record_comes_after_its_log() {
    for (int threads : {1, 2, 3, 16}) {
        std::atomic<bool> done{false};
        std::vector<std::thread> running;
        for (int t = 0; t < threads; t++) {
            running.emplace_back([&done] {
                while (!done) {
                    say_something();
                }
            });
        }
        for (int i = 0; i < 200; i++) {
            auto alive = std::make_unique<std::atomic<int>>(1);
            Log older(WH_LOG_DEBUG, [&](auto...) { assert(*alive == 1); });
            Log newer(WH_LOG_DEBUG, [](auto...) {});
        }
        done = true;
        for (auto &thread : running) {
            thread.join();
        }
    }
}

int main() {
    callbacks_may_throw_and_end_with_their_owner();
    no_callback_runs_after_its_pool();
    a_log_may_throw_and_ends_with_its_owner();
    the_end_of_a_log_that_was_replaced_leaves_the_newer_one();
    no_record_comes_after_its_log();
}
