//! Records of a part of a segment become wanted pairs, sorted by the group of queries that they are of.

use crate::scores::{RECORD, decode};

use super::lookup::Lookup;

/// At most so many groups of queries, each of which is filled by one thread at a time.
const GROUPS: usize = 64;

/// A wanted pair with a score of it.
#[derive(Clone, Copy, Default)]
pub struct Found {
    pub query: u32,
    pub passage: u32,
    pub score: f32,
}

/// What a part of a segment holds.
#[derive(Default)]
pub struct Part {
    /// Wanted pairs by group, within a group in the order of the records.
    found: Vec<Found>,
    /// Where each group begins, and the end.
    bounds: Vec<usize>,
    /// Intact records, wanted or not.
    pub records: u64,
    /// Records that are damaged, and left out.
    pub damaged: u64,
}

impl Part {
    /// The wanted pairs of a group.
    pub fn group(&self, number: usize) -> &[Found] {
        &self.found[self.bounds[number]..self.bounds[number + 1]]
    }
}

/// Queries of a group.
pub fn group_size(queries: usize) -> usize {
    queries.div_ceil(GROUPS).max(1)
}

/// The wanted pairs among records; each has its place, so that a damaged one hides no other.
pub fn resolve(lookup: &Lookup<'_>, records: &[[u8; RECORD]]) -> Part {
    let mut found = Vec::with_capacity(records.len());
    let mut part = Part::default();
    for bytes in records {
        let Some(((query, passage), score)) = decode(bytes) else {
            part.damaged += 1;
            continue;
        };
        part.records += 1;
        if !score.is_finite() {
            continue; // A log refuses such scores; NaN stands for none.
        }
        let Some((first, passage)) = lookup.find(&query, &passage) else {
            continue;
        };
        let same = std::iter::successors(Some(first), |query| lookup.another(*query));
        found.extend(same.map(|query| Found {
            query,
            passage,
            score,
        }));
    }
    (part.found, part.bounds) = by_group(&found, group_size(lookup.count));
    part
}

/// A counting sort, which keeps the order within a group.
fn by_group(found: &[Found], size: usize) -> (Vec<Found>, Vec<usize>) {
    let mut places = vec![0; GROUPS + 1];
    for one in found {
        places[one.query as usize / size + 1] += 1;
    }
    for group in 0..GROUPS {
        places[group + 1] += places[group];
    }
    let bounds = places.clone();
    let mut sorted = vec![Found::default(); found.len()];
    for one in found {
        let place = &mut places[one.query as usize / size];
        sorted[*place] = *one;
        *place += 1;
    }
    (sorted, bounds)
}
