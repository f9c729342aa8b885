/* Warmheap: pooled GPU memory for inference engines. The interface for C.
 *
 * Any thread may call any function. A wrong argument is an error, not undefined behaviour. Every item names
 * the version that brought it. Structs that carry their size grow at the end only, so that a newer library
 * serves an older program.
 * cbindgen makes this file from the Rust source; do not edit it. */

#ifndef WARMHEAP_H
#define WARMHEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The version of this interface. A library works with a program that was compiled against a header of the
// same major version, and of the same or a smaller minor version. Since 0.1.
#define WH_VERSION_MAJOR 0

// The minor version rises when functions are added. Since 0.1.
#define WH_VERSION_MINOR 2

// A flag of requests: the memory reads as zero. Since 0.1.
#define WH_ZEROED 1

// A flag of requests: the call fails if no heap can serve it, and takes no buffer straight from the device.
// Since 0.1.
#define WH_NO_FALLBACK 2

// A flag of requests: the call never waits for memory in flight, whatever the pool's `wait_ms` says.
// Since 0.2.
#define WH_NO_WAIT 4

// A flag of requests: the call returns `WH_WOULD_BLOCK` where only a device call or another thread could
// serve it. For callers that hold a lock of their own. Since 0.2.
#define WH_NON_BLOCKING 8

// A flag of requests: compaction may move the buffer while it is not pinned; see `wh_pin`. Since 0.2.
#define WH_MOVABLE 16

// The result of a call. `wh_last_error` returns the reason for a failure as text. Since 0.1, as
// are the values without another version.
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
  // The tag's quota does not allow the request. Since 0.2.
  WH_QUOTA_EXCEEDED = 9,
  // The buffer has no room to grow where it is; `wh_grow_or_move` moves it. Since 0.2.
  WH_CANNOT_GROW = 10,
  // The request may not wait, and only a device call or another thread could have served it. Since 0.2.
  WH_WOULD_BLOCK = 11,
  // The call comes too early, too late or twice. It did nothing. Since 0.2.
  WH_WRONG_ORDER = 12,
  // The device lost the queue, which makes no more progress. Since 0.2.
  WH_QUEUE_LOST = 13,
  // A trace could not be written. Since 0.2.
  WH_FILE_ERROR = 14,
} wh_status;

// How much a record of the log matters. Since 0.2.
typedef enum wh_log_level {
  // Something is lost: buffers leaked, or the device failed. Since 0.2.
  WH_LOG_ERROR = 1,
  // Memory is short, or a setting does not fit. Since 0.2.
  WH_LOG_WARN = 2,
  // What would help, and pools that close without leaks. Since 0.2.
  WH_LOG_INFO = 3,
  // What the pool does by itself. Since 0.2.
  WH_LOG_DEBUG = 4,
} wh_log_level;

// Why a pool calls a callback of `wh_pool_on_pressure`. Since 0.2.
typedef enum wh_pressure_kind {
  // The pool holds more than a soft limit allows, and has given back all that no buffer uses. Since 0.2.
  WH_PRESSURE_SOFT_LIMIT = 1,
  // A request is about to fail. The pool tries it once more after the callbacks. Since 0.2.
  WH_PRESSURE_EXHAUSTED = 2,
} wh_pressure_kind;

// The handle of a pool. All zeros is the handle of no pool.
// Since 0.1, as are the fields without another version.
typedef struct wh_pool {
  // The number has no meaning to callers.
  uint64_t id;
} wh_pool;

// The handle of a buffer. All zeros is the handle of no buffer.
// Since 0.1, as are the fields without another version.
typedef struct wh_buffer {
  // The number has no meaning to callers.
  uint64_t id;
} wh_buffer;

