//! Dense products with packed weights: rows [m, K] times weights [N, K], in f32, bf16 or int8, the result handed in
//! pieces of 32 columns to a sink that stores it, adds it or reduces it, so that no [m, N] matrix has to exist.
//!
//! Every element is computed by the same operations in the same order whatever the number of rows, the block or the
//! thread: one row's results never depend on its neighbours.

#[macro_use]
mod multi;
mod avx2;
mod avx512;
mod convert;
mod driver;
mod isa;
mod lse;
mod math;
mod matrix;
mod neon;
mod panel;
mod portable;
mod rows;
mod sink;

pub(crate) use convert::bf16_value;
pub use driver::multiply;
pub(crate) use driver::{Tile, tile_of};
pub use isa::{Form, Isa, Kind, isa};
pub use lse::log_sum_exp;
pub(crate) use math::{exp, fused};
pub use matrix::Matrix;
pub use rows::Rows;
pub use sink::{Add, Sink, Store};

/// Columns of one panel of weights.
pub const PANEL: usize = 32;
/// Rows that a kernel takes at once.
pub(crate) const TILE: usize = 12;

/// Accumulators of one tile: f32 values, or the bits of i32 ones.
#[repr(C, align(64))]
pub(crate) struct Block(pub [[u32; PANEL]; TILE]);

#[cfg(test)]
pub(crate) mod tests;
