//! The int8 shard of a shard, made once and kept beside it: a header, the mean, and packed panels.

use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

use super::kernels::isa::Isa;
use super::kernels::layout::PANEL;
use super::options::check_paths;
use super::panel::{Packer, mean, panel_words};
use crate::error::{Error, Result};
use crate::files::{Staged, Stamp, expect, open, release};
use crate::progress::Progress;
use crate::shards::Shards;
use crate::threads::on_threads;

const MAGIC: &[u8; 8] = b"umr-int8";
/// Raised with every change of what the file holds: of `quantise.rs` and `panel.rs`.
const VERSION: u32 = 2;
/// Bytes of the header: magic, version, dimensions, rows, CRC-32 of all that and of the mean, zeros. Which vectors the file was
/// made from is for its manifest to say.
const HEADER: usize = 32;
/// Bytes of the header before its CRC.
const CHECKED: usize = 24;
/// The first panel starts at a multiple of so many bytes.
const ALIGNMENT: usize = 64;
/// Panels that a worker packs at a time.
const TASK_PANELS: usize = 64;

/// An open int8 shard: its panels are mapped.
pub(crate) struct Int8Shard {
    /// What was subtracted from every row.
    pub mean: Vec<f32>,
    map: Mmap,
}

impl Int8Shard {
    /// Opens the int8 shard of a shard; `None` where there is none that is whole, or one of another shard.
    pub(crate) fn open(path: &Path, shards: &Shards, part: usize) -> Option<Self> {
        if cfg!(target_endian = "big") {
            return None; // panels are read as they lie on the disk
        }
        let file = open(path).ok()?;
        // SAFETY: the mapping is read-only. Changing the file while it is mapped is outside the contract of every reader
        // here; it is only ever replaced as a whole, by renaming.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        let dimensions = shards.dimensions();
        let panels = shards.parts()[part].rows.div_ceil(PANEL);
        if map.len() != start(dimensions) + 4 * panels * panel_words(dimensions) {
            return None;
        }
        let values = map[HEADER..HEADER + 4 * dimensions].as_chunks().0;
        let mean: Vec<f32> = values
            .iter()
            .map(|word| f32::from_le_bytes(*word))
            .collect();
        (map[..HEADER] == header(shards, part, &mean)).then_some(Self { mean, map })
    }

    /// Some panels.
    pub(crate) fn panels(&self, panels: Range<usize>) -> &[u32] {
        let bytes = &self.map[self.place(panels)];
        // SAFETY: every bit pattern is a u32.
        let (head, words, _) = unsafe { bytes.align_to::<u32>() };
        assert!(head.is_empty(), "panels start at cache lines of a mapping");
        words
    }

    /// Asks for panels that are needed soon.
    pub(crate) fn expect(&self, panels: Range<usize>) {
        let place = self.place(panels);
        expect(&self.map, place.start, place.len());
    }

    /// Gives back the memory of panels that are not needed soon; the file stays in the system's cache while there is room.
    pub(crate) fn release(&self, panels: Range<usize>) {
        let place = self.place(panels);
        release(&self.map, place.start, place.len());
    }

    /// Where the bytes of some panels are in the mapping.
    fn place(&self, panels: Range<usize>) -> Range<usize> {
        let (start, step) = (start(self.mean.len()), 4 * panel_words(self.mean.len()));
        start + panels.start * step..start + panels.end * step
    }
}

fn start(dimensions: usize) -> usize {
    (HEADER + 4 * dimensions).next_multiple_of(ALIGNMENT)
}

fn header(shards: &Shards, part: usize, mean: &[f32]) -> [u8; HEADER] {
    let shard = &shards.parts()[part];
    let mut head = [0u8; HEADER];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..16].copy_from_slice(&(shards.dimensions() as u32).to_le_bytes());
    head[16..24].copy_from_slice(&(shard.rows as u64).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..CHECKED]);
    mean.iter()
        .for_each(|value| crc.update(&value.to_le_bytes()));
    head[CHECKED..CHECKED + 4].copy_from_slice(&crc.finalize().to_le_bytes());
    head
}

/// Writes the int8 shard of every shard. Counts rows.
///
/// # Arguments
/// * `paths`: where the int8 shard of each shard will stand.
pub fn write_int8_shards(
    shards: &Shards,
    paths: &[PathBuf],
    threads: usize,
    progress: &Progress,
) -> Result<()> {
    check_paths(shards, paths)?;
    on_threads(threads, || {
        let mut parts = paths.iter().enumerate();
        parts.try_for_each(|(part, path)| write(shards, part, path, progress))
    })
}

fn write(shards: &Shards, part: usize, path: &Path, progress: &Progress) -> Result<()> {
    let shard = &shards.parts()[part];
    let (dimensions, mean) = (shards.dimensions(), mean(shards, part, progress)?);
    let mut staged = Staged::create(path)?;
    let mut head = header(shards, part, &mean).to_vec();
    head.extend(mean.iter().flat_map(|value| value.to_le_bytes()));
    head.resize(start(dimensions), 0);
    staged.write(&head)?;
    let step = TASK_PANELS * PANEL * rayon::current_num_threads();
    let mut words = vec![0u32; step.min(shard.rows).div_ceil(PANEL) * panel_words(dimensions)];
    for from in (0..shard.rows).step_by(step) {
        let rows = from..shard.rows.min(from + step);
        let words = &mut words[..rows.len().div_ceil(PANEL) * panel_words(dimensions)];
        pack(shards, part, rows.clone(), &mean, words, progress)?;
        for words in words.chunks(1 << 16) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            staged.write(&bytes)?;
        }
        shards.release(part, rows.clone());
        progress.add(rows.len());
    }
    if Stamp::of(&shard.path)? != shard.stamp {
        let message = "the shard changed while it was quantised";
        return Err(Error::storage(&shard.path, message, "run it again"));
    }
    staged.commit().map(|_| ())
}

/// Packs rows on all threads.
fn pack(
    shards: &Shards,
    part: usize,
    rows: Range<usize>,
    mean: &[f32],
    out: &mut [u32],
    progress: &Progress,
) -> Result<()> {
    let isa = Isa::best();
    let tasks = out.par_chunks_mut(TASK_PANELS * panel_words(mean.len()));
    tasks.enumerate().try_for_each_init(
        || Packer::new(isa, shards),
        |packer, (at, panels)| {
            progress.poll()?;
            let first = rows.start + at * TASK_PANELS * PANEL;
            let end = rows.end.min(first + TASK_PANELS * PANEL);
            packer.pack(part, first..end, mean, panels)
        },
    )
}
