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

    /// For each panel of some rows, a bit for each row that is searched.
    fn open(&self, rows: &Range<usize>) -> [u32; BATCH / PANEL] {
        let base = self.shards.parts()[self.part].base;
        std::array::from_fn(|panel| {
            let is_open = |column: &usize| {
                let row = rows.start + panel * PANEL + column;
                row < rows.end && (self.only.is_empty() || self.only[base + row] != 0)
            };
            let columns = (0..PANEL).filter(is_open);
            columns.fold(0, |bits, column| bits | 1 << column)
        })
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

/// One worker and its memory.
pub(crate) struct Worker<'a> {
    task: &'a Task<'a>,
    limits: Vec<f32>,
    survivors: Vec<Pair>,
    packer: Packer<'a>,
    packed: Vec<u32>,
    rows: Rows<'a>,
}

impl<'a> Worker<'a> {
    /// A worker on a shard.
    pub(crate) fn new(task: &'a Task<'a>) -> Self {
        Self {
            task,
            limits: Vec::new(),
            survivors: Vec::new(),
            packer: Packer::new(task.isa, task.shards),
            packed: Vec::new(),
            rows: Rows::new(task.shards, task.part),
        }
    }

    /// All queries against at most [`BATCH`] rows of the shard, from one that begins a panel.
    pub(crate) fn run(&mut self, rows: Range<usize>, progress: &Progress) -> Result<()> {
        let open = self.task.open(&rows);
        if open == [0; BATCH / PANEL] {
            return Ok(());
        }
        self.rows.begin(rows.start, rows.len());
        let Some(screening) = &self.task.screening else {
            return self.score_all(rows, open, progress);
        };
        let panels = panels(&rows);
        if let Some(int8_shard) = &screening.int8_shard {
            return self.screen(screening, &rows, int8_shard.panels(panels), &open, progress);
        }
        let mut packed = std::mem::take(&mut self.packed);
        packed.resize(panels.len() * panel_words(screening.mean.len()), 0);
        let (part, mean) = (self.task.part, &screening.mean);
        self.packer.pack(part, rows.clone(), mean, &mut packed)?;
        let outcome = self.screen(screening, &rows, &packed, &open, progress);
        self.packed = packed;
        outcome
    }

    fn screen(
        &mut self,
        screening: &Screening,
        rows: &Range<usize>,
        panels: &[u32],
        open: &[u32],
        progress: &Progress,
    ) -> Result<()> {
        let Task { queries, best, .. } = self.task;
        let dimensions = queries.dimensions;
        let norms = panels.chunks_exact(panel_words(dimensions));
        let norms = norms.map(|panel| Panel::of(panel).largest_norm());
        let largest_norm = norms.fold(0.0, f64::max) + screening.mean_norm;
        let step = (BLOCK_BYTES / (4 * queries.codes(0).stride) / TILE).max(3) * TILE;
        for start in (0..queries.len()).step_by(step) {
            progress.poll()?;
            let range = start..queries.len().min(start + step);
            self.limits.clear();
            self.limits.extend(range.clone().map(|query| {
                let (floor, mean) = (best.floor(query), screening.query_means[query]);
                queries.bound(query).limit(floor, mean, largest_norm)
            }));
            let screen = Screen {
                isa: self.task.isa,
                queries,
                range,
                limits: &self.limits,
                panels,
                open,
            };
            screen.run(&mut self.survivors);
            self.score(rows.start, progress)?;
        }
        Ok(())
    }

    /// Scores every open row without screening.
    fn score_all(
        &mut self,
        rows: Range<usize>,
        open: [u32; BATCH / PANEL],
        progress: &Progress,
    ) -> Result<()> {
        let is_open = |column: &u32| open[*column as usize / PANEL] >> (column % 32) & 1 == 1;
        for column in (0..rows.len() as u32).filter(is_open) {
            let queries = 0..self.task.queries.len() as u32;
            self.survivors.extend(queries.map(|query| (query, column)));
        }
        self.score(rows.start, progress)
    }

    /// Scores the survivors among the rows from one on, and offers them.
    fn score(&mut self, from: usize, progress: &Progress) -> Result<()> {
        for some in self.survivors.chunks(PAIRS) {
            progress.poll()?; // a row that is not in memory yet may take milliseconds
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
                    .offer(*query as usize, from + *column as usize, score)?;
            }
        }
        self.survivors.clear();
        Ok(())
    }
}
