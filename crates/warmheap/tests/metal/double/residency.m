// MTLResidencySet: members count only after commit, and are retained while they are members.
#include "double.h"

@interface MTLResidencySetDescriptor : NSObject { @public NSString *label; } @end
@implementation MTLResidencySetDescriptor
- (void)setLabel:(NSString *)l { NSString *old = label; label = [l copy]; [old release]; }
- (void)dealloc { [label release]; [super dealloc]; }
@end

enum { MAX_MEMBERS = 1024 };
typedef struct { DoubleAllocation *v[MAX_MEMBERS]; int n; } Members;
static int find(Members *m, id a) {
  for (int i = 0; i < m->n; i++) if (m->v[i] == a) return i;
  return -1;
}
static void put(Members *m, id a) {
  REQUIRE(m->n < MAX_MEMBERS, "too many members for the double");
  m->v[m->n++] = [a retain];
}
static void take(Members *m, int i) { DoubleAllocation *a = m->v[i]; m->v[i] = m->v[--m->n]; [a release]; }

@interface DoubleSet : NSObject { @public DoubleDevice *device; Members now, adding, removing; BOOL resident; } @end
@implementation DoubleSet
- (void)addAllocation:(DoubleAllocation *)a {
  REQUIRE(find(&now, a) < 0 && find(&adding, a) < 0, "added to a residency set twice");
  put(&adding, a);
}
- (void)removeAllocation:(DoubleAllocation *)a {
  REQUIRE(find(&now, a) >= 0 && find(&removing, a) < 0, "removed from a residency set it is not in");
  put(&removing, a);
}
- (void)commit {
  REQUIRE(adding.n || removing.n, "a residency commit without a change");
  ADD(&counts.set_commits, 1);
  while (removing.n) {
    DoubleAllocation *a = removing.v[0];
    a->sets--; SUB(&counts.resident_bytes, a->footprint);
    take(&now, find(&now, a)); take(&removing, 0);
  }
  while (adding.n) {
    DoubleAllocation *a = adding.v[0];
    REQUIRE(a->purge == NonVolatile, "volatile memory made resident");
    a->sets++; ADD(&counts.resident_bytes, a->footprint);
    put(&now, a); take(&adding, 0);
  }
}
- (void)staged:(const char *)call {
  REQUIRE(!adding.n && !removing.n, "%s before the changes were committed", call);
}
- (void)requestResidency { [self staged:"requestResidency"]; resident = YES; ADD(&counts.residency_requests, 1); }
- (void)endResidency { [self staged:"endResidency"]; resident = NO; ADD(&counts.residency_ends, 1); }
- (void)dealloc {
  [self staged:"the end of a residency set"];
  while (now.n) { now.v[0]->sets--; SUB(&counts.resident_bytes, now.v[0]->footprint); take(&now, 0); }
  [device release]; [super dealloc];
}
@end

@implementation DoubleDevice (Residency)
- (id)newResidencySetWithDescriptor:(MTLResidencySetDescriptor *)d error:(NSError **)e {
  REQUIRE(!(knobs.lacks & NO_METAL3), "a residency set on a GPU without family Metal3");
  if (knobs.fail_sets) { *e = [NSError of:"no residency set for a test"]; return nil; }
  DoubleSet *s = [DoubleSet new];
  s->device = [self retain];
  return s;
}
@end

EXPORT_CLASS(MTLResidencySetDescriptor);
