// Warmheap for C++17: owners of what warmheap.h has, in one header.
//
// Pools, buffers, queues and pins give back what they own when they end. They move and do not copy. A call
// that fails throws an Error with the library's words. Destructors never throw. Any thread may use any object
// that no other thread is destroying or moving from. Every item is since 0.2.

#ifndef WARMHEAP_HPP
#define WARMHEAP_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory_resource>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "warmheap.h"

#if defined(__has_builtin)
#if __has_builtin(__builtin_FILE) && __has_builtin(__builtin_LINE)
#define WARMHEAP_HAS_SITES 1
#endif
#elif defined(__GNUC__) || (defined(_MSC_VER) && _MSC_VER >= 1926)
#define WARMHEAP_HAS_SITES 1
#endif

namespace warmheap {

/// A call that failed. `what()` has the library's words.
class Error : public std::runtime_error {
  public:
    Error(wh_status status, const std::string &words) : std::runtime_error(words), status_(status) {}

    wh_status status() const noexcept { return status_; }

  private:
    wh_status status_;
};

/// Neither the heaps nor the device had the memory.
class OutOfMemory : public Error {
  public:
    using Error::Error;
};

/// The tag's quota does not allow the request.
class QuotaExceeded : public Error {
  public:
    using Error::Error;
};

/// The call came too early, too late or twice.
class WrongOrder : public Error {
  public:
    using Error::Error;
};

namespace detail {

[[noreturn]] inline void fail(wh_status status) {
    const std::string words = wh_last_error();
    switch (status) {
    case WH_OUT_OF_MEMORY:
        throw OutOfMemory(status, words);
    case WH_QUOTA_EXCEEDED:
        throw QuotaExceeded(status, words);
    case WH_WRONG_ORDER:
        throw WrongOrder(status, words);
    default:
        throw Error(status, words);
    }
}

inline void check(wh_status status) {
    if (status != WH_OK) {
        fail(status);
    }
}

/// A struct of warmheap.h whose size is set.
template <class T> T sized() noexcept {
    T value{};
    value.struct_size = sizeof(T);
    return value;
}

/// Calls `write(text, capacity, needed)` until the whole text fits. The text may grow between two calls.
template <class Write> std::string text(Write write) {
    std::string made;
    std::size_t needed = 0;
    do {
        made.resize(needed);
        check(write(needed == 0 ? nullptr : &made[0], made.size(), &needed));
    } while (needed > made.size());
    made.resize(needed - 1);
    return made;
}

/// Milliseconds, rounded up.
template <class Rep, class Period> std::uint64_t milliseconds(std::chrono::duration<Rep, Period> time) {
    if (time <= time.zero()) {
        return 0;
    }
    if (time > std::chrono::hours(24 * 365 * 10)) {
        return UINT64_C(1) << 40;
    }
    using Milliseconds = std::chrono::milliseconds;
    const auto whole = std::chrono::duration_cast<Milliseconds>(time);
    return static_cast<std::uint64_t>(whole.count()) + (whole < time ? 1 : 0);
}

/// A handle that moves and does not copy. `End` gives back what it names, and never throws.
template <class Handle, void (*End)(Handle) noexcept> class Owner {
  public:
    Owner() noexcept = default;
    explicit Owner(Handle handle) noexcept : handle_(handle) {}
    Owner(Owner &&other) noexcept : handle_(other.release()) {}
    Owner &operator=(Owner &&other) noexcept {
        if (this != &other) {
            reset();
            handle_ = other.release();
        }
        return *this;
    }
    ~Owner() { reset(); }

    Handle get() const noexcept { return handle_; }
    explicit operator bool() const noexcept { return handle_.id != 0; }
    Handle release() noexcept { return std::exchange(handle_, Handle{}); }
    void reset() noexcept {
        if (handle_.id != 0) {
            End(release());
        }
    }

  private:
    Handle handle_{};
};

} // namespace detail

/// The line that asks for memory, for leak reports.
struct Site {
    const char *file;
    std::uint32_t line;

#ifdef WARMHEAP_HAS_SITES
    static constexpr Site here(const char *file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) noexcept {
        return {file, line};
    }
#else
    static constexpr Site here() noexcept { return {nullptr, 0}; }
#endif
};

/// A request for memory. A number of bytes converts into one.
class Request {
  public:
    Request(std::uint64_t size) noexcept : raw_(detail::sized<wh_request>()) { raw_.size = size; }

