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
mod model;
mod packed;
mod products;
mod rope;
mod turn;

pub use forest::Forest;
pub use forward::Wanted;
pub use head::target_logp;
pub use layer::{Layer, Prefix};
pub use linear::{Linear, Source, spread, stack};
pub use model::{Decoder, Shape};
pub use products::Activation;
pub use rope::Rope;

#[cfg(test)]
mod tests;
