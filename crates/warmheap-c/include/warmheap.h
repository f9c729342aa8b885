/* Warmheap: pooled GPU memory for inference engines. The interface for C.
 *
 * Every function may be called from any thread, and answers nonsense with an error instead of
 * undefined behaviour. Made from the Rust source by cbindgen; do not edit. */

#ifndef WARMHEAP_H
#define WARMHEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The version of this interface: a program compiled against a header with the same major number
// works with this library.
#define WH_VERSION_MAJOR 0

// Rises when functions are added.
#define WH_VERSION_MINOR 1

// For `wh_allocate`: the memory reads as zero.
#define WH_ZEROED 1

// For `wh_allocate`: fail rather than ask the device.
#define WH_NO_FALLBACK 2

// How a call ended. `wh_last_error` has the words.
typedef enum wh_status {
  // Done.
  WH_OK = 0,
  // An argument was null, out of range or not UTF-8.
  WH_INVALID_ARGUMENT = 1,
  // The handle names nothing: never made, closed or freed before.
  WH_INVALID_HANDLE = 2,
  // The configuration was refused.
  WH_INVALID_CONFIG = 3,
  // Neither the heaps nor the device have the memory.
  WH_OUT_OF_MEMORY = 4,
  // There is no such device here.
  WH_UNAVAILABLE = 5,
  // The device failed.
  WH_DEVICE_ERROR = 6,
  // A defect of the library itself; the call had no effect that can be told.
  WH_INTERNAL = 7,
} wh_status;

// A pool. All zeros names none.
typedef struct wh_pool {
  // Of no meaning to callers.
  uint64_t id;
} wh_pool;

// A buffer. All zeros names none.
typedef struct wh_buffer {
  // Of no meaning to callers.
  uint64_t id;
} wh_buffer;

// Where a buffer is.
typedef struct wh_buffer_info {
  // The device's address of the first byte.
  uint64_t address;
  // The CPU's pointer to it; null if the CPU cannot touch this memory.
  void *host;
  // The bytes that were asked for.
  uint64_t size;
  // Straight from the device, because no heap could serve it.
  bool is_fallback;
} wh_buffer_info;

// How often a stage of the slow path was tried, and how often it served the request.
typedef struct wh_stage {
  // Times tried.
  uint64_t tried;
  // Times it served.
  uint64_t served;
} wh_stage;

// The stages that a request goes through, in this order, when no heap has room for it.
typedef struct wh_slow_path {
  // Retired buffers whose work has completed are freed.
  struct wh_stage retired;
  // Thread caches give up the spans they keep.
  struct wh_stage caches;
  // The pool takes purgeable heaps back into use.
  struct wh_stage purgeable;
  // Movable buffers make room.
  struct wh_stage compaction;
  // The device is asked for heap memory.
  struct wh_stage growth;
  // The device is asked for a buffer.
  struct wh_stage fallback;
  // The request waits for work in flight.
  struct wh_stage wait;
  // The program's callbacks are asked to free something.
  struct wh_stage callbacks;
} wh_slow_path;

// What a pool can tell about itself. Figures ending in `_mb` are MiB (2^20 bytes).
typedef struct wh_statistics {
  // Requests that got a buffer.
  uint64_t total_allocations;
  // Buffers given back.
  uint64_t total_deallocations;
  // Requests that no heap could serve and the device did.
  uint64_t fallback_allocations;
  // Requests that failed.
  uint64_t failed_allocations;
  // Buffers alive now.
  uint64_t active_allocations;
  // `(total - fallback) / total`; 1 when there were none.
  double hit_rate;
  // Heaps held from the device.
  uint64_t total_heaps;
  // Heaps with a live buffer.
  uint64_t active_heaps;
  // Used part of the heaps, 0 to 1.
  double utilization;
  // `1 - largest free block / free`, 0 to 1.
  double fragmentation;
  // The largest request answered.
  double largest_allocation_mb;
  // The mean request answered.
  double avg_allocation_mb;
  // Heap memory held from the device.
  double total_capacity_mb;
  // Heap memory under live buffers.
  double used_capacity_mb;
  // The most requested bytes alive at once.
  double peak_used_mb;
  // Memory under live fallback buffers.
  double fallback_mb;
  // Free memory held back for the next requests.
  double cached_mb;
  // Freed memory that is not reused before it can be cleared.
  double quarantined_mb;
  // Calls made to the device.
  uint64_t device_calls;
  // Driver objects held, where they are scarce beside bytes.
  uint64_t device_objects;
  // The most driver objects that may be held; 0 without such a limit.
  uint64_t device_object_limit;
  // Retired buffers that wait for their queues.
  double in_flight_mb;
  // How often more came to be held than a soft limit says.
  uint64_t soft_limit_crossings;
  // Compactions, on demand and in the background.
  uint64_t compactions;
  // Buffers that compaction has moved.
  uint64_t moved_buffers;
  // Their requested bytes.
  double moved_mb;
  // Memory that compaction brought together in whole pages or heaps.
  double recovered_mb;
  // What was tried when no heap had room.
  struct wh_slow_path slow_path;
  // Bytes held from the device now: heaps and fallback buffers.
  uint64_t reserved_bytes;
  // The most bytes held from the device at once.
  uint64_t peak_reserved_bytes;
} wh_statistics;