    /// A power of two in bytes that divides the address.
    Request &align(std::uint64_t bytes) noexcept { return raw_.align = bytes, *this; }
    /// Memory that reads as zero.
    Request &zeroed() noexcept { return flag(WH_ZEROED); }
    /// A failure instead of memory straight from the device.
    Request &no_fallback() noexcept { return flag(WH_NO_FALLBACK); }
    /// A failure (`WH_WOULD_BLOCK`) instead of a device call or a wait for another thread.
    Request &non_blocking() noexcept { return flag(WH_NON_BLOCKING); }
    /// A buffer that compaction may move while it is not pinned.
    Request &movable() noexcept { return flag(WH_MOVABLE); }
    /// Room to grow to `bytes` in place.
    Request &growable(std::uint64_t bytes) noexcept { return raw_.growable = bytes, *this; }
    /// The purpose, for leak reports and quotas.
    Request &tag(std::string name) { return tag_ = std::move(name), *this; }
    /// How long the call may wait for memory in flight; zero refuses to wait. Without this the pool's
    /// `wait_ms` holds.
    template <class Rep, class Period> Request &wait(std::chrono::duration<Rep, Period> time) {
        raw_.wait_ms = detail::milliseconds(time);
        raw_.flags = raw_.wait_ms == 0 ? raw_.flags | WH_NO_WAIT : raw_.flags & ~std::uint32_t{WH_NO_WAIT};
        return *this;
    }

    /// The request for warmheap.h. It lives as long as this object.
    wh_request raw(Site site) const noexcept {
        wh_request request = raw_;
        request.file = site.file;
        request.line = site.line;
        request.tag = tag_.empty() ? nullptr : tag_.c_str();
        return request;
    }

  private:
    Request &flag(std::uint32_t bit) noexcept { return raw_.flags |= bit, *this; }

    wh_request raw_;
    std::string tag_;
};

/// A position in a queue. A plain value; it names nothing once its queue has ended.
class Ticket {
  public:
    Ticket() noexcept = default;
    explicit Ticket(wh_ticket raw) noexcept : raw_(raw) {}

    wh_ticket get() const noexcept { return raw_; }

    /// Whether all work up to here is done.
    bool is_complete() const { return wait(std::chrono::milliseconds(0)); }

    /// Waits until all work up to here is done, or `timeout` has passed. Returns whether it is done.
    template <class Rep, class Period> bool wait(std::chrono::duration<Rep, Period> timeout) const {
        bool done = false;
        detail::check(wh_ticket_wait(raw_, detail::milliseconds(timeout), &done));
        return done;
    }

    /// Notes that all work up to here is done, on a queue that the program moves.
    void complete() const { detail::check(wh_queue_complete(raw_)); }

  private:
    wh_ticket raw_{};
};

class Pin;

namespace detail {
inline void free_buffer(wh_buffer buffer) noexcept {
    // A pin that outlives its buffer must not keep the memory.
    while (wh_free(buffer) == WH_WRONG_ORDER && wh_unpin(buffer) == WH_OK) {
    }
}
} // namespace detail

/// A piece of a pool's memory, freed at its end. It may outlive its pool.
class Buffer {
  public:
    Buffer() noexcept = default;
    /// Takes a handle over.
    explicit Buffer(wh_buffer handle) noexcept : owner_(handle) {}

    wh_buffer get() const noexcept { return owner_.get(); }
    explicit operator bool() const noexcept { return static_cast<bool>(owner_); }
    /// Gives the handle up without freeing the memory.
    wh_buffer release() noexcept { return owner_.release(); }
    /// Frees the memory.
    void reset() noexcept { owner_.reset(); }