// A request for memory. Begin with `wh_request request = WH_REQUEST_INIT;`, which sets the size of the struct
// and the line for leak reports, and set what matters.
// Since 0.2, as are the fields without another version.
typedef struct wh_request {
  // `sizeof(wh_request)`.
  size_t struct_size;
  // The file that asks, for leak reports: `__FILE__`, or null. The library keeps every line of source that
  // it has seen.
  const char *file;
  // The line of `file`.
  uint32_t line;
  // A sum of `WH_ZEROED` and the other flags, or 0.
  uint32_t flags;
  // Bytes, at least 1.
  uint64_t size;
  // A power of two in bytes that divides the address, or 0 for the device's own alignment.
  uint64_t align;
  // The bytes that the buffer may grow to in place, or 0; see `wh_grow`.
  uint64_t growable;
  // How many milliseconds the call may wait for memory in flight if nothing else can serve it; 0 means the
  // pool's `wait_ms`.
  uint64_t wait_ms;
  // The purpose, for leak reports and quotas, or null. The library keeps every tag as long as the process
  // lives, so a program should use tens of tags, not millions.
  const char *tag;
} wh_request;

// The place and size of a buffer. Set `struct_size` before a call that fills it.
// Since 0.2, as are the fields without another version.
typedef struct wh_buffer_info {
  // `sizeof(wh_buffer_info)`.
  size_t struct_size;
  // The device's address of the first byte.
  uint64_t device_address;
  // The CPU's pointer to the first byte; null if the CPU cannot access this memory.
  void *host_ptr;
  // The requested bytes.
  uint64_t size;
  // How often compaction has moved the buffer. Addresses from before the last move are stale.
  uint64_t moves;
  // True if the buffer is straight from the device, because no heap could serve the request.
  bool is_fallback;
} wh_buffer_info;

// A record of the log. The texts live until the callback returns.
// Since 0.2, as are the fields without another version.
typedef struct wh_log_record {
  // `sizeof(wh_log_record)`, as the library knows it.
  size_t struct_size;
  // How much it matters.
  enum wh_log_level level;
  // What happened, in words.
  const char *message;
  // The figures of the record as a JSON object: `{"reserved":1048576}`.
  const char *fields;
} wh_log_record;

// A function that receives the log. `user` is what `wh_set_log` was given. Since 0.2.
typedef void (*wh_log_callback)(void *user, const struct wh_log_record *record);

// What a compaction did. Set `struct_size` before a call that fills it.
// Since 0.2, as are the fields without another version.
typedef struct wh_compaction {
  // `sizeof(wh_compaction)`.
  size_t struct_size;
  // The buffers that moved.
  uint64_t moved_buffers;
  // The bytes of those buffers.
  uint64_t moved_bytes;
  // The bytes that came free in whole pages or heaps. A trim can give them back now.
  uint64_t recovered_bytes;
  // The buffers that stayed because they were pinned or in flight.
  uint64_t busy_buffers;
  // Whether every buffer was looked at. `false` means that the budget was spent before.
  bool finished;
} wh_compaction;

// What a callback is told.
// Since 0.2, as are the fields without another version.
typedef struct wh_pressure {
  // `sizeof(wh_pressure)`, as the library knows it.
  size_t struct_size;
  // Why the pool calls.
  enum wh_pressure_kind kind;
  // The requested bytes, if a request is about to fail; else 0.
  uint64_t requested;
  // The bytes held from the device, at a soft limit; else 0.
  uint64_t reserved;
  // The heaps and fallback buffers held, at a soft limit; else 0.
  uint64_t objects;
} wh_pressure;

// A function for moments when memory is short. `user` is what `wh_pool_on_pressure` was given. Since 0.2.
typedef void (*wh_pressure_callback)(void *user, struct wh_pool pool, const struct wh_pressure *pressure);

// How often a stage of the slow path was tried, and how often it served the request.
// Since 0.1, as are the fields without another version.
typedef struct wh_stage {
  // Times tried.
  uint64_t tried;
  // Times that it served the request.
  uint64_t served;
} wh_stage;

// The stages that a request goes through, in this order, when no heap has room for it. After a wait or a
// callback, the slow path begins again. The stage that then serves the request is counted as well.
// Since 0.1, as are the fields without another version.
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

