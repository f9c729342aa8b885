// Memory of a pool for containers. Part of warmheap.hpp, which programs include.

#ifndef WARMHEAP_MEMORY_RESOURCE_HPP
#define WARMHEAP_MEMORY_RESOURCE_HPP

#include <cstddef>
#include <limits>
#include <memory_resource>
#include <new>
#include <string>
#include <utility>

#include "buffer.hpp"
#include "detail.hpp"
#include "pool.hpp"

namespace warmheap {

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

#endif // WARMHEAP_MEMORY_RESOURCE_HPP