    wh_buffer_info info() const {
        auto info = detail::sized<wh_buffer_info>();
        detail::check(wh_inspect(get(), &info));
        return info;
    }
    std::uint64_t size() const { return info().size; }
    std::uint64_t device_address() const { return info().device_address; }
    /// The CPU's pointer to the first byte; null if the CPU cannot access this memory.
    void *host_ptr() const { return info().host_ptr; }
    template <class T> T *data() const { return static_cast<T *>(info().host_ptr); }
    bool is_fallback() const { return info().is_fallback; }

    /// Makes the buffer longer where it is. Throws an Error of `WH_CANNOT_GROW` if there is no room.
    void grow(std::uint64_t size) { detail::check(wh_grow(get(), size)); }

    /// Makes the buffer longer where it is, or returns false if there is no room.
    bool try_grow(std::uint64_t size) {
        const wh_status status = wh_grow(get(), size);
        return status != WH_CANNOT_GROW && (detail::check(status), true);
    }

    /// As grow, by a move where there is no room. Returns the old place if it moved, to free or retire.
    std::optional<Buffer> grow_or_move(const Request &request, Site site = Site::here()) {
        const wh_request raw = request.raw(site);
        wh_buffer left{};
        detail::check(wh_grow_or_move(get(), &raw, &left));
        return left.id == 0 ? std::nullopt : std::optional<Buffer>(Buffer(left));
    }

    /// Frees the memory once the work up to `ticket` is done. Returns at once; the object is empty then.
    void retire(const Ticket &ticket) {
        detail::check(wh_retire(get(), ticket.get()));
        owner_.release();
    }

    /// Keeps a movable buffer where it is while the pin lives.
    Pin pin() const;

    /// Notes that work up to `ticket` uses a movable buffer. Call it while the buffer is pinned.
    void in_flight_until(const Ticket &ticket) const { detail::check(wh_in_flight_until(get(), ticket.get())); }

  private:
    detail::Owner<wh_buffer, detail::free_buffer> owner_;
};

namespace detail {
inline void unpin_buffer(wh_buffer buffer) noexcept { wh_unpin(buffer); }
} // namespace detail

/// A movable buffer that stays where it is while this lives. It does not keep the buffer.
class Pin {
  public:
    explicit Pin(const Buffer &buffer) : info_(detail::sized<wh_buffer_info>()) {
        detail::check(wh_pin(buffer.get(), &info_));
        owner_ = detail::Owner<wh_buffer, detail::unpin_buffer>(buffer.get());
    }

    const wh_buffer_info &info() const noexcept { return info_; }
    std::uint64_t device_address() const noexcept { return info_.device_address; }
    template <class T> T *data() const noexcept { return static_cast<T *>(info_.host_ptr); }

  private:
    wh_buffer_info info_;
    detail::Owner<wh_buffer, detail::unpin_buffer> owner_;
};

inline Pin Buffer::pin() const { return Pin(*this); }

namespace detail {
inline void close_queue(wh_queue queue) noexcept {
    if (wh_queue_close(queue) == WH_WRONG_ORDER) {
        wh_queue_lose(queue, "its owner has ended");
        wh_queue_close(queue);
    }
}
} // namespace detail

/// An order of work that uses a pool's memory. End it after its work: a queue that ends earlier counts as
/// lost.
class Queue {
  public:
    Queue() noexcept = default;
    /// Takes a handle over.
    explicit Queue(wh_queue handle) noexcept : owner_(handle) {}

    wh_queue get() const noexcept { return owner_.get(); }
    explicit operator bool() const noexcept { return static_cast<bool>(owner_); }

    /// The position after all work submitted so far.
    Ticket signal() const {
        wh_ticket ticket{};
        detail::check(wh_queue_signal(get(), &ticket));
        return Ticket(ticket);
    }

    /// Allocates for work that will be submitted to this queue. The buffer may be one that it has retired.
    Buffer allocate(const Request &request, Site site = Site::here()) const {
        const wh_request raw = request.raw(site);
        wh_buffer buffer{};
        detail::check(wh_queue_allocate(get(), &raw, &buffer));
        return Buffer(buffer);
    }

