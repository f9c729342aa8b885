/* Warmheap: pooled GPU memory for inference engines. The interface for C.
 *
 * Any thread may call any function. A wrong argument is an error, not undefined behaviour.
 * cbindgen makes this file from the Rust source; do not edit it. */

#ifndef WARMHEAP_H
#define WARMHEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The version of this interface. A library works with a program that was compiled against a header of the
// same major version.
#define WH_VERSION_MAJOR 0

// The minor version rises when functions are added.
#define WH_VERSION_MINOR 1

// A flag for `wh_allocate`: the memory reads as zero.
#define WH_ZEROED 1

// A flag for `wh_allocate`: the call fails if no heap can serve it, and takes no buffer straight from the
// device.
#define WH_NO_FALLBACK 2

// The result of a call. `wh_last_error` returns the reason for a failure as text.
typedef enum wh_status {
  // The call succeeded.
  WH_OK = 0,
  // An argument was null, out of range or not UTF-8.
  WH_INVALID_ARGUMENT = 1,
  // The handle names nothing: it was never made, or its object is closed or freed.
  WH_INVALID_HANDLE = 2,
  // The configuration was refused.
  WH_INVALID_CONFIG = 3,
  // Neither the heaps nor the device had the memory.
  WH_OUT_OF_MEMORY = 4,
  // This machine has no such device.
  WH_UNAVAILABLE = 5,
  // The device failed.
  WH_DEVICE_ERROR = 6,
  // The library has a defect. The effect of the call is unknown.
  WH_INTERNAL = 7,
  // The handle belongs to a parent process, of which this one is a fork. The call did nothing.
  WH_FORKED = 8,
} wh_status;

// The handle of a pool. All zeros is the handle of no pool.
typedef struct wh_pool {
  // The number has no meaning to callers.
  uint64_t id;
} wh_pool;

// The handle of a buffer. All zeros is the handle of no buffer.
typedef struct wh_buffer {
  // The number has no meaning to callers.
  uint64_t id;
} wh_buffer;

// The place and size of a buffer.
typedef struct wh_buffer_info {
  // The device's address of the first byte.
  uint64_t device_address;
  // The CPU's pointer to the first byte; null if the CPU cannot access this memory.
  void *host_ptr;
  // The requested bytes.
  uint64_t size;
  // True if the buffer is straight from the device, because no heap could serve the request.
  bool is_fallback;
} wh_buffer_info;

// How often a stage of the slow path was tried, and how often it served the request.
typedef struct wh_stage {
  // Times tried.
  uint64_t tried;
  // Times that it served the request.
  uint64_t served;
} wh_stage;

// The stages that a request goes through, in this order, when no heap has room for it. After a wait or a
// callback, the slow path begins again. The stage that then serves the request is counted as well.
typedef struct wh_slow_path {
  // The pool frees retired buffers whose work has completed.
  struct wh_stage retired;
  // Thread caches give up the spans that they keep.
  struct wh_stage caches;
  // The pool takes purgeable heaps back into use.
  struct wh_stage purgeable;
  // Movable buffers make room.
  struct wh_stage compaction;
  // The pool asks the device for heap memory.
  struct wh_stage growth;
  // The pool asks the device for a buffer.
  struct wh_stage fallback;
  // The request waits for work in flight.
  struct wh_stage wait;
  // The pool asks the program's callbacks to free something.
  struct wh_stage callbacks;
} wh_slow_path;

