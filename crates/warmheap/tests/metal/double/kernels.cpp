// The kernels of examples/metal_decode, compiled as C++ from the same source. This file adds what Metal's
// language has and C++ lacks. Attributes such as [[buffer(0)]] are ignored.
#include <cmath>
#include <cstring>

using uint = unsigned;
namespace metal {
float max(float a, float b) { return a > b ? a : b; }
namespace precise {
float tanh(float x) { return std::tanh(x); }
float exp(float x) { return std::exp(x); }
}
}
#define kernel static
#define device
#define constant const
#include "../../../examples/metal_decode/kernels.metal"

extern "C" int metal_double_kernel(const char *name, void **b, unsigned long thread) {
  auto in = [&](int i) { return static_cast<const float *>(b[i]); };
  auto out = [&](int i) { return static_cast<float *>(b[i]); };
  if (!std::strcmp(name, "layer")) {
    if (b) layer(in(0), in(1), out(2), thread);
  } else if (!std::strcmp(name, "attend")) {
    if (b) attend(in(0), in(1), out(2), *static_cast<const uint *>(b[3]), thread);
  } else {
    return 0;
  }
  return 1;
}
