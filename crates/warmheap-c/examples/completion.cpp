// A server in C++: batches are submitted to a queue, and a completion thread learns when each is done, as with
// a GPU's events. Owners give memory back; nothing is freed by hand.

#include <warmheap.hpp>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <exception>
#include <memory_resource>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

/// The work that was submitted, in order, and the thread that notes its end.
class CompletionThread {
  public:
    CompletionThread() : thread_([this] { run(); }) {}
    ~CompletionThread() {
        {
            const std::lock_guard lock(mutex_);
            ended_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

    void submit(std::vector<float *> work, warmheap::Ticket done) {
        {
            const std::lock_guard lock(mutex_);
            submitted_.push_back({std::move(work), done});
        }
        changed_.notify_all();
    }

  private:
    struct Batch {
        std::vector<float *> work;
        warmheap::Ticket done;
    };

    void run() {
        for (;;) {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return ended_ || !submitted_.empty(); });
            if (submitted_.empty()) {
                return;
            }
            Batch batch = std::move(submitted_.front());
            submitted_.pop_front();
            lock.unlock();
            for (float *tensor : batch.work) {
                tensor[0] += 1.0F; // the memory is still the batch's own
            }
            batch.done.complete();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Batch> submitted_;
    bool ended_ = false;
    std::thread thread_;
};

/// A model's weights, which compaction may move between batches.
class Weights {
  public:
    Weights(const warmheap::Pool &pool, int layers) {
        for (int layer = 0; layer < layers; layer++) {
            layers_.push_back(pool.allocate(warmheap::Request(256 << 10).movable().zeroed().tag("weights")));
        }
    }

    /// Pins every layer for one batch, and notes that its work uses it.
    std::vector<float *> use(const warmheap::Queue &queue, warmheap::Ticket &done) {
        std::vector<warmheap::Pin> pins;
        std::vector<float *> places;
        for (const auto &layer : layers_) {
            pins.push_back(layer.pin());
            places.push_back(pins.back().data<float>());
        }
        done = queue.signal();
        for (const auto &layer : layers_) {
            layer.in_flight_until(done);
        }
        return places;
    }

    float sum() const {
        float sum = 0;
        for (const auto &layer : layers_) {
            sum += layer.pin().data<float>()[0];
        }
        return sum;
    }

  private:
    std::vector<warmheap::Buffer> layers_;
};

int serve() {
    constexpr int batches = 300, layers = 8;
    const warmheap::Log log(WH_LOG_WARN, [](wh_log_level, const char *message, const char *) {
        std::fprintf(stderr, "warmheap: %s\n", message);
    });
    const warmheap::Pool pool("host", "{heap_size_mb: 16, num_heaps: 2, warmup_sizes: [4]}");
    warmheap::Queue queue = pool.queue();
    warmheap::MemoryResource resource(pool, "host-lists");
    Weights weights(pool, layers);

    warmheap::Ticket last;
    {
        CompletionThread completion;
        std::pmr::vector<std::pmr::string> names(&resource);
        for (int batch = 0; batch < batches; batch++) {
            names.emplace_back("batch " + std::to_string(batch));
            // The activations of a batch go back when its work is done; the next batch may have them at once.
            const auto size = static_cast<std::uint64_t>(batch % 5 + 1) << 16;
            warmheap::Buffer activations =
                queue.allocate(warmheap::Request(size).tag("activations").wait(10s));
            float *const place = activations.data<float>();
            std::vector<float *> work = weights.use(queue, last);
            work.push_back(place);
            completion.submit(std::move(work), last);
            activations.retire(last);
            if (batch % 50 == 0) {
                pool.compact(1 << 20);
            }
        }
        if (!last.wait(60s)) {
            return 1;
        }
    }
    queue.poll();
    const auto statistics = pool.statistics();
    std::printf("%llu allocations, %llu alive, weights touched %.0f times\n",
                static_cast<unsigned long long>(statistics.total_allocations),
                static_cast<unsigned long long>(statistics.active_allocations), weights.sum());
    return weights.sum() == static_cast<float>(batches * layers) ? 0 : 1;
}

} // namespace

int main() {
    try {
        return serve();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
