//! The loops around the kernels: blocks of rows that stay in the second cache, panels, tiles of twelve rows.

use std::ops::Range;

use super::math::fused;
use super::matrix::Matrix;
use super::rows::Rows;
use super::sink::Sink;
use super::{Block, Isa, Kind, PANEL, TILE, isa};

/// Bytes of rows that are used with every panel before the next ones come.
const BLOCK_BYTES: usize = 384 << 10;

/// Multiplies some rows with some panels of weights.
///
/// # Arguments
/// * `rows`: of the kind and the inputs of the weights.
/// * `which`: the rows to take; the sink numbers them from 0.
/// * `panels`: the panels to take; the sink is given columns of the whole matrix.
/// * `sink`: takes the product.
pub fn multiply<S: Sink>(
    rows: &Rows,
    which: Range<usize>,
    matrix: &Matrix,
    panels: Range<usize>,
    sink: &mut S,
) {
    multiply_with(isa(matrix.kind()), rows, which, matrix, panels, sink);
}

pub(crate) fn multiply_with<S: Sink>(
    with: Isa,
    rows: &Rows,
    which: Range<usize>,
    matrix: &Matrix,
    panels: Range<usize>,
    sink: &mut S,
) {
    // Callers inside this crate pair them: anything else would be an error of ours, and must not pass as a result.
    assert!(
        rows.form() == matrix.form(),
        "rows and weights of different forms"
    );
    assert!(
        which.end <= rows.count() && panels.end <= matrix.panels(),
        "rows or panels that are not there"
    );
    let job = Job {
        #[cfg(target_arch = "x86_64")]
        with,
        rows,
        which,
        matrix,
        panels,
    };
    match with {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller passes an instruction set that `Isa::runs` found for this kind.
        Isa::Avx512 => unsafe { wide(&job, sink) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { middle(&job, sink) },
        _ => drive::<false, S>(&job, tile_of(with, matrix.kind()), sink),
    }
}

struct Job<'a> {
    #[cfg(target_arch = "x86_64")]
    with: Isa,
    rows: &'a Rows,
    which: Range<usize>,
    matrix: &'a Matrix,
    panels: Range<usize>,
}

/// Multiplies up to twelve rows with one panel. The first argument points to row 0, of `stride` words a row.
///
/// # Safety
/// The rows and the panel hold the words that are asked for, and the processor has the instructions.
pub(crate) type Tile = unsafe fn(*const u32, usize, usize, &[u32], &mut Block);

/// The kernel of a kind with instructions that `Isa::runs` found.
pub(crate) fn tile_of(isa: Isa, kind: Kind) -> Tile {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => super::avx512::tile(kind),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => super::avx2::tile(kind),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon if kind == Kind::Int8 => super::neon::int8_tile,
        _ => super::portable::tile(kind),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn wide<S: Sink>(job: &Job<'_>, sink: &mut S) {
    drive::<true, S>(job, tile_of(Isa::Avx512, job.matrix.kind()), sink);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn middle<S: Sink>(job: &Job<'_>, sink: &mut S) {
    drive::<true, S>(job, tile_of(Isa::Avx2, job.matrix.kind()), sink);
}

#[inline(always)]
fn drive<const FMA: bool, S: Sink>(job: &Job<'_>, tile: Tile, sink: &mut S) {
    let mut block = Block([[0; PANEL]; TILE]);
    let step = (BLOCK_BYTES / (4 * job.rows.stride())).max(TILE) / TILE * TILE;
    for start in job.which.clone().step_by(step) {
        let end = job.which.end.min(start + step);
        for panel in job.panels.clone() {
            for first in (start..end).step_by(TILE) {
                let count = TILE.min(end - first);
                let mut values = [[0.0f32; PANEL]; TILE];
                fill::<FMA>(job, tile, first, panel, &mut block, &mut values[..count]);
                let column = panel * PANEL;
                let width = PANEL.min(job.matrix.outputs() - column);
                for (at, values) in values[..count].iter().enumerate() {
                    sink.take::<FMA>(first + at - job.which.start, column, width, values);
                }
            }
        }
    }
}

/// The product of a few rows with a panel.
#[inline(always)]
fn fill<const FMA: bool>(
    job: &Job<'_>,
    tile: Tile,
    first: usize,
    panel: usize,
    block: &mut Block,
    values: &mut [[f32; PANEL]],
) {
    let (a, stride) = (job.rows.words(first).as_ptr(), job.rows.stride());
    if job.matrix.kind() == Kind::Int8 {
        return fill_codes::<FMA>(job, tile, first, panel, block, values);
    }
    // SAFETY: rows first..first + values.len() exist, and they hold at least as many words as a panel has lines of 32.
    unsafe { tile(a, stride, values.len(), job.matrix.panel(panel), block) };
    for (values, sums) in values.iter_mut().zip(&block.0) {
        *values = sums.map(f32::from_bits);
    }
}

/// The product of codes: exact sums of a group of inputs after the other, put together as values.
#[inline(always)]
fn fill_codes<const FMA: bool>(
    job: &Job<'_>,
    tile: Tile,
    first: usize,
    panel: usize,
    block: &mut Block,
    values: &mut [[f32; PANEL]],
) {
    let (units, totals) = job.matrix.side(panel);
    let (step, stride) = (job.matrix.step(), job.rows.stride());
    #[cfg(target_arch = "x86_64")]
    if job.with == Isa::Avx512 {
        let side = super::avx512::Side {
            step,
            units,
            totals,
        };
        for (at, some) in values
            .chunks_mut(super::avx512::rows_at_once(units.len()))
            .enumerate()
        {
            let first = first + at * super::avx512::rows_at_once(units.len());
            let codes = (0..some.len()).map(|row| job.rows.codes(first + row));
            let mut of: [&[super::convert::Code]; TILE] = [&[]; TILE];
            of.iter_mut().zip(codes).for_each(|(to, codes)| *to = codes);
            // SAFETY: these rows exist and hold at least as many words as the panel has lines; `Isa::runs` found the instructions.
            unsafe {
                super::avx512::codes(
                    job.rows.words(first).as_ptr(),
                    stride,
                    job.matrix.panel(panel),
                    &side,
                    &of[..some.len()],
                    some,
                )
            };
        }
        return;
    }
    for (group, words) in job.matrix.panel(panel).chunks(step * PANEL).enumerate() {
        let a = job.rows.words(first)[group * step..].as_ptr();
        // SAFETY: rows first..first + values.len() exist, and they hold at least as many words as a group has lines of 32.
        unsafe { tile(a, stride, values.len(), words, block) };
        for (at, (values, sums)) in values.iter_mut().zip(&block.0).enumerate() {
            let code = job.rows.codes(first + at)[group];
            for at in 0..PANEL {
                let by = fused::<FMA>(
                    sums[at] as i32 as f32,
                    code.unit * units[group][at],
                    values[at],
                );
                values[at] = fused::<FMA>(code.shift, totals[group][at], by);
            }
        }
    }
}
