//! What one worker does with a few panels of passages: screen them against all queries, score the survivors.

use std::ops::Range;

use super::best::Best;
use super::int8_shard::Int8Shard;
use super::kernels::isa::Isa;
use super::kernels::layout::{PANEL, TILE};
use super::panel::{Packer, Panel, panel_words};
use super::queries::QuantisedQueries;
use super::rescore::{PAIRS, Rows, scores};
use super::screen::{Pair, Screen};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::shards::Shards;

/// Passages that a worker takes at a time.
pub(crate) const BATCH: usize = 8 * PANEL;
/// Bytes of codes of queries that are used with all panels of a batch before the next ones come.
const BLOCK_BYTES: usize = 384 << 10;

/// What all workers on a shard share.
pub(crate) struct Task<'a> {
    /// Instructions to search with.
    pub isa: Isa,
    /// All shards.
    pub shards: &'a Shards,
    /// Number of the shard.
    pub part: usize,
    /// [n] marks of the passages that are searched among all shards; empty: all.
    pub only: &'a [u8],
    /// The queries.
    pub queries: &'a QuantisedQueries<'a>,
    /// Number of the first query among all.
    pub first_query: usize,
    /// Their best passages.
    pub best: &'a Best,
    /// How the shard is screened; `None`: all its rows are scored exactly.
    pub screening: Option<Screening>,
}

/// What screening a shard takes.
pub(crate) struct Screening {
    /// Its int8 shard; where there is none, rows are quantised.
    pub int8_shard: Option<Int8Shard>,
    /// [d], subtracted from its rows.
    pub mean: Vec<f32>,
    /// The norm of the mean.
    pub mean_norm: f64,
    /// The inner product of each query with the mean.
    pub query_means: Vec<f64>,
}

impl Task<'_> {
    /// Asks for rows that are needed soon.
    pub(crate) fn expect(&self, rows: Range<usize>) {
        if let Some(int8_shard) = self.int8_shard() {
            int8_shard.expect(panels(&rows));
        }
    }

    /// Gives back the memory of rows that are done.
    pub(crate) fn release(&self, rows: Range<usize>) {
        if let Some(int8_shard) = self.int8_shard() {
            int8_shard.release(panels(&rows));
        }
        self.shards.release(self.part, rows);
    }

    fn int8_shard(&self) -> Option<&Int8Shard> {
        self.screening.as_ref()?.int8_shard.as_ref()
    }

    fn batch(&self, rows: Range<usize>) -> Batch {
        let base = self.shards.parts()[self.part].base;
        let searched = std::array::from_fn(|panel| {
            let is_searched = |column: &usize| {
                let row = rows.start + panel * PANEL + column;
                row < rows.end && (self.only.is_empty() || self.only[base + row] != 0)
            };
            let columns = (0..PANEL).filter(is_searched);
            columns.fold(0, |bits, column| bits | 1 << column)
        });
        Batch { rows, searched }
    }

    /// Offers a score of row `at` of the shard.
    fn offer(&self, query: usize, at: usize, score: f32) -> Result<()> {
        let row = self.shards.parts()[self.part].base + at;
        if score.is_finite() {
            self.best.push(query, score, row as u32);
            return Ok(());
        }
        // A value that is not finite is an error of its own.
        let mut values = vec![0.0; self.queries.dimensions];
        self.shards.read(self.part, at, &mut values)?;
        let query = self.first_query + query;
        let message = format!("query row {query}, passage row {row}: overflow");
        let hint = "use an encoder whose vectors have length 1 (--similarity cosine)";
        Err(Error::not_finite(message, hint))
    }
}

/// The panels of some rows, the first of which begins one.
fn panels(rows: &Range<usize>) -> Range<usize> {
    rows.start / PANEL..rows.end.div_ceil(PANEL)
}

/// At most [`BATCH`] rows of a shard, the first of which begins a panel.
struct Batch {
    rows: Range<usize>,
    /// For each panel, a bit for each row that is searched.
    searched: [u32; BATCH / PANEL],
}

