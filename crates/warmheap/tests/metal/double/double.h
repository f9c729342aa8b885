// A double of the part of Metal and Foundation that the backend uses, for GCC's Objective-C runtime
// on Linux. Never linked on Apple. It allocates real memory, executes fills, and aborts with a
// sentence where Metal's documentation forbids a call or leaves its outcome undefined.
//
//   runtime.m    the root class, reference counts, autorelease pools, NSString, NSError
//   memory.m     MTLDevice, MTLHeap, MTLBuffer
//   work.m       MTLCommandQueue, MTLCommandBuffer, encoders, MTLSharedEvent
//   compute.m    MTLLibrary and compute pipelines: kernels.cpp is the examples' kernels as C++
//   residency.m  MTLResidencySet
#include <objc/objc.h>
#include <objc/runtime.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long NSUInteger; // GCC encodes it 'Q', as clang does on Apple
typedef long NSInteger;
typedef struct { NSUInteger size, align; } MTLSizeAndAlign;
typedef struct _NSRange { NSUInteger location, length; } NSRange;

#define DIE(...) (fprintf(stderr, "metal double: " __VA_ARGS__), fputc('\n', stderr), abort())
#define REQUIRE(c, ...) do { if (!(c)) DIE(__VA_ARGS__); } while (0)

// GCC has no _Atomic in Objective-C.
#define LOAD(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define STORE(p, n) __atomic_store_n(p, n, __ATOMIC_SEQ_CST)
#define ADD(p, n) __atomic_fetch_add(p, n, __ATOMIC_SEQ_CST)
#define SUB(p, n) __atomic_fetch_sub(p, n, __ATOMIC_SEQ_CST)

// objc2 looks a class up by the symbol _OBJC_CLASS_<name>; GCC emits _OBJC_Class_<name>, local.
#define EXPORT_CLASS(n) __asm__(".globl _OBJC_CLASS_" #n "\n.set _OBJC_CLASS_" #n ", _OBJC_Class_" #n)

// The knobs of a test. The Rust side declares the same struct.
struct metal_double_knobs {
  uint64_t budget;        // recommendedMaxWorkingSetSize; maxBufferLength is half of it
  uint64_t align;         // what heapBufferSizeAndAlign returns
  uint64_t longest_blit;  // macOS may do only a part of longer fills and copies
  uint64_t object_limit;  // the process's MTLHeaps and MTLBuffers
  int64_t fail_after;     // this many more allocations succeed, later ones return nil; < 0: off
  int32_t held;           // the GPU takes work but does not run it
  int32_t fail_work;      // this many command buffers will fail instead of running
  int32_t stall;          // this many command buffers will start, and run on until the test ends them
  int32_t lacks;          // of the GPU and the system: bits of `enum lacks`
  int32_t old_system;     // no residency sets
  int32_t fail_sets;      // making a residency set fails
  int32_t under_pressure; // volatile memory is taken
};
enum lacks { NO_MAC2 = 1, NO_METAL3 = 2, NO_UNIFIED_MEMORY = 4, NO_GPU_ADDRESS = 8, NO_APPLE_FAMILY = 16 };
extern struct metal_double_knobs knobs;

struct metal_double_counts {
  int64_t objects, resources, resident_bytes, set_commits, residency_requests, residency_ends, used_heaps;
  uint64_t bytes;
};
extern struct metal_double_counts counts;

__attribute__((objc_root_class))
@interface NSObject { @public Class isa; long references; }
+ (id)alloc;
+ (id)new;
- (id)init;
- (id)retain;
- (oneway void)release;
- (id)autorelease;
- (void)dealloc;
- (BOOL)respondsToSelector:(SEL)s;
@end

@interface NSString : NSObject { @public char *text; NSUInteger length; }
+ (NSString *)of:(char *)text;
- (id)initWithBytes:(void *)b length:(NSUInteger)l encoding:(int)e;
- (id)copy;
@end

@interface NSError : NSObject { NSString *description; }
+ (NSError *)of:(char *)text;
@end

@interface DoubleDevice : NSObject
- (MTLSizeAndAlign)heapBufferSizeAndAlignWithLength:(NSUInteger)l options:(NSUInteger)o;
@end

enum { NonVolatile = 2, Volatile = 3, Empty = 4 };

// A heap or a buffer: what can be resident, purgeable, and counted.
@interface DoubleAllocation : NSObject {
@public
  DoubleDevice *device; NSString *label; char *memory;
  NSUInteger footprint, options, purge;
  int sets; // residency sets it is a member of
}
- (NSUInteger)setPurgeableState:(NSUInteger)s;
@end

@interface DoubleHeap : DoubleAllocation {
@public
  NSUInteger size, used; NSInteger type; pthread_mutex_t lock;
  int spanning; // automatic heaps: the driver's one buffer so far
} @end

@interface DoubleBuffer : DoubleAllocation {
@public
  DoubleHeap *heap; NSUInteger length, offset;
}
- (void)mustBeUsable:(const char *)by;
@end

void *metal_double_memory(size_t size);

// A kernel and what is bound to it.
enum { MAX_BOUND = 4 };
typedef struct {
  NSString *kernel; DoubleBuffer *buffer[MAX_BOUND]; NSUInteger offset[MAX_BOUND]; uint64_t bytes[MAX_BOUND];
  NSUInteger threads;
} Dispatch;
void metal_double_dispatch(Dispatch *d);

// A fill of `to`, a copy into it from `from`, or a dispatch.
typedef struct { DoubleBuffer *to, *from; NSRange range; NSUInteger source; uint8_t byte; Dispatch dispatch; } Step;

@class DoubleCommands;
@interface DoubleEncoder : NSObject { @public DoubleCommands *commands; BOOL ended; Dispatch next; }
- (void)encode:(Step)s;
@end
