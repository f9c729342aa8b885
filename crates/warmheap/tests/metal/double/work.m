// MTLCommandQueue, MTLCommandBuffer, encoders and MTLSharedEvent. Work runs at commit, or when the
// test lets a held GPU go. Command buffers start in the order of their queue. One that stalls lets later ones
// of its queue pass, as on a GPU, unless both use tracked memory and one of them writes it.
#include "double.h"
#include <errno.h>
#include <time.h>

@class DoubleQueue;

static pthread_mutex_t gpu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static DoubleCommands *oldest; // committed and not yet complete, over all queues

@interface DoubleEvent : NSObject { @public uint64_t value, encoded; } @end
static void metal_double_signal(DoubleEvent *e, uint64_t v);
@implementation DoubleEvent
- (uint64_t)signaledValue { return LOAD(&value); }
- (void)setSignaledValue:(uint64_t)v { metal_double_signal(self, v); }
- (BOOL)waitUntilSignaledValue:(uint64_t)v timeoutMS:(uint64_t)ms {
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += ms / 1000; end.tv_nsec += ms % 1000 * 1000000;
  if (end.tv_nsec >= 1000000000) { end.tv_sec++; end.tv_nsec -= 1000000000; }
  pthread_mutex_lock(&gpu);
  while (value < v && pthread_cond_timedwait(&progress, &gpu, &end) != ETIMEDOUT) {}
  BOOL done = value >= v;
  pthread_mutex_unlock(&gpu);
  return done;
}
@end

enum { MAX_STEPS = 16 };
typedef struct { DoubleEvent *event; uint64_t value; } Mark;

@interface DoubleCommands : NSObject {
@public
  DoubleQueue *queue; DoubleCommands *next;
  NSUInteger status; // 0 not enqueued, 2 committed, 4 completed, 5 failed
  int encoding, stalled, steps, waits, signals;
  Step step[MAX_STEPS]; Mark wait[MAX_STEPS], signal[MAX_STEPS];
} @end

@interface DoubleQueue : NSObject { @public DoubleDevice *device; int sets; } @end
@implementation DoubleQueue
- (id)commandBuffer {
  DoubleCommands *c = [DoubleCommands new];
  c->queue = [self retain];
  return [c autorelease];
}
- (void)addResidencySet:(id)s { REQUIRE(++sets <= 32, "more than 32 residency sets on a queue"); }
- (void)removeResidencySet:(id)s { REQUIRE(sets-- > 0, "a residency set removed that was not added"); }
- (void)dealloc {
  REQUIRE(!sets, "a queue dies with %d residency sets added", sets);
  [device release]; [super dealloc];
}
@end

@implementation DoubleEncoder
- (void)encode:(Step)s {
  REQUIRE(!ended, "encoding after endEncoding");
  REQUIRE(commands->steps < MAX_STEPS, "too many steps for the double");
  commands->step[commands->steps++] = s;
}
- (void)blit:(Step)s {
  NSRange r = s.range;
  REQUIRE(r.length && r.location % 4 == 0 && r.length % 4 == 0, "a blit of bytes %lu + %lu: macOS blits words", r.location, r.length);
  REQUIRE(r.length <= knobs.longest_blit, "a blit of %lu bytes: macOS may do only a part of it", r.length);
  REQUIRE(r.location <= s.to->length && r.length <= s.to->length - r.location, "a blit past the end of a buffer");
  REQUIRE(!s.from || (s.source <= s.from->length && r.length <= s.from->length - s.source), "a blit from past the end of a buffer");
  [s.to retain]; [s.from retain];
  [self encode:s];
}
- (void)fillBuffer:(DoubleBuffer *)b range:(NSRange)r value:(uint8_t)v { [self blit:(Step){ .to = b, .range = r, .byte = v }]; }
- (void)copyFromBuffer:(DoubleBuffer *)f sourceOffset:(NSUInteger)o toBuffer:(DoubleBuffer *)t destinationOffset:(NSUInteger)d size:(NSUInteger)n {
  [self blit:(Step){ .to = t, .from = f, .range = { d, n }, .source = o }];
}
- (void)useHeap:(id)h { REQUIRE(!ended, "encoding after endEncoding"); ADD(&counts.used_heaps, 1); }
- (void)useResource:(id)r usage:(NSUInteger)u { REQUIRE(!ended && (u & 3) && u <= 3, "resource usage %lu", u); }
- (void)endEncoding { REQUIRE(!ended, "endEncoding twice"); ended = YES; commands->encoding = 0; }
- (void)dealloc {
  REQUIRE(ended, "an encoder dies without endEncoding");
  [next.kernel release];
  for (int b = 0; b < MAX_BOUND; b++) [next.buffer[b] release];
  [commands release]; [super dealloc];
}
@end

