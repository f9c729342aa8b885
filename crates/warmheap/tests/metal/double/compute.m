// MTLLibrary, MTLFunction, MTLComputePipelineState and the compute half of an encoder. "Compiling" source
// yields the kernels of kernels.cpp, which includes that source; threads run one after another.
#include "double.h"

int metal_double_kernel(const char *name, void **buffers, NSUInteger thread); // 0: there is none

@interface DoubleNamed : NSObject { @public NSString *name; } @end
@implementation DoubleNamed
+ (id)of:(NSString *)n { DoubleNamed *f = [self new]; f->name = [n retain]; return f; }
- (void)dealloc { [name release]; [super dealloc]; }
@end

@interface DoubleFunction : DoubleNamed @end
@implementation DoubleFunction @end
@interface DoublePipeline : DoubleNamed @end
@implementation DoublePipeline @end

@interface DoubleLibrary : NSObject @end
@implementation DoubleLibrary
- (id)newFunctionWithName:(NSString *)n {
  return metal_double_kernel(n->text, NULL, 0) ? [DoubleFunction of:n] : nil;
}
@end

@implementation DoubleDevice (Compute)
- (id)newLibraryWithSource:(NSString *)s options:(id)o error:(NSError **)e { return [DoubleLibrary new]; }
- (id)newComputePipelineStateWithFunction:(DoubleFunction *)f error:(NSError **)e { return [DoublePipeline of:f->name]; }
@end

typedef struct { NSUInteger width, height, depth; } MTLSize;

@implementation DoubleEncoder (Compute)
- (void)setComputePipelineState:(DoublePipeline *)p { [next.kernel release]; next.kernel = [p->name retain]; }
- (void)setBuffer:(DoubleBuffer *)b offset:(NSUInteger)o atIndex:(NSUInteger)i {
  REQUIRE(i < MAX_BOUND, "buffer index %lu", i);
  REQUIRE(o < b->length, "a buffer bound past its end");
  REQUIRE(o % 4 == 0, "a buffer bound at offset %lu, which no float can have", o);
  [b retain]; [next.buffer[i] release];
  next.buffer[i] = b; next.offset[i] = o;
}
- (void)setBytes:(void *)p length:(NSUInteger)n atIndex:(NSUInteger)i {
  REQUIRE(i < MAX_BOUND && n <= sizeof next.bytes[i], "%lu bytes at index %lu are more than the double holds", n, i);
  memcpy(&next.bytes[i], p, n);
}
- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads {
  REQUIRE(next.kernel, "a dispatch without a pipeline");
  Step s = { .dispatch = next };
  s.dispatch.threads = groups.width * groups.height * groups.depth * threads.width * threads.height * threads.depth;
  [s.dispatch.kernel retain];
  for (int b = 0; b < MAX_BOUND; b++) [s.dispatch.buffer[b] retain];
  [self encode:s];
}
@end

void metal_double_dispatch(Dispatch *d) {
  void *bound[MAX_BOUND];
  for (int b = 0; b < MAX_BOUND; b++) {
    [d->buffer[b] mustBeUsable:"a dispatch"];
    bound[b] = d->buffer[b] ? (void *)(d->buffer[b]->memory + d->offset[b]) : &d->bytes[b];
  }
  for (NSUInteger t = 0; t < d->threads; t++) metal_double_kernel(d->kernel->text, bound, t);
}