// A snapshot of a pool's statistics. Figures ending in `_mb` are MiB (2^20 bytes).
typedef struct wh_statistics {
  // Requests that got a buffer, from a heap or by fallback.
  uint64_t total_allocations;
  // Buffers freed.
  uint64_t total_deallocations;
  // Requests that the device served, because no heap could.
  uint64_t fallback_allocations;
  // Requests that failed, because memory or a quota was short, or the device could not clear the memory.
  uint64_t failed_allocations;
  // Buffers alive now.
  uint64_t active_allocations;
  // `(total - fallback) / total`, 0 to 1; 1 without requests.
  double hit_rate;
  // Heaps held from the device.
  uint64_t total_heaps;
  // Heaps that have a span out: in a live buffer, a cache or quarantine.
  uint64_t active_heaps;
  // `used_capacity_mb / total_capacity_mb`, 0 to 1; 0 without heaps.
  double utilization;
  // `1 - largest free block / free`, 0 to 1, over all heaps; 0 if nothing is free.
  double fragmentation;
  // The size of the largest request served since the last reset, growth included.
  double largest_allocation_mb;
  // The mean size of the requests served since the last reset, growth included.
  double avg_allocation_mb;
  // Heap memory held from the device.
  double total_capacity_mb;
  // Heap memory of live buffers, rounding included.
  double used_capacity_mb;
  // The most requested bytes alive at once since the last reset, heaps and fallback together. The figure
  // is exact where one thread uses the pool. Where several do, it is right to 128 MiB for each thread.
  double peak_used_mb;
  // Memory of live fallback buffers.
  double fallback_mb;
  // Free memory that thread caches and the depot keep for later requests.
  double cached_mb;
  // Freed memory in quarantine, which the device could not clear yet, heaps and fallback together.
  double quarantined_mb;
  // Calls made to the device since start-up began, warm-up included. A reset does not zero them.
  uint64_t device_calls;
  // Driver objects held now, such as MTLHeaps and MTLBuffers; 0 on a device without a limit on them.
  uint64_t device_objects;
  // The most driver objects that the device may hold; 0 without such a limit.
  uint64_t device_object_limit;
  // Requested bytes of retired buffers that wait for their queues.
  double in_flight_mb;
  // How often the bytes or objects held from the device passed a soft limit.
  uint64_t soft_limit_crossings;
  // Compactions, on demand and in the background.
  uint64_t compactions;
  // Buffers that compaction has moved.
  uint64_t moved_buffers;
  // Requested bytes of the buffers that compaction has moved.
  double moved_mb;
  // Memory that compaction joined into whole free pages or heaps, which a trim can give back.
  double recovered_mb;
  // How often each stage of the slow path was tried, and how often it served the request.
  struct wh_slow_path slow_path;
  // Bytes held from the device now: heaps and fallback buffers.
  uint64_t reserved_bytes;
  // The most bytes held from the device at once since the last reset.
  uint64_t peak_reserved_bytes;
} wh_statistics;

// One of PyTorch's private pools: `c10::cuda::MempoolId_t`.
typedef struct warmheap_pool_id {
  // The number has no meaning to Warmheap.
  uint64_t first;
  // The number has no meaning to Warmheap.
  uint64_t second;
} warmheap_pool_id;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the library's interface version: `WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR`.
uint32_t wh_version(void);

// Returns the library's release as text. The pointer is never null, and the caller never frees it.
const char *wh_version_string(void);

// Allocates `size` bytes. `align` is a power of two in bytes, or 0 for the device's own alignment. `flags`
// is a sum of `WH_ZEROED` and `WH_NO_FALLBACK`, or 0. `tag` names the purpose and may be null. The library
// keeps every tag as long as the process lives, so a program should use tens of tags, not millions.
//
// # Safety
// `tag` is null or ends with a zero byte. `buffer` is null or has room for the result.
enum wh_status wh_allocate(struct wh_pool pool,
                           uint64_t size,
                           uint64_t align,
                           uint32_t flags,
                           const char *tag,
                           struct wh_buffer *buffer);

// Writes the place and size of a buffer to `info`.
//
// # Safety
// `info` is null or has room for the result.
enum wh_status wh_inspect(struct wh_buffer buffer, struct wh_buffer_info *info);

// Frees a buffer, from any thread. Freeing a buffer twice is an error and does nothing.
enum wh_status wh_free(struct wh_buffer buffer);