/// One worker and its memory.
pub(crate) struct Worker<'a> {
    task: &'a Task<'a>,
    progress: &'a Progress,
    limits: Vec<f32>,
    survivors: Vec<Pair>,
    packer: Packer<'a>,
    packed: Vec<u32>,
    rows: Rows<'a>,
}

impl<'a> Worker<'a> {
    /// A worker on a shard.
    pub(crate) fn new(task: &'a Task<'a>, progress: &'a Progress) -> Self {
        Self {
            task,
            progress,
            limits: Vec::new(),
            survivors: Vec::new(),
            packer: Packer::new(task.isa, task.shards),
            packed: Vec::new(),
            rows: Rows::new(task.shards, task.part),
        }
    }

    /// All queries against at most [`BATCH`] rows of the shard, from one that begins a panel.
    pub(crate) fn run(&mut self, rows: Range<usize>) -> Result<()> {
        let batch = self.task.batch(rows);
        if batch.searched == [0; BATCH / PANEL] {
            return Ok(());
        }
        self.rows.begin(batch.rows.start, batch.rows.len());
        let Some(screening) = &self.task.screening else {
            return self.score_all(&batch);
        };
        let panels = panels(&batch.rows);
        if let Some(int8_shard) = &screening.int8_shard {
            return self.screen(&batch, screening, int8_shard.panels(panels));
        }
        let mut packed = std::mem::take(&mut self.packed);
        packed.resize(panels.len() * panel_words(screening.mean.len()), 0);
        let (part, rows) = (self.task.part, batch.rows.clone());
        self.packer.pack(part, rows, &screening.mean, &mut packed)?;
        let outcome = self.screen(&batch, screening, &packed);
        self.packed = packed;
        outcome
    }

    /// Screens the packed rows against all queries, and scores what survives.
    fn screen(&mut self, batch: &Batch, screening: &Screening, panels: &[u32]) -> Result<()> {
        let Task { queries, best, .. } = self.task;
        let norms = panels.chunks_exact(panel_words(queries.dimensions));
        let norms = norms.map(|panel| Panel::of(panel).largest_norm());
        let largest_norm = norms.fold(0.0, f64::max) + screening.mean_norm;
        let step = (BLOCK_BYTES / (4 * queries.codes(0).stride) / TILE).max(3) * TILE;
        for start in (0..queries.len()).step_by(step) {
            self.progress.poll()?;
            let range = start..queries.len().min(start + step);
            self.limits.clear();
            self.limits.extend(range.clone().map(|query| {
                let (threshold, mean) = (best.threshold(query), screening.query_means[query]);
                queries.bound(query).limit(threshold, mean, largest_norm)
            }));
            let screen = Screen {
                isa: self.task.isa,
                queries,
                range,
                limits: &self.limits,
                panels,
                searched: &batch.searched,
            };
            screen.run(&mut self.survivors);
            self.score(batch)?;
        }
        Ok(())
    }

    /// Scores every searched row without screening.
    fn score_all(&mut self, batch: &Batch) -> Result<()> {
        for column in 0..batch.rows.len() as u32 {
            if batch.searched[column as usize / PANEL] >> (column as usize % PANEL) & 1 == 1 {
                let queries = 0..self.task.queries.len() as u32;
                self.survivors.extend(queries.map(|query| (query, column)));
            }
        }
        self.score(batch)
    }

    /// Scores the survivors exactly and offers them.
    fn score(&mut self, batch: &Batch) -> Result<()> {
        for some in self.survivors.chunks(PAIRS) {
            self.progress.poll()?; // a row that is not in memory yet may take milliseconds
            for (_, column) in some {
                self.rows.load(*column as usize)?;
            }
            let pair = |at: usize| {
                let (query, column) = some[at.min(some.len() - 1)];
                let query = self.task.queries.row(query as usize);
                (query, self.rows.bytes(column as usize))
            };
            let found = scores(self.task.isa, &std::array::from_fn(pair));
            for ((query, column), score) in some.iter().zip(found) {
                self.task
                    .offer(*query as usize, batch.rows.start + *column as usize, score)?;
            }
        }
        self.survivors.clear();
        Ok(())
    }
}
