//! The copy of a shard in 8 bits, made once and kept beside it: a header, the mean, and packed panels.

use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

use super::mean::mean;
use super::panel::{Packer, size};
use crate::error::{Error, Result};
use crate::files::{Staged, Stamp, expect, open, release};
use crate::gemm::PANEL;
use crate::progress::Progress;
use crate::shards::Shards;

const MAGIC: &[u8; 8] = b"umr-int8";
/// Raised with every change of what a copy holds: of `codes.rs`, `panel.rs` and `mean.rs`.
const VERSION: u32 = 1;
/// Bytes of the header: magic, version, dimensions, rows, size and time of the shard, CRC-32 of all that and of the mean.
const HEAD: usize = 48;
/// Of these, those before the CRC.
const NAMED: usize = 40;
/// Panels start at a multiple of it.
const LINE: usize = 64;
/// Panels that a worker packs at a time.
const TASK: usize = 64;

/// An open copy: its panels are mapped.
pub(crate) struct Copied {
    /// What was subtracted from every row.
    pub mean: Vec<f32>,
    map: Mmap,
    dimensions: usize,
}

impl Copied {
    /// Opens the copy of a shard; `None` where there is none that can be read whole, or one of another shard.
    pub(crate) fn open(path: &Path, shards: &Shards, part: usize) -> Option<Self> {
        if cfg!(target_endian = "big") {
            return None; // panels are read as they lie on the disk
        }
        let file = open(path).ok()?;
        // SAFETY: the mapping is read-only. Changing the file while it is mapped is outside the contract of every reader
        // here; it is only ever replaced as a whole, by renaming.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        let dimensions = shards.dimensions();
        let panels = shards.shard(part).1.div_ceil(PANEL);
        if map.len() != start(dimensions) + 4 * panels * size(dimensions) {
            return None;
        }
        let values = map[HEAD..HEAD + 4 * dimensions].as_chunks::<4>().0;
        let mean: Vec<f32> = values
            .iter()
            .map(|word| f32::from_le_bytes(*word))
            .collect();
        (map[..HEAD] == header(shards, part, &mean)).then_some(Self {
            mean,
            map,
            dimensions,
        })
    }

    /// Some panels.
    pub(crate) fn panels(&self, from: usize, count: usize) -> &[u32] {
        let step = 4 * size(self.dimensions);
        let bytes = &self.map[start(self.dimensions) + from * step..][..count * step];
        // SAFETY: every bit pattern is a u32.
        let (head, words, _) = unsafe { bytes.align_to::<u32>() };
        assert!(head.is_empty(), "panels start at cache lines of a mapping");
        words
    }

    /// Where the bytes of some panels are in the mapping.
    fn place(&self, from: usize, count: usize) -> (usize, usize) {
        let step = 4 * size(self.dimensions);
        (start(self.dimensions) + from * step, count * step)
    }

    /// Asks for panels that are needed soon.
    pub(crate) fn expect(&self, from: usize, count: usize) {
        let (at, length) = self.place(from, count);
        expect(&self.map, at, length);
    }

    /// Gives back the memory of panels that are not needed soon; the file stays in the system's cache while there is room.
    pub(crate) fn release(&self, from: usize, count: usize) {
        let (at, length) = self.place(from, count);
        release(&self.map, at, length);
    }
}

fn start(dimensions: usize) -> usize {
    (HEAD + 4 * dimensions).next_multiple_of(LINE)
}

fn header(shards: &Shards, part: usize, mean: &[f32]) -> [u8; HEAD] {
    let (_, rows) = shards.shard(part);
    let stamp = shards.stamp(part);
    let mut head = [0u8; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..16].copy_from_slice(&(shards.dimensions() as u32).to_le_bytes());
    head[16..24].copy_from_slice(&(rows as u64).to_le_bytes());
    head[24..32].copy_from_slice(&stamp.size.to_le_bytes());
    head[32..NAMED].copy_from_slice(&stamp.mtime_ns.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..NAMED]);
    mean.iter()
        .for_each(|value| crc.update(&value.to_le_bytes()));
    head[NAMED..NAMED + 4].copy_from_slice(&crc.finalize().to_le_bytes());
    head
}

/// Makes the copies that are missing or belong to other shards; what is there is kept. Counts rows.
///
/// # Arguments
/// * `paths`: where the copy of each shard stands.
pub fn copy(shards: &Shards, paths: &[PathBuf], threads: usize, progress: &Progress) -> Result<()> {
    super::check_paths(shards, paths)?;
    super::on_threads(threads, || {
        for (part, path) in paths.iter().enumerate() {
            let (_, rows) = shards.shard(part);
            if Copied::open(path, shards, part).is_some() {
                progress.add(rows);
            } else {
                write(shards, part, path, progress)?;
            }
        }
        Ok(())
    })
}

fn write(shards: &Shards, part: usize, path: &Path, progress: &Progress) -> Result<()> {
    let (_, rows) = shards.shard(part);
    let (dimensions, mean) = (shards.dimensions(), mean(shards, part, progress)?);
    let mut staged = Staged::create(path)?;
    let mut head = header(shards, part, &mean).to_vec();
    mean.iter()
        .for_each(|value| head.extend(value.to_le_bytes()));
    head.resize(start(dimensions), 0);
    staged.write(&head)?;
    let run = TASK * PANEL * rayon::current_num_threads();
    let mut words = vec![0u32; run.min(rows).div_ceil(PANEL) * size(dimensions)];
    for from in (0..rows).step_by(run) {
        let count = run.min(rows - from);
        let words = &mut words[..count.div_ceil(PANEL) * size(dimensions)];
        let tasks = words.par_chunks_mut(TASK * size(dimensions)).enumerate();
        tasks.try_for_each_init(
            || Packer::new(shards),
            |packer, (at, panels)| {
                progress.poll()?;
                let first = from + at * TASK * PANEL;
                let end = (first + TASK * PANEL).min(from + count);
                packer.pack(part, first..end, &mean, panels)
            },
        )?;
        for word in words.chunks(1 << 16) {
            let bytes: Vec<u8> = word.iter().flat_map(|word| word.to_le_bytes()).collect();
            staged.write(&bytes)?;
        }
        shards.release(part, from, count);
        progress.add(count);
    }
    let (shard, _) = shards.shard(part);
    if Stamp::of(shard)? != shards.stamp(part) {
        return Err(Error::storage(
            shard,
            "the shard changed while it was copied",
            "run it again",
        ));
    }
    staged.commit().map(|_| ())
}