// Whether `c` runs after `before`, which is on another queue.
static int ordered(DoubleCommands *c, DoubleCommands *before) {
  for (int w = 0; w < c->waits; w++)
    for (int s = 0; s < before->signals; s++)
      if (c->wait[w].event == before->signal[s].event && c->wait[w].value >= before->signal[s].value) return 1;
  return 0;
}
static int overlap(char *a, char *b, Step *x, Step *y) {
  return a && b && a < b + y->range.length && b < a + x->range.length;
}
static int conflict(Step *x, Step *y) {
  if (!x->to || !y->to) return 0; // what a kernel reads and writes is not known
  char *xw = x->to->memory + x->range.location, *xr = x->from ? x->from->memory + x->source : 0;
  char *yw = y->to->memory + y->range.location, *yr = y->from ? y->from->memory + y->source : 0;
  return overlap(xw, yw, x, y) || overlap(xw, yr, x, y) || overlap(xr, yw, x, y);
}
static void check_conflicts(DoubleCommands *c, DoubleCommands *p, const char *what) {
  for (int i = 0; i < c->steps; i++)
    for (int j = 0; j < p->steps; j++)
      REQUIRE(!conflict(&c->step[i], &p->step[j]), "%s: memory reused before its signal", what);
}
// Metal tracks a heap as one resource. What a dispatch writes is not known, so it counts as writing all.
enum { MAX_USED = 2 + MAX_BOUND };
typedef struct { DoubleBuffer *buffer; int writes; } Use;
static int uses(Step *s, Use *u) {
  int n = 0;
  if (s->to) u[n++] = (Use){ s->to, 1 };
  if (s->from) u[n++] = (Use){ s->from, 0 };
  if (!s->to) for (int b = 0; b < MAX_BOUND; b++) if (s->dispatch.buffer[b]) u[n++] = (Use){ s->dispatch.buffer[b], 1 };
  return n;
}
static id tracked(DoubleBuffer *b) { return b->options >> 8 == 1 ? nil : b->heap ? (id)b->heap : b; }
static int waits_by_tracking(DoubleCommands *c, DoubleCommands *p) {
  for (int i = 0; i < c->steps; i++)
    for (int j = 0; j < p->steps; j++) {
      Use x[MAX_USED], y[MAX_USED];
      int n = uses(&c->step[i], x), m = uses(&p->step[j], y);
      for (int k = 0; k < n; k++)
        for (int l = 0; l < m; l++)
          if ((x[k].writes || y[l].writes) && tracked(x[k].buffer) && tracked(x[k].buffer) == tracked(y[l].buffer)) return 1;
    }
  return 0;
}
static int passes(DoubleCommands *c, DoubleCommands *p) { return p->stalled && !waits_by_tracking(c, p); }
static void check_races(DoubleCommands *c) {
  for (DoubleCommands *p = oldest; p; p = p->next) {
    if (p->queue == c->queue) {
      if (passes(c, p)) check_conflicts(c, p, "one command buffer overtakes another on the same bytes");
    } else if (!ordered(c, p)) {
      check_conflicts(c, p, "two queues use the same bytes and nothing orders them");
    }
  }
}
static int may_run(DoubleCommands *c) {
  if (c->stalled) return 0;
  for (DoubleCommands *p = oldest; p != c; p = p->next) if (p->queue == c->queue && !passes(c, p)) return 0;
  for (int i = 0; i < c->waits; i++) if (c->wait[i].event->value < c->wait[i].value) return 0;
  return 1;
}
static void run(DoubleCommands *c);
static void start(DoubleCommands *c) {
  for (DoubleCommands *p = oldest; p; p = p->next)
    if (p != c && p->stalled) check_conflicts(c, p, "work runs on bytes of a command buffer that has not ended");
  run(c);
}
static void run(DoubleCommands *c) {
  if (knobs.fail_work > 0) { knobs.fail_work--; STORE(&c->status, 5); return; }
  for (Step *s = c->step; s < c->step + c->steps; s++) {
    if (!s->to) { metal_double_dispatch(&s->dispatch); continue; }
    char *to = s->to->memory + s->range.location;
    [s->to mustBeUsable:"a blit"];
    [s->from mustBeUsable:"a blit"];
    if (s->from) memmove(to, s->from->memory + s->source, s->range.length);
    else memset(to, s->byte, s->range.length);
  }
  for (int i = 0; i < c->signals; i++)
    if (c->signal[i].value > c->signal[i].event->value) STORE(&c->signal[i].event->value, c->signal[i].value);
  STORE(&c->status, 4);
}
// Runs all that may run. What is done is released only when the lock is free: it may own the last
// reference to a heap.
static DoubleCommands *drain(void) {
  DoubleCommands *done = nil;
  for (DoubleCommands **p = &oldest; !knobs.held && *p;) {
    DoubleCommands *c = *p;
    if (!may_run(c)) { p = &c->next; continue; }
    start(c);
    *p = c->next; c->next = done; done = c;
    p = &oldest;
  }
  pthread_cond_broadcast(&progress);
  return done;
}
static void release_all(DoubleCommands *c) {
  while (c) { DoubleCommands *next = c->next; [c release]; c = next; }
}
void metal_double_hold(int hold) {
  pthread_mutex_lock(&gpu);
  knobs.held = hold;
  DoubleCommands *done = drain();
  pthread_mutex_unlock(&gpu);
  release_all(done);
}