// Opens a pool on `device`: `host`, `cuda` or `cuda:N`. `config` is a configuration as YAML text. If it is
// null, the pool sizes itself. The environment variables `WARMHEAP_...` override the configuration.
//
// # Safety
// `device` and `config` are null or end with a zero byte. `pool` is null or has room for the result.
enum wh_status wh_pool_open(const char *device, const char *config, struct wh_pool *pool);

// Opens a pool as `wh_pool_open` does, with the configuration in the file `path`.
//
// # Safety
// `device` and `path` are null or end with a zero byte. `pool` is null or has room for the result.
enum wh_status wh_pool_open_file(const char *device, const char *path, struct wh_pool *pool);

// Closes a pool. Live buffers stay valid until they are freed. The pool's memory goes back to the device
// with the last of them.
enum wh_status wh_pool_close(struct wh_pool pool);

// Gives free memory back to the device until the pool holds at most `target` bytes, or no more can go. A
// target of 0 means all free memory.
enum wh_status wh_pool_trim(struct wh_pool pool, uint64_t target);

// Sets the pool's counters to zero. Gauges keep their values, and peaks start again from the present values.
enum wh_status wh_pool_reset_statistics(struct wh_pool pool);

// Writes a snapshot of the pool's statistics to `statistics`.
//
// # Safety
// `statistics` is null or has room for the result.
enum wh_status wh_pool_statistics(struct wh_pool pool, struct wh_statistics *statistics);

// Returns the reason for the last failure of a call on this thread, or an empty text if no call has failed.
// The pointer is never null. It is valid until the next call of this library on this thread, and the caller
// does not free it.
const char *wh_last_error(void);

// Allocates memory for work on `stream`. Throws `c10::OutOfMemoryError` if there is no memory, and
// `c10::Error` if anything else is wrong. Returns null for a size of 0.
void *warmheap_malloc(size_t size, int device, void *stream);

// Frees memory. Later work on `stream`, for which it was allocated, may use it at once. Other streams may
// use it when all work that uses it is done. A wrong `device` does no harm. Memory that is not Warmheap's is
// left alone.
void warmheap_free(void *address, size_t size, int device, void *stream);

// Hook `set_record_stream_fn`: notes that `stream` uses the memory at `address`, too. When the memory is
// freed, it is not reused before the work that `stream` has by then is done.
void warmheap_record_stream(void *address, void *stream);

// Hook `set_init_fn`: starts writing statistics if `WARMHEAP_STATS` names a file. The first allocation does
// so, too.
void warmheap_init(int devices);

// Hook `set_reset_fn`, behind `torch.cuda.empty_cache()`: gives free memory back to the devices.
void warmheap_empty_cache(void);

// Hook `set_begin_allocate_to_pool`: announces the capture of a graph. What the capture allocates belongs to
// private pool `id`. Throws `c10::Error` if another capture is under way on the device. PyTorch passes
// `filter` to identify the capture's streams; this function does not need it.
void warmheap_begin_allocate_to_pool(int device, struct warmheap_pool_id id, const void *filter);

// Hook `set_end_allocate_to_pool_fn`: ends the capture.
void warmheap_end_allocate_to_pool(int device, struct warmheap_pool_id id);

// Hook `set_release_pool`: notes that one of the graphs captured into private pool `id` is gone. The private
// pool's memory goes back to the device when its last graph and its last buffer are gone.
void warmheap_release_pool(int device, struct warmheap_pool_id id);

// Resets the statistics of all pools, so that peaks start again from the present values.
void warmheap_reset_peaks(void);

// Writes the statistics of all pools to `text` as JSON. Writes as much as fits into `capacity` bytes, with a
// zero byte at the end. Returns the bytes that the whole text takes, the zero byte included.
//
// # Safety
// `text` is null or has room for `capacity` bytes.
size_t warmheap_statistics_json(char *text, size_t capacity);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WARMHEAP_H */
