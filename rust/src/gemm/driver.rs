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
    debug_assert!(rows.form() == matrix.form() && which.end <= rows.count());
    if rows.form() != matrix.form() || which.end > rows.count() || panels.end > matrix.panels() {
        return; // callers inside this crate pair them; a product of unlike operands has no meaning
    }
    let job = Job {
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
        _ => drive::<false, S>(&job, tile_of(Isa::Portable, matrix.kind()), sink),
    }
}

struct Job<'a> {
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

fn tile_of(isa: Isa, kind: Kind) -> Tile {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => super::avx512::tile(kind),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => super::avx2::tile(kind),
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

/// The product of a few rows with a panel, a group of inputs after the other.
#[inline(always)]
fn fill<const FMA: bool>(
    job: &Job<'_>,
    tile: Tile,
    first: usize,
    panel: usize,
    block: &mut Block,
    values: &mut [[f32; PANEL]],
) {
    let form = job.matrix.form();
    let step = form.group.div_ceil(form.kind.per_word());
    let groups = if form.kind == Kind::Int8 {
        form.groups()
    } else {
        1
    };
    for group in 0..groups {
        let words = &job.rows.words(first)[group * step..];
        // SAFETY: rows first..first + values.len() exist, a group holds as many words as lines of 32, and rows at least as many.
        unsafe {
            tile(
                words.as_ptr(),
                job.rows.stride(),
                values.len(),
                job.matrix.panel(panel, group),
                block,
            )
        };
        for (at, (values, sums)) in values.iter_mut().zip(&block.0).enumerate() {
            if form.kind == Kind::Int8 {
                let code = job.rows.code(first + at, group);
                let (units, totals) = job.matrix.side(panel, group);
                let shift = code.zero as f32 * code.unit;
                for at in 0..PANEL {
                    let by =
                        fused::<FMA>(sums[at] as i32 as f32, code.unit * units[at], values[at]);
                    values[at] = fused::<FMA>(-shift, totals[at], by);
                }
            } else {
                *values = sums.map(f32::from_bits);
            }
        }
    }
}
