#include <metal_stdlib>
using namespace metal;

constant uint WIDTH = 256;

// y = tanh(weights * x); one thread a row.
kernel void layer(device const float *weights [[buffer(0)]],
                  device const float *x [[buffer(1)]],
                  device float *y [[buffer(2)]],
                  uint row [[thread_position_in_grid]]) {
    float sum = 0;
    for (uint i = 0; i < WIDTH; i++) sum += weights[row * WIDTH + i] * x[i];
    y[row] = precise::tanh(sum);
}

// y = mean of the cached states, weighted by softmax(cache * x / 16); one thread a column.
kernel void attend(device const float *cache [[buffer(0)]],
                   device const float *x [[buffer(1)]],
                   device float *y [[buffer(2)]],
                   constant uint &states [[buffer(3)]],
                   uint column [[thread_position_in_grid]]) {
    float highest = -MAXFLOAT, total = 0, sum = 0;
    for (uint s = 0; s < states; s++) {
        float score = 0;
        for (uint i = 0; i < WIDTH; i++) score += cache[s * WIDTH + i] * x[i];
        score /= 16;
        float next = max(highest, score), old = precise::exp(highest - next), share = precise::exp(score - next);
        total = total * old + share;
        sum = sum * old + cache[s * WIDTH + column] * share;
        highest = next;
    }
    y[column] = sum / total;
}