// One of PyTorch's private pools: `c10::cuda::MempoolId_t`.
typedef struct warmheap_pool_id {
  // Of no meaning here.
  uint64_t first;
  // Of no meaning here.
  uint64_t second;
} warmheap_pool_id;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The library's interface version: `WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR`.
uint32_t wh_version(void);

// The library's release, as text. Never null; never freed.
const char *wh_version_string(void);

// Allocates `size` bytes. `align` is a power of two in bytes, or 0 for the device's own; `flags`
// is a sum of `WH_ZEROED` and `WH_NO_FALLBACK`, or 0; `tag` names the purpose and may be null. Every
// name is kept as long as the process lives: meant for tens of names, not millions.
//
// # Safety
// `tag` is null or ends with a zero byte; `buffer` is null or has room for the result.
enum wh_status wh_allocate(struct wh_pool pool,
                           uint64_t size,
                           uint64_t align,
                           uint32_t flags,
                           const char *tag,
                           struct wh_buffer *buffer);

// Says where a buffer is.
//
// # Safety
// `info` is null or has room for the result.
enum wh_status wh_inspect(struct wh_buffer buffer, struct wh_buffer_info *info);

// Frees a buffer, from any thread. Freeing one twice is an error and does nothing.
enum wh_status wh_free(struct wh_buffer buffer);

// Opens a pool on `device`: `host`, `cuda` or `cuda:N`. `config` is a configuration as YAML text;
// null asks for a pool that sizes itself. Environment variables `WARMHEAP_...` override it.
//
// # Safety
// The texts are null or end with a zero byte; `pool` is null or has room for the result.
enum wh_status wh_pool_open(const char *device, const char *config, struct wh_pool *pool);

// As `wh_pool_open`, with the configuration in a file.
//
// # Safety
// As `wh_pool_open`.
enum wh_status wh_pool_open_file(const char *device, const char *path, struct wh_pool *pool);

// Closes a pool. Its memory goes back to the device with the last of its buffers, which stay
// valid until freed.
enum wh_status wh_pool_close(struct wh_pool pool);

// Gives memory that no buffer uses back to the device until at most `target` bytes are held; 0
// asks for all of it.
enum wh_status wh_pool_trim(struct wh_pool pool, uint64_t target);

// Sets the pool's counters to zero; what is true now stays.
enum wh_status wh_pool_reset_statistics(struct wh_pool pool);

// A snapshot of the pool's statistics.
//
// # Safety
// `statistics` is null or has room for the result.
enum wh_status wh_pool_statistics(struct wh_pool pool, struct wh_statistics *statistics);

// Why the last call of this thread that did not answer `WH_OK` failed; an empty text if none has.
// Never null. Valid until the next call of this library on this thread; not to be freed.
const char *wh_last_error(void);

// Allocates for work on `stream`. Throws `c10::OutOfMemoryError` where there is no memory, and
// `c10::Error` where something else is wrong. Null for a size of 0.
void *warmheap_malloc(size_t size, int device, void *stream);

// Takes memory back from `stream`, the one it was allocated for: later work there may use it at
// once, other streams when all work that uses it is done.
void warmheap_free(void *address, size_t size, int device, void *stream);

// Hook `set_record_stream_fn`: `stream` uses the memory at `address` too, which is not reused
// before that stream's work at the time of the free is done.
void warmheap_record_stream(void *address, void *stream);

// Hook `set_init_fn`: starts writing statistics, if `WARMHEAP_STATS` names a file. The first use of
// a GPU does too.
void warmheap_init(int devices);

// Hook `set_reset_fn`, behind `torch.cuda.empty_cache()`: gives memory that nobody uses back to
// the devices.
void warmheap_empty_cache(void);

// Hook `set_begin_allocate_to_pool`: a graph is about to be captured, and what the capture
// allocates belongs to private pool `id`. Throws `c10::Error` if another capture is under way on
// the device. `filter`, which PyTorch passes to tell the capture's streams, is not needed.
void warmheap_begin_allocate_to_pool(int device, struct warmheap_pool_id id, const void *filter);

// Hook `set_end_allocate_to_pool_fn`: the capture is over.
void warmheap_end_allocate_to_pool(int device, struct warmheap_pool_id id);

// Hook `set_release_pool`: one of the graphs captured into private pool `id` is gone. With the last
// one, and the last buffer, the pool's memory goes back to the device.
void warmheap_release_pool(int device, struct warmheap_pool_id id);

// Starts the peaks of all pools anew.
void warmheap_reset_peaks(void);

// Writes the statistics of all pools as JSON into `text`, as much as fits into `capacity` bytes
// with a zero byte at the end, and returns the bytes that a whole answer takes.
//
// # Safety
// `text` is null or has room for `capacity` bytes.
size_t warmheap_statistics_json(char *text, size_t capacity);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WARMHEAP_H */
