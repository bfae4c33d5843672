//! The segments of a store, one after another, into its table.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::error::Result;
use crate::progress::Progress;

use super::apply::{Group, groups};
use super::lookup::Lookup;
use super::resolve::{Part, resolve};
use super::segment::Segment;

/// Records of a part, which one thread reads.
const PART: usize = if cfg!(test) { 5 } else { 1 << 14 };
/// Parts in memory at once.
const PARTS: usize = if cfg!(test) { 3 } else { 64 };

/// What was met while merging a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Intact records read, wanted or not.
    pub records: u64,
    /// Segments that end in something torn.
    pub torn: u64,
    /// Wanted pairs met again with the same score, once a query that wants them.
    pub duplicates: u64,
    /// Wanted pairs met again with another score; the first one stays.
    pub conflicts: u64,
}

/// Puts the first score of every pair into `scores` [Q, k], which are NaN before.
pub fn read(
    segments: &[PathBuf],
    lookup: &Lookup<'_>,
    scores: &mut [f32],
    progress: &Progress,
) -> Result<Counts> {
    let mut groups = groups(lookup, scores);
    let mut counts = Counts::default();
    for path in segments {
        let (records, torn) = read_segment(&Segment::open(path)?, lookup, &mut groups, progress)?;
        counts.records += records;
        counts.torn += u64::from(torn);
    }
    counts.duplicates = groups.iter().map(|group| group.duplicates).sum();
    counts.conflicts = groups.iter().map(|group| group.conflicts).sum();
    Ok(counts)
}

/// Reads a segment up to its first damaged record; returns the intact records, and whether something torn ends them.
fn read_segment(
    segment: &Segment,
    lookup: &Lookup<'_>,
    groups: &mut [Group<'_>],
    progress: &Progress,
) -> Result<(u64, bool)> {
    let starts: Vec<u64> = (0..segment.records).step_by(PART).collect();
    let mut records = 0;
    for starts in starts.chunks(PARTS) {
        let mut parts = parts(segment, starts, lookup, progress)?;
        let damaged = parts.iter().position(|part| part.torn);
        parts.truncate(damaged.map_or(parts.len(), |at| at + 1));
        groups.par_iter_mut().try_for_each(|group| {
            parts.iter().try_for_each(|part| {
                progress.poll()?;
                group.apply(lookup, part);
                Ok(())
            })
        })?;
        records += parts.iter().map(|part| part.records).sum::<u64>();
        if damaged.is_some() {
            return Ok((records, true));
        }
    }
    Ok((records, segment.tail))
}

fn parts(
    segment: &Segment,
    starts: &[u64],
    lookup: &Lookup<'_>,
    progress: &Progress,
) -> Result<Vec<Part>> {
    let read = |buffer: &mut Vec<u8>, start: &u64| {
        progress.poll()?;
        let count = PART.min((segment.records - start) as usize);
        Ok(resolve(lookup, segment.read(*start, count, buffer)?))
    };
    starts.par_iter().map_init(Vec::new, read).collect()
}
