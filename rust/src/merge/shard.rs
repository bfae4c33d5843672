//! The scores of a run of queries, which one thread fills.

use super::MergeStats;
use super::window::{Found, Part, Window};

/// Passages compared at once.
const LANES: usize = 32;

/// The scores of a run of queries.
pub struct Shard<'a> {
    window: &'a Window<'a>,
    number: usize,
    /// Place of its first pair in the window.
    first: usize,
    scores: &'a mut [f32],
    /// Pairs met again.
    pub stats: MergeStats,
}

impl<'a> Shard<'a> {
    /// The shard of this number; `scores` are those of its pairs, the first of which stands at `first` in the window.
    pub fn new(window: &'a Window<'a>, number: usize, first: usize, scores: &'a mut [f32]) -> Self {
        Self {
            window,
            number,
            first,
            scores,
            stats: MergeStats::default(),
        }
    }

    /// Takes the shard's pairs of a part; parts come in the order of the records.
    pub fn take(&mut self, part: &Part) {
        for found in part.shard(self.number) {
            if self.window.is_wide(found.query) {
                self.search(found);
            } else {
                self.scan(found);
            }
        }
    }

    fn search(&mut self, found: &Found) {
        let row = &self.window.sorted[self.window.places(found.query)];
        let begin = row.partition_point(|pair| pair.0 < found.passage);
        let same = row[begin..]
            .iter()
            .take_while(|pair| pair.0 == found.passage);
        let mut first = true;
        for (_, place) in same {
            self.put(*place as usize, found.score, &mut first);
        }
    }

    fn scan(&mut self, found: &Found) {
        let places = self.window.places(found.query);
        let (window, mut first) = (self.window, true);
        let row = &window.columns[places.clone()];
        for (at, block) in row.chunks(LANES).enumerate() {
            // Without a branch inside, this is a few vector comparisons.
            let hit = |any, passage: &u32| any | (*passage == found.passage);
            if !block.iter().fold(false, hit) {
                continue;
            }
            for (place, passage) in block.iter().enumerate() {
                if *passage == found.passage {
                    self.put(places.start + at * LANES + place, found.score, &mut first);
                }
            }
        }
    }

    /// The first score stays; a record counts once a query, however often the query wants its passage.
    fn put(&mut self, place: usize, score: f32, first: &mut bool) {
        let known = &mut self.scores[place - self.first];
        if known.is_nan() {
            *known = score;
        } else if *first && *known == score {
            self.stats.duplicates += 1;
        } else if *first {
            self.stats.conflicts += 1;
        }
        *first = false;
    }
}