    /// Frees the retired buffers whose work is done, and returns their number.
    std::uint64_t poll() const {
        std::uint64_t freed = 0;
        detail::check(wh_queue_poll(get(), &freed));
        return freed;
    }

    std::uint64_t retired_bytes() const {
        std::uint64_t bytes = 0;
        detail::check(wh_queue_retired_bytes(get(), &bytes));
        return bytes;
    }

    /// Notes that the queue makes no more progress.
    void lose(const std::string &reason) const { detail::check(wh_queue_lose(get(), reason.c_str())); }

    /// Closes the queue. Throws WrongOrder while memory waits for it.
    void close() {
        detail::check(wh_queue_close(get()));
        owner_.release();
    }

  private:
    detail::Owner<wh_queue, detail::close_queue> owner_;
};

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
    /// YAML text. Without one the pool sizes itself.
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

    /// Registers a callback for moments when memory is short. It stays until the pool ends, and runs on the
    /// thread whose request met the pressure. What it throws is dropped.
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

/// Receives the library's log while it lives. A process has one at a time. The callback runs on the thread
/// that logs; what it throws is dropped.
class Log {
  public:
    using Callback = std::function<void(wh_log_level level, const char *message, const char *fields)>;

    Log(wh_log_level level, Callback callback) : callback_(std::move(callback)) {
        const auto call = [](void *user, const wh_log_record *record) {
            try {
                static_cast<Log *>(user)->callback_(record->level, record->message, record->fields);
            } catch (...) {
            }
        };
        detail::check(wh_set_log(call, this, static_cast<std::uint32_t>(level)));
    }
    Log(const Log &) = delete;
    Log &operator=(const Log &) = delete;
    /// Returns when no thread is in the callback any more.
    ~Log() { wh_set_log(nullptr, nullptr, 0); }

  private:
    Callback callback_;
};

/// A pool's memory for the containers of the standard library, where the CPU can reach it. The memory may
/// outlive the pool; nothing can be allocated then. Any thread may use it.
class MemoryResource : public std::pmr::memory_resource {
  public:
    explicit MemoryResource(const Pool &pool, std::string tag = {}) : pool_(pool.get()), tag_(std::move(tag)) {}

  private:
    /// The bytes before a block, in which its handle stands. They keep the alignment.
    static std::size_t room(std::size_t align) noexcept {
        return align > alignof(std::max_align_t) ? align : alignof(std::max_align_t);
    }

    void *do_allocate(std::size_t bytes, std::size_t align) override {
        static_assert(sizeof(wh_buffer) <= alignof(std::max_align_t), "the handle fits before a block");
        const std::size_t before = room(align);
        if (bytes > std::numeric_limits<std::size_t>::max() - before) {
            throw std::bad_alloc();
        }
        auto request = detail::sized<wh_request>();
        request.size = bytes + before;
        request.align = before;
        request.tag = tag_.empty() ? nullptr : tag_.c_str();
        request.file = "warmheap::MemoryResource";
        wh_buffer handle{};
        if (wh_allocate_with(pool_, &request, &handle) != WH_OK) {
            throw std::bad_alloc();
        }
        Buffer owned(handle);
        auto info = detail::sized<wh_buffer_info>();
        if (wh_inspect(handle, &info) != WH_OK || info.host_ptr == nullptr) {
            throw std::bad_alloc();
        }
        char *block = static_cast<char *>(info.host_ptr) + before;
        new (block - sizeof(wh_buffer)) wh_buffer(owned.release());
        return block;
    }

    void do_deallocate(void *block, std::size_t, std::size_t) override {
        wh_free(*std::launder(reinterpret_cast<wh_buffer *>(static_cast<char *>(block) - sizeof(wh_buffer))));
    }

    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
#if defined(__cpp_rtti) || defined(_CPPRTTI)
        // Any of these resources can free what another has allocated, because a block knows its buffer.
        return dynamic_cast<const MemoryResource *>(&other) != nullptr;
#else
        return this == &other;
#endif
    }

    wh_pool pool_;
    std::string tag_;
};

} // namespace warmheap

#endif // WARMHEAP_HPP
