// The Objective-C runtime's missing parts: a root class whose counts are checked, the ARC entry
// points, autorelease pools, NSString and NSError.
#include "double.h"

struct metal_double_knobs knobs = { .budget = 4ull << 30, .align = 256, .longest_blit = 1ull << 30, .object_limit = 1000, .fail_after = -1 };
struct metal_double_counts counts;

id objc_autorelease(id o);

@implementation NSObject
+ (id)alloc {
  NSObject *o = class_createInstance((Class)self, 0);
  o->references = 1;
  ADD(&counts.objects, 1);
  return o;
}
+ (id)new { return [[self alloc] init]; }
- (id)init { return self; }
- (id)retain {
  REQUIRE(ADD(&references, 1) >= 1, "retain of a dead %s", object_getClassName(self));
  return self;
}
- (oneway void)release {
  long before = SUB(&references, 1);
  REQUIRE(before >= 1, "over-release of %s", object_getClassName(self));
  if (before == 1) [self dealloc];
}
- (id)autorelease { return objc_autorelease(self); }
- (void)dealloc { SUB(&counts.objects, 1); object_dispose(self); }
- (BOOL)respondsToSelector:(SEL)s { return class_respondsToSelector(isa, s); }
// libobjc calls this for a selector that no class has, and would crash without it.
- (void *)forward:(SEL)s :(void *)frame {
  DIE("-[%s %s] is not in the double", object_getClassName(self), sel_getName(s));
}
@end

// A macro in GCC's headers, a function in everyone else's.
#undef object_getClass
__asm__(".globl object_getClass\n.set object_getClass, metal_double_class_of");
Class metal_double_class_of(id o) { return o ? *(Class *)o : Nil; }

id objc_retain(id o) { return [o retain]; }
void objc_release(id o) { [o release]; }
static __thread struct { id *v; size_t n, cap, depth; } pool;
id objc_autorelease(id o) {
  if (!o) return o;
  REQUIRE(pool.depth, "autorelease of %s with no pool on this thread: it leaks", object_getClassName(o));
  if (pool.n == pool.cap) pool.v = realloc(pool.v, (pool.cap = pool.cap * 2 + 16) * sizeof(id));
  pool.v[pool.n++] = o;
  return o;
}
void *objc_autoreleasePoolPush(void) { pool.depth++; return (void *)(pool.n + 1); }
void objc_autoreleasePoolPop(void *p) {
  size_t to = (size_t)p - 1;
  while (pool.n > to) [pool.v[--pool.n] release];
  if (!--pool.depth) { free(pool.v); pool.v = 0; pool.n = pool.cap = 0; }
}
id objc_autoreleaseReturnValue(id o) { return objc_autorelease(o); }
id objc_retainAutoreleasedReturnValue(id o) { return objc_retain(o); }

@implementation NSString
+ (NSString *)of:(char *)t {
  return [[[NSString alloc] initWithBytes:t length:strlen(t) encoding:4] autorelease];
}
// `void *` and not `const void *`: GCC encodes the latter ^rv, clang r^v. objc2's runtime for Linux
// passes the encoding as `int` (Apple's: NSUInteger).
- (id)initWithBytes:(void *)b length:(NSUInteger)l encoding:(int)e {
  REQUIRE(e == 4, "strings are UTF-8");
  text = malloc(l + 1); memcpy(text, b, l); text[l] = 0; length = l;
  return self;
}
- (const char *)UTF8String { return text; }
- (NSUInteger)lengthOfBytesUsingEncoding:(int)e { REQUIRE(e == 4, "strings are UTF-8"); return length; }
- (id)copy { return [self retain]; }
- (void)dealloc { free(text); [super dealloc]; }
@end

@implementation NSError
+ (NSError *)of:(char *)t {
  NSError *e = [NSError new];
  e->description = [[NSString of:t] retain];
  return [e autorelease];
}
- (NSString *)localizedDescription { return [[description retain] autorelease]; }
- (void)dealloc { [description release]; [super dealloc]; }
@end

EXPORT_CLASS(NSObject);
EXPORT_CLASS(NSString);
EXPORT_CLASS(NSError);
