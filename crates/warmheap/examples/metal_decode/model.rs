//! The toy model on the CPU. The GPU's results are compared with it.

/// The width of the state.
pub(crate) const WIDTH: usize = 256;
/// The number of tokens to decode.
pub(crate) const STEPS: usize = 64;

/// Returns weights from a fixed sequence. They are small enough to keep the state away from saturation.
pub(crate) fn weights() -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..WIDTH * WIDTH).map(|_| next() * 0.2).collect()
}

pub(crate) fn first_state() -> Vec<f32> {
    (0..WIDTH).map(|i| (i as f32 * 0.37).sin()).collect()
}

/// Returns `tanh(weights * x)`.
pub(crate) fn layer(weights: &[f32], x: &[f32]) -> Vec<f32> {
    weights.chunks(WIDTH).map(|row| dot(row, x).tanh()).collect()
}

/// Returns the mean of the cached states, weighted with the softmax of their products with `x`.
pub(crate) fn attend(cache: &[f32], x: &[f32]) -> Vec<f32> {
    let scores: Vec<f32> = cache.chunks(WIDTH).map(|state| dot(state, x) / 16.0).collect();
    let highest = scores.iter().copied().fold(f32::MIN, f32::max);
    let shares: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f32 = shares.iter().sum();
    (0..WIDTH)
        .map(|i| {
            let weighted = cache.chunks(WIDTH).zip(&shares).map(|(state, share)| state[i] * share);
            weighted.sum::<f32>() / total
        })
        .collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
