// The library's log. Part of warmheap.hpp, which programs include.

#ifndef WARMHEAP_LOG_HPP
#define WARMHEAP_LOG_HPP

#include <cstdint>
#include <functional>
#include <utility>

#include "detail.hpp"

namespace warmheap {

/// Receives the library's log while it lives. A process has one log: a newer object of this class, or a call of
/// `wh_set_log`, takes the log over for good, and the end of the older object does not end the newer one.
///
/// The callback runs on the thread that logs; what it throws is dropped. When the destructor returns, no thread
/// is in it any more. Do not destroy the object within a callback of the library, where nothing can wait.
class Log {
  public:
    using Callback = std::function<void(wh_log_level level, const char *message, const char *fields)>;

    Log(wh_log_level level, Callback callback) : callback_(std::move(callback)) {
        if (!callback_) {
            throw Error(WH_INVALID_ARGUMENT, "callback is empty");
        }
        detail::check(wh_set_log(receive, this, static_cast<std::uint32_t>(level)));
    }
    Log(const Log &) = delete;
    Log &operator=(const Log &) = delete;
    ~Log() { wh_unset_log(receive, this); }

  private:
    static void receive(void *user, const wh_log_record *record) {
        try {
            static_cast<Log *>(user)->callback_(record->level, record->message, record->fields);
        } catch (...) {
        }
    }

    Callback callback_;
};

} // namespace warmheap

#endif // WARMHEAP_LOG_HPP
