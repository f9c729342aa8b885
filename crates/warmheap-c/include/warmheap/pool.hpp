// Pools. Part of warmheap.hpp, which programs include.

#ifndef WARMHEAP_POOL_HPP
#define WARMHEAP_POOL_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "detail.hpp"
#include "error.hpp"
#include "queue.hpp"
#include "request.hpp"

namespace warmheap {

using Statistics = wh_statistics;
using Compaction = wh_compaction;
using Pressure = wh_pressure;

/// The quota of a tag in bytes, and how much of it is used.
struct Quota {
    std::uint64_t bytes;
    std::uint64_t used;
};

namespace detail {
inline void close_pool(wh_pool pool) noexcept { wh_pool_close(pool); }
} // namespace detail

/// A pool of a device's memory. Its end closes it; buffers that are alive stay valid.
class Pool {
  public:
    /// Opens a pool on `device` (`"host"`, `"sim:discrete"`, `"cuda:0"`, `"metal"`) with a configuration as
    /// YAML text. Without one the pool sizes itself, unless `WARMHEAP_CONFIG` names a file with settings.
    explicit Pool(const std::string &device = "host", const std::string &config = {}) {
        wh_pool pool{};
        detail::check(wh_pool_open(device.c_str(), config.empty() ? nullptr : config.c_str(), &pool));
        owner_ = detail::Owner<wh_pool, detail::close_pool>(pool);
    }

    /// Takes a handle over.
    explicit Pool(wh_pool handle) noexcept : owner_(handle) {}

    /// Opens a pool with the configuration in a file.
    static Pool from_file(const std::string &device, const std::string &path) {
        wh_pool pool{};
        detail::check(wh_pool_open_file(device.c_str(), path.c_str(), &pool));
        return Pool(pool);
    }

    wh_pool get() const noexcept { return owner_.get(); }
    explicit operator bool() const noexcept { return static_cast<bool>(owner_); }

    /// Closes the pool.
    void close() { detail::check(wh_pool_close(owner_.release())); }

    Buffer allocate(const Request &request, Site site = Site::here()) const {
        const wh_request raw = request.raw(site);
        wh_buffer buffer{};
        detail::check(wh_allocate_with(get(), &raw, &buffer));
        return Buffer(buffer);
    }

    /// As allocate, but returns nothing where memory or a quota is short, or the request may not wait.
    std::optional<Buffer> try_allocate(const Request &request, Site site = Site::here()) const {
        const wh_request raw = request.raw(site);
        wh_buffer buffer{};
        const wh_status status = wh_allocate_with(get(), &raw, &buffer);
        if (status == WH_OUT_OF_MEMORY || status == WH_QUOTA_EXCEEDED || status == WH_WOULD_BLOCK) {
            return std::nullopt;
        }
        detail::check(status);
        return Buffer(buffer);
    }

    /// Opens a queue that the program moves.
    Queue queue() const {
        wh_queue queue{};
        detail::check(wh_queue_open(get(), &queue));
        return Queue(queue);
    }

    /// Opens the queue of a CUDA stream, which outlives the queue and its work.
    Queue queue(void *stream) const {
        wh_queue queue{};
        detail::check(wh_queue_open_stream(get(), stream, &queue));
        return Queue(queue);
    }

    Statistics statistics() const {
        auto statistics = detail::sized<wh_statistics>();
        detail::check(wh_pool_statistics(get(), &statistics));
        return statistics;
    }
    void reset_statistics() const { detail::check(wh_pool_reset_statistics(get())); }

    std::string statistics_json() const {
        return detail::text([this](char *text, std::size_t capacity, std::size_t *needed) {
            return wh_pool_statistics_json(get(), text, capacity, needed);
        });
    }
    /// Prometheus text of this pool alone. For several pools on one page, use the function `prometheus`.
    std::string prometheus(const std::string &name) const {
        return detail::text([this, &name](char *text, std::size_t capacity, std::size_t *needed) {
            return wh_pool_prometheus(get(), name.c_str(), text, capacity, needed);
        });
    }
    std::string leak_report() const {
        return detail::text([this](char *text, std::size_t capacity, std::size_t *needed) {
            return wh_pool_leak_report(get(), text, capacity, needed);
        });
    }
    std::string settings() const {
        return detail::text([this](char *text, std::size_t capacity, std::size_t *needed) {
            return wh_pool_settings(get(), text, capacity, needed);
        });
    }

