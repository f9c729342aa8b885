// Positions in queues. Part of warmheap.hpp, which programs include.

#ifndef WARMHEAP_TICKET_HPP
#define WARMHEAP_TICKET_HPP

#include <chrono>

#include "detail.hpp"

namespace warmheap {

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

} // namespace warmheap

#endif // WARMHEAP_TICKET_HPP
