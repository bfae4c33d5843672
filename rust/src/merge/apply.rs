//! Wanted pairs become scores of the table: a group of queries at a time, in the order of the records.

use super::lookup::Lookup;
use super::resolve::{Found, Part, group_size};

/// Passages compared at once.
const LANES: usize = 32;

/// The scores of a group of queries.
pub struct Group<'a> {
    number: usize,
    /// Scores [queries of the group, k].
    scores: &'a mut [f32],
    /// Wanted pairs met again with the same score.
    pub duplicates: u64,
    /// Wanted pairs met again with another score.
    pub conflicts: u64,
}

/// Cuts a table [Q, k] into its groups.
pub fn groups<'a>(lookup: &Lookup<'_>, scores: &'a mut [f32]) -> Vec<Group<'a>> {
    let size = group_size(lookup.count) * lookup.k;
    let tables = scores.chunks_mut(size.max(1)).enumerate();
    let group = |(number, scores)| Group {
        number,
        scores,
        duplicates: 0,
        conflicts: 0,
    };
    tables.map(group).collect()
}

impl Group<'_> {
    /// Takes what a part holds of this group. Parts come in the order of the records.
    pub fn apply(&mut self, lookup: &Lookup<'_>, part: &Part) {
        let first = self.number * group_size(lookup.count);
        for found in part.group(self.number) {
            let place = (found.query as usize - first) * lookup.k;
            self.put(place, lookup.row(found.query), found);
        }
    }

    /// Enters a score at every place of its passage in a row of candidates; the first score stays. However often the
    /// row holds the passage, a record is counted once.
    fn put(&mut self, place: usize, row: &[u32], found: &Found) {
        let mut counted = false;
        for (block, passages) in row.chunks(LANES).enumerate() {
            // Without a branch inside, this is a few vector comparisons.
            let hit = |any, passage: &u32| any | (*passage == found.passage);
            if !passages.iter().fold(false, hit) {
                continue;
            }
            for (at, passage) in passages.iter().enumerate() {
                if *passage != found.passage {
                    continue;
                }
                let known = &mut self.scores[place + block * LANES + at];
                if known.is_nan() {
                    *known = found.score;
                } else if !counted && *known == found.score {
                    self.duplicates += 1;
                } else if !counted {
                    self.conflicts += 1;
                }
                counted = true;
            }
        }
    }
}
