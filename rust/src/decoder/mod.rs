//! A causal language model on the processor: log-probabilities of target tokens over forests of shared beginnings.
//!
//! Rows of tokens go through the layers in pieces that stay in the cache; states are f32, products are those of `gemm`.
//! What a token gets never depends on which other tokens are in the call, nor on the number of threads.

mod attention;
mod forest;
mod forward;
mod head;
mod layer;
mod linear;
mod math;
mod rope;
mod turn;

pub use forest::Forest;
pub use forward::{Decoder, Shape, Wanted};
pub use head::target_logp;
pub use layer::{Activation, Layer, Prefix};
pub use linear::{Linear, Source, spread, stack};
pub use rope::Rope;

#[cfg(test)]
mod tests;
