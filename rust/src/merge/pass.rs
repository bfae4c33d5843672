//! One pass over the segments of a store for the pairs of a window.

use rayon::prelude::*;

use crate::error::Result;
use crate::progress::Progress;

use super::segment::Segment;
use super::window::{Part, Window};
use super::{MergeStats, PART, PARTS};

/// Records that are read and resolved together.
struct Span {
    segment: usize,
    from: u64,
    count: usize,
}

/// Counts each record once over all the passes that read it.
pub struct Counted<'a> {
    progress: &'a Progress,
    passes: u64,
    read: u64,
    told: u64,
}

impl<'a> Counted<'a> {
    /// A counter for so many passes.
    pub fn new(progress: &'a Progress, passes: usize) -> Self {
        Self {
            progress,
            passes: passes as u64,
            read: 0,
            told: 0,
        }
    }

    fn add(&mut self, records: u64) {
        self.read += records;
        let done = self.read / self.passes;
        self.progress.add((done - self.told) as usize);
        self.told = done;
    }
}

/// Puts the first score of every pair of the window into `scores`; returns what was met, and which segments are torn.
pub fn pass(
    segments: &[Segment],
    window: &Window<'_>,
    scores: &mut [f32],
    counted: &mut Counted<'_>,
) -> Result<(MergeStats, Vec<bool>)> {
    let mut shards = window.shards(scores);
    let mut damaged = vec![false; segments.len()];
    let mut records = 0;
    for spans in spans(segments).chunks(PARTS) {
        let parts = resolve(segments, spans, &damaged, window, counted.progress)?;
        let whole = until_damage(spans, &parts, &mut damaged);
        shards.par_iter_mut().try_for_each(|shard| {
            whole.iter().try_for_each(|part| {
                counted.progress.poll()?;
                shard.take(part);
                Ok(())
            })
        })?;
        let read = whole.iter().map(|part| part.records).sum();
        records += read;
        counted.add(read);
    }
    let mut stats = MergeStats {
        records,
        ..MergeStats::default()
    };
    for shard in shards {
        stats.duplicates += shard.stats.duplicates;
        stats.conflicts += shard.stats.conflicts;
    }
    let torn: Vec<bool> = segments
        .iter()
        .zip(damaged)
        .map(|(s, d)| d || s.tail)
        .collect();
    stats.torn = torn.iter().filter(|torn| **torn).count() as u64;
    Ok((stats, torn))
}

fn spans(segments: &[Segment]) -> Vec<Span> {
    let cut = |(segment, whole): (usize, &Segment)| {
        let records = whole.records;
        (0..records).step_by(PART).map(move |from| Span {
            segment,
            from,
            count: PART.min((records - from) as usize),
        })
    };
    segments.iter().enumerate().flat_map(cut).collect()
}

/// Reads the spans; those of segments that are known to be damaged before them stay empty.
fn resolve(
    segments: &[Segment],
    spans: &[Span],
    damaged: &[bool],
    window: &Window<'_>,
    progress: &Progress,
) -> Result<Vec<Part>> {
    let read = |buffer: &mut Vec<u8>, span: &Span| {
        progress.poll()?;
        if damaged[span.segment] {
            return Ok(Part::default());
        }
        let records = segments[span.segment].read(span.from, span.count, buffer)?;
        Ok(window.resolve(records))
    };
    spans.par_iter().map_init(Vec::new, read).collect()
}

/// The parts that no damaged record of their segment stands before.
fn until_damage<'a>(spans: &[Span], parts: &'a [Part], damaged: &mut [bool]) -> Vec<&'a Part> {
    let mut whole = Vec::with_capacity(parts.len());
    for (span, part) in spans.iter().zip(parts) {
        if !damaged[span.segment] {
            damaged[span.segment] = part.torn;
            whole.push(part);
        }
    }
    whole
}
