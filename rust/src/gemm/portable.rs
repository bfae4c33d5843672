//! The kernels in plain Rust: what every processor runs, and the twin of the fast ones.

use super::convert::bf16_value;
use super::driver::Tile;
use super::{Block, Kind, PANEL};

/// The kernel of a kind.
pub(crate) fn tile(kind: Kind) -> Tile {
    match kind {
        Kind::F32 => |a, stride, rows, panel, block| {
            // SAFETY: the caller's promise, passed on.
            unsafe {
                run(a, stride, rows, panel, block, |sum, a, b| {
                    f32::from_bits(a).mul_add_or(f32::from_bits(b), sum)
                })
            }
        },
        Kind::Bf16 => |a, stride, rows, panel, block| {
            // SAFETY: as above.
            unsafe { run(a, stride, rows, panel, block, pair) }
        },
        Kind::Int8 => |a, stride, rows, panel, block| {
            // SAFETY: as above.
            unsafe { run(a, stride, rows, panel, block, four) }
        },
    }
}

trait MulAdd {
    fn mul_add_or(self, by: Self, sum: u32) -> u32;
}

impl MulAdd for f32 {
    #[inline(always)]
    fn mul_add_or(self, by: f32, sum: u32) -> u32 {
        (self * by + f32::from_bits(sum)).to_bits()
    }
}

#[inline(always)]
fn pair(sum: u32, a: u32, b: u32) -> u32 {
    let low = bf16_value(a as u16) * bf16_value(b as u16);
    let high = bf16_value((a >> 16) as u16) * bf16_value((b >> 16) as u16);
    (f32::from_bits(sum) + low + high).to_bits()
}

#[inline(always)]
fn four(sum: u32, a: u32, b: u32) -> u32 {
    let products = a
        .to_le_bytes()
        .into_iter()
        .zip(b.to_le_bytes())
        .map(|(a, b)| i32::from(a) * i32::from(b as i8));
    (sum as i32).wrapping_add(products.sum::<i32>()) as u32
}

#[inline(always)]
unsafe fn run(
    a: *const u32,
    stride: usize,
    rows: usize,
    panel: &[u32],
    block: &mut Block,
    step: impl Fn(u32, u32, u32) -> u32,
) {
    for (row, sums) in block.0[..rows].iter_mut().enumerate() {
        *sums = [0; PANEL];
        for (word, line) in panel.as_chunks::<PANEL>().0.iter().enumerate() {
            // SAFETY: the caller's rows hold at least as many words as the panel has lines.
            let left = unsafe { *a.add(row * stride + word) };
            for (sum, right) in sums.iter_mut().zip(line) {
                *sum = step(*sum, left, *right);
            }
        }
    }
}
