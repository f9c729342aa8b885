// Queues, for memory that work in flight uses. Part of warmheap.hpp, which programs include.

#ifndef WARMHEAP_QUEUE_HPP
#define WARMHEAP_QUEUE_HPP

#include <cstdint>
#include <string>

#include "buffer.hpp"
#include "detail.hpp"
#include "request.hpp"
#include "ticket.hpp"

namespace warmheap {

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

} // namespace warmheap

#endif // WARMHEAP_QUEUE_HPP