    /// Gives free memory back until at most `target` bytes are held.
    void trim(std::uint64_t target = 0) const { detail::check(wh_pool_trim(get(), target)); }

    /// Gives back what was idle for `idle`, a little at each call. Returns the time until the next one is due.
    template <class Rep, class Period>
    std::chrono::milliseconds maintain(std::chrono::duration<Rep, Period> idle) const {
        std::uint64_t next = 0;
        detail::check(wh_pool_maintain(get(), detail::milliseconds(idle), &next));
        return std::chrono::milliseconds(next);
    }

    std::uint64_t make_purgeable() const {
        std::uint64_t bytes = 0;
        detail::check(wh_pool_make_purgeable(get(), &bytes));
        return bytes;
    }

    /// Packs movable buffers. Zero is no limit.
    Compaction compact(std::uint64_t max_bytes = 0, std::chrono::milliseconds max_time = {}) const {
        auto report = detail::sized<wh_compaction>();
        detail::check(wh_pool_compact(get(), max_bytes, detail::milliseconds(max_time), &report));
        return report;
    }

    void set_quota(const std::string &tag, std::uint64_t bytes) const {
        detail::check(wh_pool_set_quota(get(), tag.c_str(), bytes));
    }
    void remove_quota(const std::string &tag) const { detail::check(wh_pool_remove_quota(get(), tag.c_str())); }
    std::optional<Quota> quota(const std::string &tag) const {
        Quota quota{};
        detail::check(wh_pool_quota(get(), tag.c_str(), &quota.bytes, &quota.used));
        const bool none = quota.bytes == std::numeric_limits<std::uint64_t>::max();
        return none ? std::nullopt : std::optional<Quota>(quota);
    }

    /// Registers a callback for moments when memory is short. It runs on the thread whose request met the
    /// pressure. What it throws is dropped. It stays until the pool is closed or destroyed, also if queues keep
    /// the memory: when that returns, no other thread is in the callback, and what it owned is gone.
    void on_pressure(std::function<void(const Pressure &)> callback) const {
        using Callback = std::function<void(const Pressure &)>;
        if (!callback) {
            throw Error(WH_INVALID_ARGUMENT, "callback is empty");
        }
        auto owned = new Callback(std::move(callback));
        const auto call = [](void *user, wh_pool, const wh_pressure *pressure) {
            try {
                (*static_cast<Callback *>(user))(*pressure);
            } catch (...) {
            }
        };
        const wh_status status =
            wh_pool_on_pressure(get(), call, owned, [](void *user) { delete static_cast<Callback *>(user); });
        if (status != WH_OK) {
            delete owned;
            detail::fail(status);
        }
    }

    /// Writes the requests to a trace from now on: `.csv`, `.csv.gz`, `.csv.zst`.
    void record(const std::string &path) const { detail::check(wh_pool_record(get(), path.c_str())); }

    /// Ends the trace and returns its number of events.
    std::uint64_t stop_recording() const {
        std::uint64_t events = 0;
        detail::check(wh_pool_stop_recording(get(), &events));
        return events;
    }

  private:
    detail::Owner<wh_pool, detail::close_pool> owner_;
};

/// One page of Prometheus text for several pools: `prometheus({{"weights", &weights}, {"caches", &caches}})`.
inline std::string prometheus(const std::vector<std::pair<std::string, const Pool *>> &pools) {
    std::vector<wh_pool> handles;
    std::vector<const char *> names;
    for (const auto &[name, pool] : pools) {
        handles.push_back(pool == nullptr ? wh_pool{} : pool->get());
        names.push_back(name.c_str());
    }
    return detail::text([&](char *text, std::size_t capacity, std::size_t *needed) {
        return wh_pools_prometheus(handles.data(), names.data(), handles.size(), text, capacity, needed);
    });
}

} // namespace warmheap

#endif // WARMHEAP_POOL_HPP
