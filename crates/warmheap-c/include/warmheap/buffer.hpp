// Buffers, and pins of those that move. Part of warmheap.hpp, which programs include.

#ifndef WARMHEAP_BUFFER_HPP
#define WARMHEAP_BUFFER_HPP

#include <cstdint>
#include <optional>

#include "detail.hpp"
#include "request.hpp"
#include "ticket.hpp"

namespace warmheap {

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

} // namespace warmheap

#endif // WARMHEAP_BUFFER_HPP