// Lets stalled command buffers end.
void metal_double_end_stalled(void) {
  pthread_mutex_lock(&gpu);
  for (DoubleCommands *c = oldest; c; c = c->next) c->stalled = 0;
  DoubleCommands *done = drain();
  pthread_mutex_unlock(&gpu);
  release_all(done);
}
// The CPU sets an event.
static void metal_double_signal(DoubleEvent *e, uint64_t v) {
  pthread_mutex_lock(&gpu);
  REQUIRE(v > e->value, "an event's value must rise: %lu after %lu", v, e->value);
  STORE(&e->value, v);
  DoubleCommands *done = drain();
  pthread_mutex_unlock(&gpu);
  release_all(done);
}

@implementation DoubleCommands
- (id)encoder {
  REQUIRE(!status && !encoding, "an encoder made while another is open, or after commit");
  DoubleEncoder *e = [DoubleEncoder new];
  e->commands = [self retain]; encoding = 1;
  return [e autorelease];
}
- (id)blitCommandEncoder { return [self encoder]; }
- (id)computeCommandEncoder { return [self encoder]; }
- (void)encodeSignalEvent:(DoubleEvent *)e value:(uint64_t)v {
  REQUIRE(!status && !encoding, "a signal encoded inside an encoder, or after commit");
  REQUIRE(v > e->encoded, "an event's value must rise: %lu after %lu", v, e->encoded);
  e->encoded = v;
  signal[signals++] = (Mark){ [e retain], v };
}
- (void)encodeWaitForEvent:(DoubleEvent *)e value:(uint64_t)v {
  REQUIRE(!status && !encoding, "a wait encoded inside an encoder, or after commit");
  wait[waits++] = (Mark){ [e retain], v };
}
- (void)commit {
  REQUIRE(!status, "committed twice");
  REQUIRE(!encoding, "committed with an encoder open");
  [self retain];
  pthread_mutex_lock(&gpu);
  check_races(self);
  status = 2;
  if (knobs.stall > 0) { knobs.stall--; stalled = 1; }
  DoubleCommands **p = &oldest;
  while (*p) p = &(*p)->next;
  *p = self;
  DoubleCommands *done = drain();
  pthread_mutex_unlock(&gpu);
  release_all(done);
}
- (NSUInteger)status { return LOAD(&status); }
- (id)error { return LOAD(&status) == 5 ? [NSError of:"the GPU hung"] : nil; }
- (void)dealloc {
  for (int i = 0; i < steps; i++) {
    [step[i].to release]; [step[i].from release]; [step[i].dispatch.kernel release];
    for (int b = 0; b < MAX_BOUND; b++) [step[i].dispatch.buffer[b] release];
  }
  for (int i = 0; i < waits; i++) [wait[i].event release];
  for (int i = 0; i < signals; i++) [signal[i].event release];
  [queue release]; [super dealloc];
}
@end

@implementation DoubleDevice (Work)
- (id)newCommandQueue {
  if (knobs.fail_after == 0) return nil;
  DoubleQueue *q = [DoubleQueue new];
  q->device = [self retain];
  return q;
}
- (id)newSharedEvent { return knobs.fail_after == 1 ? nil : [DoubleEvent new]; }
@end
