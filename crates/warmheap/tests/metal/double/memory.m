// MTLDevice, MTLHeap and MTLBuffer over malloc, with Metal's rules on modes, places and lengths.
#include "double.h"

enum { PAGE = 16384 };
static NSUInteger up(NSUInteger v, NSUInteger a) { return (v + a - 1) / a * a; }
static NSUInteger opt_cache(NSUInteger o) { return o & 0xf; }
static NSUInteger opt_storage(NSUInteger o) { return (o >> 4) & 0xf; }
static NSUInteger opt_hazard(NSUInteger o) { return (o >> 8) & 0x3; }
static void check_options(NSUInteger o) {
  REQUIRE(opt_cache(o) <= 1 && opt_storage(o) <= 3 && opt_hazard(o) <= 2 && o >> 10 == 0,
          "MTLResourceOptions %#lx do not exist", o);
}
static NSUInteger max_buffer(void) { return knobs.budget / 2; }

// Page-aligned, and not zero, because no user may rely on heap memory being clear. The system commits very
// large memory only as work touches it.
void *metal_double_memory(size_t size) {
  void *p = aligned_alloc(PAGE, up(size, PAGE));
  if (size < 1ull << 30) memset(p, 0xa5, up(size, PAGE));
  return p;
}
static int may_allocate(NSUInteger size) {
  for (int64_t left = LOAD(&knobs.fail_after); left >= 0;) {
    if (left == 0) return 0;
    if (__atomic_compare_exchange_n(&knobs.fail_after, &left, left - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) break;
  }
  return LOAD(&counts.resources) < (int64_t)knobs.object_limit && LOAD(&counts.bytes) + size <= knobs.budget;
}

@interface MTLHeapDescriptor : NSObject { @public NSUInteger size, storage, cache, hazard; NSInteger type; } @end
@implementation MTLHeapDescriptor
- (id)init { storage = 2; return self; } // private, default cache, hazards default, automatic
- (void)setSize:(NSUInteger)v { size = v; }
- (void)setStorageMode:(NSUInteger)v { storage = v; }
- (void)setCpuCacheMode:(NSUInteger)v { cache = v; }
- (void)setHazardTrackingMode:(NSUInteger)v { hazard = v; }
- (void)setType:(NSInteger)v { type = v; }
@end

@implementation DoubleAllocation
- (NSString *)label { return [[label retain] autorelease]; }
- (void)setLabel:(NSString *)l { NSString *old = label; label = [l copy]; [old release]; }
- (NSUInteger)storageMode { return opt_storage(options); }
- (NSUInteger)allocatedSize { return footprint; }
- (NSUInteger)setPurgeableState:(NSUInteger)s {
  REQUIRE(s == NonVolatile || s == Volatile, "purgeable state %lu", s);
  REQUIRE(s != Volatile || !sets, "memory made volatile while a residency set keeps it wired");
  NSUInteger old = purge == Volatile && knobs.under_pressure ? Empty : purge;
  if (old == Empty) memset(memory, 0xdd, footprint);
  purge = s;
  return old;
}
- (void)dealloc {
  SUB(&counts.resources, 1);
  [label release]; [device release]; [super dealloc];
}
@end

static void set_up(DoubleAllocation *a, DoubleDevice *d, NSUInteger footprint, NSUInteger options) {
  check_options(options);
  a->device = [d retain]; a->footprint = footprint; a->options = options; a->purge = NonVolatile;
  ADD(&counts.resources, 1);
}
static DoubleBuffer *make_buffer(DoubleDevice *d, DoubleHeap *h, NSUInteger length, NSUInteger footprint, NSUInteger o) {
  REQUIRE(length, "a buffer of length 0");
  REQUIRE(length <= max_buffer(), "a buffer of %lu bytes is longer than maxBufferLength", length);
  DoubleBuffer *b = [DoubleBuffer new];
  set_up(b, d, footprint, o);
  b->length = length; b->heap = [h retain];
  return b;
}

@implementation DoubleDevice
- (NSString *)name { return [NSString of:"Metal Double"]; }
- (uint64_t)recommendedMaxWorkingSetSize { return knobs.budget; }
- (NSUInteger)maxBufferLength { return max_buffer(); }
- (NSUInteger)currentAllocatedSize { return LOAD(&counts.bytes); }
- (BOOL)supportsFamily:(NSInteger)f {
  if (f == 5001) return !(knobs.lacks & NO_METAL3);
  if (f == 2002) return !(knobs.lacks & NO_MAC2);
  return f >= 1001 && f <= 1009 && !(knobs.lacks & NO_APPLE_FAMILY);
}
- (BOOL)hasUnifiedMemory { return !(knobs.lacks & NO_UNIFIED_MEMORY); }
- (BOOL)respondsToSelector:(SEL)s {
  if (knobs.old_system && strstr(sel_getName(s), "ResidencySet")) return NO;
  return [super respondsToSelector:s];
}
- (MTLSizeAndAlign)heapBufferSizeAndAlignWithLength:(NSUInteger)l options:(NSUInteger)o {
  check_options(o);
  return (MTLSizeAndAlign){ up(l, knobs.align), knobs.align };
}
- (id)newHeapWithDescriptor:(MTLHeapDescriptor *)d {
  REQUIRE(d->size, "a heap descriptor whose size was not set");
  REQUIRE(d->storage == 0 || d->storage == 2, "storage mode %lu is not allowed on heaps", d->storage);
  REQUIRE(d->type == 0 || d->type == 1, "heap type %ld", d->type);
  int lacks = knobs.lacks;
  REQUIRE(d->type == 0 || !(lacks & NO_APPLE_FAMILY && lacks & NO_MAC2), "a placement heap on a GPU without them");
  REQUIRE(d->storage == 2 || !(lacks & (NO_APPLE_FAMILY | NO_UNIFIED_MEMORY)), "a shared heap on a GPU without them");
  NSUInteger size = up(d->size, PAGE);
  if (!may_allocate(size)) return nil;
  DoubleHeap *h = [DoubleHeap new];
  // The default hazard mode of a heap is untracked.
  set_up(h, self, size, d->cache | d->storage << 4 | (d->hazard == 2 ? 2ul : 1ul) << 8);
  pthread_mutex_init(&h->lock, 0);
  h->size = size; h->type = d->type; h->memory = metal_double_memory(size);
  ADD(&counts.bytes, size);
  return h;
}
- (id)newBufferWithLength:(NSUInteger)l options:(NSUInteger)o {
  if (!may_allocate(up(l, PAGE))) return nil;
  DoubleBuffer *b = make_buffer(self, nil, l, up(l, PAGE), o);
  b->memory = metal_double_memory(l);
  memset(b->memory, 0, l);
  ADD(&counts.bytes, b->footprint);
  return b;
}
@end

@implementation DoubleHeap
- (NSUInteger)size { return size; }
- (NSUInteger)usedSize { return used; }
- (NSUInteger)currentAllocatedSize { return purge == Volatile && knobs.under_pressure ? 0 : size; }
- (NSUInteger)maxAvailableSizeWithAlignment:(NSUInteger)a {
  REQUIRE((a & (a - 1)) == 0, "alignment %lu is not a power of two", a);
  return used >= size ? 0 : size - used;
}
- (void)mayHold:(NSUInteger)o {
  REQUIRE(opt_storage(o) == opt_storage(options), "a buffer whose storage mode is not the heap's");
  REQUIRE(opt_cache(o) == opt_cache(options), "a buffer whose CPU cache mode is not the heap's");
  REQUIRE(opt_hazard(o) != 2 || opt_hazard(options) == 2, "a tracked buffer in an untracked heap");
  REQUIRE(purge == NonVolatile, "a buffer made in a volatile heap");
}
- (id)place:(NSUInteger)l options:(NSUInteger)o at:(NSUInteger)at footprint:(NSUInteger)f {
  DoubleBuffer *b = make_buffer(device, self, l, f, o);
  b->offset = at; b->memory = memory + at;
  pthread_mutex_lock(&lock); used += f; pthread_mutex_unlock(&lock);
  return b;
}
- (id)newBufferWithLength:(NSUInteger)l options:(NSUInteger)o {
  [self mayHold:o];
  NSUInteger need = up(l, knobs.align);
  // One buffer at a time is all that the backend asks an automatic heap for.
  if (type != 0 || used || need > size || !may_allocate(0)) return nil;
  return [self place:l options:o at:0 footprint:need];
}
- (id)newBufferWithLength:(NSUInteger)l options:(NSUInteger)o offset:(NSUInteger)at {
  [self mayHold:o];
  if (type != 1 || !may_allocate(0)) return nil;
  MTLSizeAndAlign r = [device heapBufferSizeAndAlignWithLength:l options:o];
  REQUIRE(at % r.align == 0, "offset %lu is not a multiple of %lu", at, r.align);
  REQUIRE(at <= size && r.size <= size - at, "bytes %lu + %lu are outside a heap of %lu", at, r.size, size);
  return [self place:l options:o at:at footprint:r.size];
}
- (void)dealloc {
  REQUIRE(!used, "a heap dies under %lu bytes of live buffers", used);
  SUB(&counts.bytes, size);
  free(memory); pthread_mutex_destroy(&lock); [super dealloc];
}
@end

@implementation DoubleBuffer
- (NSUInteger)length { return length; }
- (NSUInteger)heapOffset { return heap && heap->type == 1 ? offset : 0; }
- (uint64_t)gpuAddress {
  REQUIRE(!(knobs.lacks & NO_GPU_ADDRESS), "gpuAddress: an unrecognised selector on this system");
  return (uint64_t)memory;
}
- (BOOL)respondsToSelector:(SEL)s {
  if (knobs.lacks & NO_GPU_ADDRESS && !strcmp(sel_getName(s), "gpuAddress")) return NO;
  return [super respondsToSelector:s];
}
- (void *)contents {
  REQUIRE(opt_storage(options) == 0, "contents of a private buffer");
  return memory;
}
- (NSUInteger)setPurgeableState:(NSUInteger)s {
  REQUIRE(!heap, "setPurgeableState: on a heap's buffer");
  return [super setPurgeableState:s];
}
- (void)mustBeUsable:(const char *)by {
  REQUIRE((heap ? heap->purge : purge) == NonVolatile, "%s of memory that is volatile", by);
}
- (void)dealloc {
  if (heap) {
    pthread_mutex_lock(&heap->lock); heap->used -= footprint; pthread_mutex_unlock(&heap->lock);
    [heap release];
  } else {
    SUB(&counts.bytes, footprint); free(memory);
  }
  [super dealloc];
}
@end

// On macOS the default device is one object that the system keeps.
static DoubleDevice *shared;
static int no_gpu;
void metal_double_no_gpu(int no) { no_gpu = no; }
id MTLCreateSystemDefaultDevice(void) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  if (no_gpu) return nil;
  pthread_mutex_lock(&lock);
  if (!shared) shared = [DoubleDevice new];
  id d = [shared retain];
  pthread_mutex_unlock(&lock);
  return d;
}
void metal_double_drop_shared_device(void) { [shared release]; shared = nil; }

EXPORT_CLASS(MTLHeapDescriptor);