// A snapshot of a pool's statistics. Figures ending in `_mb` are MiB (2^20 bytes). Set `struct_size` before a
// call that fills it.
// Since 0.2, as are the fields without another version.
typedef struct wh_statistics {
  // `sizeof(wh_statistics)`.
  size_t struct_size;
  // Requests that got a buffer, from a heap or by fallback.
  uint64_t total_allocations;
  // Buffers freed, of those allocated since the last reset. Those that were alive at the reset are taken to
  // be freed first.
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
  // The most requested bytes alive at once since the last reset, heaps and fallback together. It is exact
  // where one thread uses the pool. Each further thread may add what it has freed since its own peak, up to
  // 130 MiB, or 3 MiB if it only allocates or only frees. A snapshot that is taken while a thread works may
  // add 1 MiB for that thread, once. It is never too low, nor above the most held.
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
  // Of the bytes in flight, those whose queue is lost or has no handle left. They come back when the work is
  // done, or when the last handle of a lost queue goes.
  double orphaned_mb;
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

// The handle of a queue: an order of work that uses a pool's memory. All zeros is the handle of no queue.
// Since 0.2, as are the fields without another version.
typedef struct wh_queue {
  // The number has no meaning to callers.
  uint64_t id;
} wh_queue;

// A position in a queue: all work up to one signal. A plain value, which need not be freed.
// Since 0.2, as are the fields without another version.
typedef struct wh_ticket {
  // The queue.
  struct wh_queue queue;
  // The position, counted from 1.
  uint64_t value;
} wh_ticket;

// One of PyTorch's private pools: `c10::cuda::MempoolId_t`.
// Since 0.1, as are the fields without another version.
typedef struct warmheap_pool_id {
  // The number has no meaning to Warmheap.
  uint64_t first;
  // The number has no meaning to Warmheap.
  uint64_t second;
} warmheap_pool_id;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the library's interface version: `WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR`. Since 0.1.
uint32_t wh_version(void);

// Returns the library's release as text. The pointer is never null, and the caller never frees it.
// Since 0.1.
const char *wh_version_string(void);

// Allocates `size` bytes. `align` is a power of two in bytes, or 0 for the device's own alignment. `flags`
// is a sum of `WH_ZEROED` and the other flags, or 0. `tag` names the purpose and may be null. The library
// keeps every tag as long as the process lives, so a program should use tens of tags, not millions.
//
// In C and C++ this is a macro that also passes the line, for leak reports; `WH_NO_CALL_SITES` prevents that.
// `wh_allocate_with` takes more options. Since 0.1.
//
// # Safety
// `tag` is null or ends with a zero byte. `buffer` is null or has room for the result.
enum wh_status wh_allocate(struct wh_pool pool,
                           uint64_t size,
                           uint64_t align,
                           uint32_t flags,
                           const char *tag,
                           struct wh_buffer *buffer);

// As `wh_allocate`, for a caller at `line` of `file`, which may be null. Since 0.2.
//
// # Safety
// As `wh_allocate`. `file` is null or ends with a zero byte.
enum wh_status wh_allocate_at(struct wh_pool pool,
                              uint64_t size,
                              uint64_t align,
                              uint32_t flags,
                              const char *tag,
                              struct wh_buffer *buffer,
                              const char *file,
                              uint32_t line);

// Allocates what `request` says. Since 0.2.
//
// # Safety
// `request` is null or points to a request, whose texts are null or end with a zero byte. `buffer` is null
// or has room for the result.
enum wh_status wh_allocate_with(struct wh_pool pool,
                                const struct wh_request *request,
                                struct wh_buffer *buffer);

// Writes the place and size of a buffer to `info`. A movable buffer has a place while it is pinned.
// Since 0.1.
//
// # Safety
// `info` is null or points to a struct whose `struct_size` is set.
enum wh_status wh_inspect(struct wh_buffer buffer, struct wh_buffer_info *info);

// Frees a buffer, from any thread. Freeing a buffer twice is an error and does nothing. A pinned buffer cannot
// be freed; unpin it first. Since 0.1.
enum wh_status wh_free(struct wh_buffer buffer);

// Makes a buffer `size` bytes long where it is: its address and its contents stay, and the new bytes are
// uninitialised. A size that is not larger changes nothing. Returns `WH_CANNOT_GROW` if there is no room;
// `growable` of the request asks for some. Since 0.2.
enum wh_status wh_grow(struct wh_buffer buffer, uint64_t size);

// As `wh_grow`, to the size of `request`. Where there is no room, copies the contents to a new place, as
// `request` says, and `buffer` is there from now on: its addresses have changed. Writes the handle of the old
// place to `left`, for the caller to free, or to retire if work in flight still reads it. Writes a handle of
// all zeros if the buffer did not move. Work that writes to the buffer must be done before the call.
// Since 0.2.
//
// # Safety
// `request` is null or points to a request, whose texts are null or end with a zero byte. `left` is null or
// has room for the result.
enum wh_status wh_grow_or_move(struct wh_buffer buffer,
                               const struct wh_request *request,
                               struct wh_buffer *left);

// Keeps a movable buffer where it is until `wh_unpin`, and writes its place to `info`. Pins count: the buffer
// moves again after as many calls of `wh_unpin`, on any thread. Waits for the end of a move that is under
// way. Since 0.2.
//
// # Safety
// `info` is null or points to a struct whose `struct_size` is set.
enum wh_status wh_pin(struct wh_buffer buffer, struct wh_buffer_info *info);

// Ends one pin. Note first, with `wh_in_flight_until`, which work still uses the buffer. Since 0.2.
enum wh_status wh_unpin(struct wh_buffer buffer);

// Hands the library's log to `callback`: the records of `level` and of those that matter more. Null ends
// that. A process has one callback at a time, and each call replaces the one before. The callback is called on
// any thread, several at once, and inside calls of this library. It may call the library, and does not throw.
//
// When this call returns, no other thread is in a callback that was set before, so the data of those may be
// destroyed. Within a callback (of the log or of a pool) this call does not wait: it replaces the callback and
// returns. The data of the former one then stays until a later call outside of callbacks has returned. Do not
// hold a lock that the callback takes. Since 0.2.
//
// # Safety
// Any thread may call `callback` with `user`, as long as this says.
enum wh_status wh_set_log(wh_log_callback callback,
                          void *user,
                          uint32_t level);

// Ends what `wh_set_log` began with this `callback` and `user`, unless a later call has replaced it. When
// this call returns, no other thread is in that callback with that data; within a callback it does not wait,
// as `wh_set_log`. For libraries that share a process: none of them ends the log of another. Since 0.2.
enum wh_status wh_unset_log(wh_log_callback callback, void *user);

// Opens a pool on `device`. A device is a name, and options after a colon, separated by commas:
//
// - `host`: memory of this process. Option `budget=MIB`.
// - `sim`: a device without memory, for tests. Options `budget=MIB`, `discrete` (heaps cannot grow in place),
//   `purgeable` (the system may take unused heaps), `latency=MICROSECONDS`: `sim:discrete,budget=4096`.
// - `cuda`: an NVIDIA GPU. Options: the GPU's number, and `ordered` (single buffers by `cudaMallocAsync`):
//   `cuda:0,ordered`.
// - `metal`: the GPU of an Apple system.
//
// `config` is a configuration as YAML text, or null for the file that the environment variable
// `WARMHEAP_CONFIG` names, if it is set. A pool sizes itself unless the configuration sizes fixed
// heaps: `heap_sizing: fixed`, or one of `heap_size_mb`, `num_heaps`, `warmup_sizes`, `allocation_strategy`,
// `dynamic_growth`, `max_heaps` and `growth_trigger`. Every other key keeps its default. The environment
// variables `WARMHEAP_...` override the configuration. Since 0.1.
//
// # Safety
// `device` and `config` are null or end with a zero byte. `pool` is null or has room for the result.
enum wh_status wh_pool_open(const char *device, const char *config, struct wh_pool *pool);

// Opens a pool as `wh_pool_open` does, with the configuration in the file `path`. Since 0.1.
//
// # Safety
// `device` and `path` are null or end with a zero byte. `pool` is null or has room for the result.
enum wh_status wh_pool_open_file(const char *device, const char *path, struct wh_pool *pool);

// Closes a pool. Live buffers stay valid until they are freed. The pool's memory goes back to the device
// with the last of them. A pool with open queues ends when they are closed; meanwhile its buffers and queues
// work, and nothing can be allocated. A recording ends; if it could not be written, the pool closes all the
// same, and the call returns `WH_FILE_ERROR`. Callbacks end, as `wh_pool_on_pressure` says. Since 0.1.
enum wh_status wh_pool_close(struct wh_pool pool);

// Writes the settings of a pool to `text` as YAML. The text and its length are written as
// `wh_pool_statistics_json` does. Since 0.2.
//
// # Safety
// `text` is null or has room for `capacity` bytes. `needed` is null or has room for the result.
enum wh_status wh_pool_settings(struct wh_pool pool, char *text, size_t capacity, size_t *needed);

// Gives free memory back to the device until the pool holds at most `target` bytes, or no more can go. A
// target of 0 means all free memory. Since 0.1.
enum wh_status wh_pool_trim(struct wh_pool pool, uint64_t target);

// Gives back memory that no request has needed for about `idle_ms` milliseconds, a little at each call, and
// frees what queues have completed. Writes the milliseconds until the next call is due to `next_ms`, which
// may be null. For programs that have a thread for such things; with the setting `trim_after_ms` the pool has
// one of its own. Since 0.2.
//
// # Safety
// `next_ms` is null or has room for the result.
enum wh_status wh_pool_maintain(struct wh_pool pool, uint64_t idle_ms, uint64_t *next_ms);

// Lets the system take the pages of heaps without buffers until requests need those heaps again. Writes the
// bytes of those heaps to `bytes`, which may be null. On devices without such a state nothing happens, and
// the result is 0. Since 0.2.
//
// # Safety
// `bytes` is null or has room for the result.
enum wh_status wh_pool_make_purgeable(struct wh_pool pool, uint64_t *bytes);

// Packs movable buffers, so that the free memory between them becomes useful. Contents stay. Copies at most
// about `max_bytes` and takes at most about `max_ms` milliseconds; 0 is no limit. Writes what it did to
// `report`, which may be null. Since 0.2.
//
// # Safety
// `report` is null or points to a struct whose `struct_size` is set.
enum wh_status wh_pool_compact(struct wh_pool pool,
                               uint64_t max_bytes,
                               uint64_t max_ms,
                               struct wh_compaction *report);

// Registers `callback` for moments when memory is short: the pool holds more than a soft limit allows, or a
// request is about to fail, which is then tried once more. The callback runs on the thread whose request met
// the pressure, never for a free, and not within itself. It may call the library with this pool and others,
// and does not throw.
//
// It stays until `wh_pool_close`, also if queues keep the pool. That call waits until no other thread is in
// the callback, and calls `release` with `user`, unless that is null. Within a callback (of a pool or of the
// log) `wh_pool_close` does not wait; the last call of the callback to return then calls `release`. Do not hold
// a lock that the callback takes while the pool is closed. If this call fails, `release` is not called.
// Since 0.2.
//
// # Safety
// Any thread may call `callback` with `user` until the library has called `release`, as this says.
enum wh_status wh_pool_on_pressure(struct wh_pool pool,
                                   wh_pressure_callback callback,
                                   void *user,
                                   void (*release)(void *user));

// Sets the most requested bytes that may be alive under `tag`, those in flight included. A request that would
// pass it returns `WH_QUOTA_EXCEEDED`. Buffers allocated before their tag first had a quota do not count.
// Since 0.2.
//
// # Safety
// `tag` is null or ends with a zero byte.
enum wh_status wh_pool_set_quota(struct wh_pool pool, const char *tag, uint64_t bytes);

// Removes the quota of `tag`. Since 0.2.
//
// # Safety
// `tag` is null or ends with a zero byte.
enum wh_status wh_pool_remove_quota(struct wh_pool pool, const char *tag);

// Writes the quota of `tag` to `bytes`, and how much of it is used to `used`; either may be null. Without a
// quota both are `UINT64_MAX` and 0. Since 0.2.
//
// # Safety
// `tag` is null or ends with a zero byte. `bytes` and `used` are null or have room for the results.
enum wh_status wh_pool_quota(struct wh_pool pool, const char *tag, uint64_t *bytes, uint64_t *used);

// Writes the requests to the pool to a trace at `path` from now on, until `wh_pool_stop_recording`. The end of
// the name decides the compression: `.csv`, `.csv.gz`, `.csv.zst`. Buffers can do what they can do without.
// A recording of the pool that runs already goes on, and this call returns `WH_WRONG_ORDER`. Since 0.2.
//
// # Safety
// `path` is null or ends with a zero byte.
enum wh_status wh_pool_record(struct wh_pool pool,
                              const char *path);

// Ends the trace of `wh_pool_record` and writes its number of events to `events`, which may be null. Without
// a recording it returns `WH_WRONG_ORDER`. A write that failed meanwhile is reported here, and the trace then
// ends before it. Closing the pool ends its recording, too. Since 0.2.
//
// # Safety
// `events` is null or has room for the result.
enum wh_status wh_pool_stop_recording(struct wh_pool pool, uint64_t *events);

// Sets the pool's counters to zero. Gauges keep their values, and peaks start again from the present values.
// Since 0.1.
enum wh_status wh_pool_reset_statistics(struct wh_pool pool);

// Writes a snapshot of the pool's statistics to `statistics`. Since 0.1.
//
// # Safety
// `statistics` is null or points to a struct whose `struct_size` is set.
enum wh_status wh_pool_statistics(struct wh_pool pool, struct wh_statistics *statistics);

// Writes the pool's statistics to `text` as a JSON object. Writes as much as fits into `capacity` bytes, with
// a zero byte at the end, and the bytes that the whole text takes to `needed`, the zero byte included. With a
// null `text` and a capacity of 0 it only tells the length. Since 0.2.
//
// # Safety
// `text` is null or has room for `capacity` bytes. `needed` is null or has room for the result.
enum wh_status wh_pool_statistics_json(struct wh_pool pool, char *text, size_t capacity, size_t *needed);

// Writes the pool's statistics to `text` as Prometheus text, each with the label `pool="NAME"`. Sizes are
// bytes there. The text and its length are written as `wh_pool_statistics_json` does. A page of several pools
// comes from `wh_pools_prometheus`. Since 0.2.
//
// # Safety
// `name` is null or ends with a zero byte. `text` is null or has room for `capacity` bytes. `needed` is null
// or has room for the result.
enum wh_status wh_pool_prometheus(struct wh_pool pool,
                                  const char *name,
                                  char *text,
                                  size_t capacity,
                                  size_t *needed);

// Writes one page of Prometheus text for several pools: `count` of them in `pools`, with their names in
// `names`. Each sample has the label `pool="NAME"`, and every metric is described once, which the texts of
// single pools side by side do not do. Two pools of one name are refused. The text and its length are written
// as `wh_pool_statistics_json` does; without pools it is empty. Since 0.2.
//
// # Safety
// `pools` and `names` are null or have `count` items. Each name is null or ends with a zero byte. `text` is
// null or has room for `capacity` bytes. `needed` is null or has room for the result.
enum wh_status wh_pools_prometheus(const struct wh_pool *pools,
                                   const char *const *names,
                                   size_t count,
                                   char *text,
                                   size_t capacity,
                                   size_t *needed);

// Writes the buffers that are alive to `text`: their number, and a line for each line of source and tag, most
// bytes first. The text and its length are written as `wh_pool_statistics_json` does. When a pool closes with
// buffers alive, the same text is logged. Since 0.2.
//
// # Safety
// `text` is null or has room for `capacity` bytes. `needed` is null or has room for the result.
enum wh_status wh_pool_leak_report(struct wh_pool pool, char *text, size_t capacity, size_t *needed);

// Opens a queue that the program itself moves: for a worker thread, or for a driver that tells when work is
// done. A pool stays open until its queues are closed. Since 0.2.
//
// # Safety
// `queue` is null or has room for the result.
enum wh_status wh_queue_open(struct wh_pool pool, struct wh_queue *queue);

// Opens the queue of a CUDA stream, which the GPU moves. `stream` is a `CUstream` of the pool's GPU; null is
// the default stream. Since 0.2.
//
// # Safety
// The stream exists until the queue is closed and its work is done. `queue` is null or has room for the
// result.
enum wh_status wh_queue_open_stream(struct wh_pool pool, void *stream, struct wh_queue *queue);

// Writes the position after all work submitted so far to `ticket`. On a CUDA stream this submits a mark.
// Since 0.2.
//
// # Safety
// `ticket` is null or has room for the result.
enum wh_status wh_queue_signal(struct wh_queue queue, struct wh_ticket *ticket);

// Notes that all work up to `ticket` is done, on a queue that the program moves. Since 0.2.
enum wh_status wh_queue_complete(struct wh_ticket ticket);

// Notes that the queue makes no more progress, on a queue that the program moves: its worker died. Memory
// retired to it stays taken until the queue is closed. Since 0.2.
//
// # Safety
// `reason` is null or ends with a zero byte.
enum wh_status wh_queue_lose(struct wh_queue queue, const char *reason);

// Writes to `done` whether all work up to `ticket` is done. Waits for at most `timeout_ms` milliseconds
// until it is; 0 only looks. Since 0.2.
//
// # Safety
// `done` is null or has room for the result.
enum wh_status wh_ticket_wait(struct wh_ticket ticket, uint64_t timeout_ms, bool *done);

// Frees the retired buffers whose work is done, and writes their number to `freed`, which may be null.
// Since 0.2.
//
// # Safety
// `freed` is null or has room for the result.
enum wh_status wh_queue_poll(struct wh_queue queue, uint64_t *freed);

// Writes the requested bytes that wait for this queue to `bytes`. Since 0.2.
//
// # Safety
// `bytes` is null or has room for the result.
enum wh_status wh_queue_retired_bytes(struct wh_queue queue, uint64_t *bytes);

// Allocates a buffer for work that will be submitted to this queue. The buffer may be one that the queue has
// retired, even before its ticket completes, because the queue's later work comes after it. The CPU must not
// write to it before that. Since 0.2.
//
// # Safety
// `request` is null or points to a request, whose texts are null or end with a zero byte. `buffer` is null
// or has room for the result.
enum wh_status wh_queue_allocate(struct wh_queue queue,
                                 const struct wh_request *request,
                                 struct wh_buffer *buffer);

// Closes a queue. Its tickets name nothing from then on, and threads that wait for one get `WH_QUEUE_LOST`, if
// the program moves the queue. Memory that a CUDA stream still uses goes back when the stream's work is done.
// A queue that the program moves returns `WH_WRONG_ORDER` while memory waits for work that is not done:
// retired memory, memory that the queue reused early, and movable buffers in flight. Complete that work first,
// or lose the queue. Since 0.2.
enum wh_status wh_queue_close(struct wh_queue queue);

// Frees a buffer once the work up to `ticket` is done. Does not wait for that work; if compaction is moving the
// buffer, it waits for the end of the move. The handle names nothing from then on. Any thread may call it,
// completion handlers included. Since 0.2.
enum wh_status wh_retire(struct wh_buffer buffer,
                         struct wh_ticket ticket);

// Notes that work up to `ticket` uses a movable buffer. Compaction does not move the buffer before that work
// is done, and no other use gets its memory, also if it is freed or retired. Work of several queues may be
// noted. Call it while the buffer is pinned. A buffer that is not movable stays where it is anyway, and
// `wh_retire` keeps its memory. Since 0.2.
enum wh_status wh_in_flight_until(struct wh_buffer buffer, struct wh_ticket ticket);

// Returns the reason for the last failure of a call on this thread, or an empty text if no call has failed.
// The pointer is never null, and the caller does not free it. It is the same for all calls on a thread and
// valid until the thread ends; the next call that fails writes another text there. A text has at most 4095
// bytes. Since 0.1.
const char *wh_last_error(void);

// Allocates memory for work on `stream`. Throws `c10::OutOfMemoryError` if there is no memory, and
// `c10::Error` if anything else is wrong. Returns null for a size of 0. Since 0.1.
void *warmheap_malloc(size_t size, int device, void *stream);

// Frees memory. Later work on `stream`, for which it was allocated, may use it at once. Other streams may
// use it when all work that uses it is done. A wrong `device` does no harm. Memory that is not Warmheap's is
// left alone. Since 0.1.
void warmheap_free(void *address, size_t size, int device, void *stream);

// Hook `set_record_stream_fn`: notes that `stream` uses the memory at `address`, too. When the memory is
// freed, it is not reused before the work that `stream` has by then is done. Since 0.1.
void warmheap_record_stream(void *address, void *stream);

// Hook `set_init_fn`: starts writing statistics if `WARMHEAP_STATS` names a file. The first allocation does
// so, too. Since 0.1.
void warmheap_init(int devices);

// Hook `set_reset_fn`, behind `torch.cuda.empty_cache()`: gives free memory back to the devices. Since 0.1.
void warmheap_empty_cache(void);

// Hook `set_begin_allocate_to_pool`: announces the capture of a graph. What the capture allocates belongs to
// private pool `id`. Throws `c10::Error` if another capture is under way on the device. PyTorch passes
// `filter` to identify the capture's streams; this function does not need it. Since 0.1.
void warmheap_begin_allocate_to_pool(int device, struct warmheap_pool_id id, const void *filter);

// Hook `set_end_allocate_to_pool_fn`: ends the capture. Since 0.1.
void warmheap_end_allocate_to_pool(int device, struct warmheap_pool_id id);

// Hook `set_release_pool`: notes that one of the graphs captured into private pool `id` is gone. The private
// pool's memory goes back to the device when its last graph and its last buffer are gone. Since 0.1.
void warmheap_release_pool(int device, struct warmheap_pool_id id);

// Resets the statistics of all pools, so that peaks start again from the present values. Since 0.1.
void warmheap_reset_peaks(void);

// Writes the statistics of all pools to `text` as JSON. Writes as much as fits into `capacity` bytes, with a
// zero byte at the end. Returns the bytes that the whole text takes, the zero byte included. Since 0.1.
//
// # Safety
// `text` is null or has room for `capacity` bytes.
size_t warmheap_statistics_json(char *text, size_t capacity);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WARMHEAP_H */

/* Begins a request: `wh_request request = WH_REQUEST_INIT;`. Since 0.2. */
#define WH_REQUEST_INIT {sizeof(struct wh_request), __FILE__, __LINE__, 0, 0, 0, 0, 0, NULL}

/* Passes the line that asks, for leak reports. Since 0.2. */
#ifndef WH_NO_CALL_SITES
#define wh_allocate(pool, size, align, flags, tag, buffer) \
  wh_allocate_at(pool, size, align, flags, tag, buffer, __FILE__, __LINE__)
#endif
