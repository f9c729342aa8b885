// What calls throw that fail. Part of warmheap.hpp, which programs include.

#ifndef WARMHEAP_ERROR_HPP
#define WARMHEAP_ERROR_HPP

#include <stdexcept>
#include <string>

#include "../warmheap.h"

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

} // namespace detail

} // namespace warmheap

#endif // WARMHEAP_ERROR_HPP
