// Stands in for MLX's library on Metal: its allocator's classes, by the names and with the tables that MLX's own
// have. Its MTLBuffers come from functions that the test gives it.
#include <cstddef>

namespace mlx::core::allocator {
class Buffer {
 public:
  explicit Buffer(void *object) : object(object) {}
  void *raw_ptr();
  void *object;
};

class Allocator {
 public:
  virtual Buffer malloc(size_t size) = 0;
  virtual void free(Buffer buffer) = 0;
  virtual size_t size(Buffer buffer) const = 0;
  virtual Buffer make_buffer(void *, size_t) { return Buffer{nullptr}; }
  virtual void release(Buffer) {}
  virtual ~Allocator() = default;
};

Allocator &allocator();
} // namespace mlx::core::allocator

using mlx::core::allocator::Buffer;

extern "C" {
struct Metal {
  void *(*make)(size_t);
  void (*release)(void *);
  void *(*contents)(void *);
  size_t (*length)(void *);
} metal;
}
long alive;

namespace mlx::core::metal {
class MetalAllocator : public allocator::Allocator {
 public:
  Buffer malloc(size_t size) override {
    if (size == 0) return Buffer{nullptr};
    alive++;
    return Buffer{::metal.make(size)};
  }
  void free(Buffer buffer) override {
    if (!buffer.object) return;
    alive--;
    ::metal.release(buffer.object);
  }
  size_t size(Buffer buffer) const override { return buffer.object ? ::metal.length(buffer.object) : 0; }
};
} // namespace mlx::core::metal

namespace mlx::core::allocator {
Allocator &allocator() {
  static Allocator *made = new metal::MetalAllocator;
  return *made;
}
void *Buffer::raw_ptr() { return object ? ::metal.contents(object) : nullptr; }
} // namespace mlx::core::allocator

// What MLX does with its allocator.
using mlx::core::allocator::allocator;
extern "C" {
void *mlx_malloc(size_t size) { return allocator().malloc(size).object; }
void mlx_free(void *buffer) { allocator().free(Buffer{buffer}); }
size_t mlx_size(void *buffer) { return allocator().size(Buffer{buffer}); }
void *mlx_contents(void *buffer) { return Buffer{buffer}.raw_ptr(); }
long mlx_own_alive() { return alive; }
}
