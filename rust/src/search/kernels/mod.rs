//! Products of 8-bit codes with the instructions of each kind of processor. All of them give the same integers.

mod avx2;
mod avx512;
pub(crate) mod isa;
pub(crate) mod layout;
mod neon;
mod portable;
pub(crate) mod product;

#[cfg(test)]
mod tests;
