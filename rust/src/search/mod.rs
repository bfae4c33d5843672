//! Exact top-k over memory-mapped shards, screened in 8 bits: what cannot be among the best is not scored exactly.
//!
//! The score is defined in `dot.rs`, the order in `topk.rs`; both are total, and a passage is only left out on a proof
//! (docs/search.md), so neither threads nor blocks nor instructions can change a byte of the result.

mod best;
mod checkpoint;
mod group;
mod int8_shard;
mod kernels;
mod meter;
mod options;
mod panel;
mod quantise;
mod queries;
mod rescore;
mod run;
mod screen;
mod worker;

pub use int8_shard::write_int8_shards;
pub use kernels::isa::Isa;
pub use options::{Options, Queries};
pub use run::search;

#[cfg(test)]
mod tests;
