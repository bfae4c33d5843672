//! The segments of a store, one after another, into its table.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::error::Result;
use crate::progress::Progress;

use super::apply::{Group, groups};
use super::lookup::Lookup;
use super::resolve::{Part, resolve};
use super::segment::Segment;

/// A store: its name, and its segments.
pub type Store = (String, Vec<PathBuf>);

/// Records of a part, which one thread reads.
const PART: usize = if cfg!(test) { 5 } else { 1 << 14 };
/// Parts in memory at once.
const PARTS: usize = if cfg!(test) { 3 } else { 64 };

/// What was met while merging a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Intact records read, wanted or not.
    pub records: u64,
    /// Segments that end in a part of a record.
    pub torn: u64,
    /// What was left out.
    pub flaws: Vec<Flaw>,
    /// Wanted pairs met again with the same score, once a query that wants them.
    pub duplicates: u64,
    /// Wanted pairs met again with another score; the first one stays.
    pub conflicts: u64,
}

/// A segment with damaged records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The segment.
    pub path: PathBuf,
    /// How many records are damaged; `None` where the header is, or is another store's.
    pub records: Option<u64>,
}

/// Puts the first score of every pair into `scores` [Q, k], which are NaN before.
pub fn read(
    (name, segments): &Store,
    lookup: &Lookup<'_>,
    scores: &mut [f32],
    progress: &Progress,
) -> Result<Counts> {
    let mut groups = groups(lookup, scores);
    let mut counts = Counts::default();
    for path in segments {
        let path = path.clone();
        let Some(segment) = Segment::open(&path, name)? else {
            let records = None;
            counts.flaws.push(Flaw { path, records });
            continue;
        };
        let (records, damaged) = read_segment(&segment, lookup, &mut groups, progress)?;
        counts.records += records;
        counts.torn += u64::from(segment.tail);
        if damaged > 0 {
            let records = Some(damaged);
            counts.flaws.push(Flaw { path, records });
        }
    }
    counts.duplicates = groups.iter().map(|group| group.duplicates).sum();
    counts.conflicts = groups.iter().map(|group| group.conflicts).sum();
    Ok(counts)
}

/// Reads a segment; returns how many records are intact and how many are damaged.
fn read_segment(
    segment: &Segment,
    lookup: &Lookup<'_>,
    groups: &mut [Group<'_>],
    progress: &Progress,
) -> Result<(u64, u64)> {
    let starts: Vec<u64> = (0..segment.records).step_by(PART).collect();
    let (mut records, mut damaged) = (0, 0);
    for starts in starts.chunks(PARTS) {
        let parts = parts(segment, starts, lookup, progress)?;
        groups.par_iter_mut().try_for_each(|group| {
            parts.iter().try_for_each(|part| {
                progress.poll()?;
                group.apply(lookup, part);
                Ok(())
            })
        })?;
        records += parts.iter().map(|part| part.records).sum::<u64>();
        damaged += parts.iter().map(|part| part.damaged).sum::<u64>();
    }
    Ok((records, damaged))
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
