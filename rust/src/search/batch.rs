//! What one worker does with a few panels of passages: screen them against all queries, score the survivors.

use super::asked::Asked;
use super::best::Best;
use super::copy::Copied;
use super::group::Group;
use super::panel::{Packer, Panel, size};
use super::rescore::{PAIRS, scores};
use super::sift::{Pair, Sift, sift};
use super::wide::Wide;
use crate::error::{Error, Result};
use crate::gemm::{Isa, Kind, PANEL, isa};
use crate::progress::Progress;
use crate::shards::Shards;

/// Passages that a worker takes at a time.
pub(crate) const BATCH: usize = 8 * PANEL;
/// Bytes of codes of queries that are used with all panels of a batch before the next ones come.
const BLOCK_BYTES: usize = 384 << 10;

/// A shard that is being searched.
pub(crate) struct Shard {
    /// Its number.
    pub part: usize,
    /// Number of its first row among all.
    pub base: usize,
    /// Its copy in 8 bits, where there is one.
    pub copied: Option<Copied>,
    /// What is subtracted from its rows; empty where rows are not screened.
    pub mean: Vec<f32>,
    /// The norm of the mean.
    pub length: f64,
    /// The inner product of each query with the mean.
    pub means: Vec<f64>,
}

impl Shard {
    /// Asks for rows that are needed soon.
    pub(crate) fn expect(&self, from: usize, rows: usize) {
        if let Some(copied) = &self.copied {
            copied.expect(from / PANEL, rows.div_ceil(PANEL));
        }
    }

    /// Gives back the memory of rows that are done.
    pub(crate) fn release(&self, shards: &Shards, from: usize, rows: usize) {
        if let Some(copied) = &self.copied {
            copied.release(from / PANEL, rows.div_ceil(PANEL));
        }
        shards.release(self.part, from, rows);
    }
}

/// Some rows of a shard, from one that begins a panel.
pub(crate) struct Batch {
    /// The first row, in the shard.
    pub from: usize,
    rows: usize,
    /// For each panel, a bit for each row that is searched.
    open: [u32; BATCH / PANEL],
}

impl Batch {
    /// `rows` rows from `from` on; `only` marks what is searched among all passages.
    pub(crate) fn new(shard: &Shard, from: usize, rows: usize, only: &[u8]) -> Self {
        let open = std::array::from_fn(|panel| {
            let bit = |column: &usize| {
                let row = panel * PANEL + column;
                row < rows && (only.is_empty() || only[shard.base + from + row] != 0)
            };
            (0..PANEL).filter(bit).fold(0, |bits, at| bits | 1 << at)
        });
        Self { from, rows, open }
    }

    fn is_open(&self, column: usize) -> bool {
        self.open[column / PANEL] >> (column % PANEL) & 1 == 1
    }
}

/// One worker's memory.
pub(crate) struct Worker<'a> {
    isa: Isa,
    shards: &'a Shards,
    shard: &'a Shard,
    asked: &'a Asked<'a>,
    best: &'a Best,
    base: usize,
    limits: Vec<f32>,
    survivors: Vec<Pair>,
    packer: Packer<'a>,
    packed: Vec<u32>,
    wide: Wide,
}

impl<'a> Worker<'a> {
    /// A worker on a shard.
    pub(crate) fn new(group: &'a Group<'a>, shard: &'a Shard, best: &'a Best) -> Self {
        Self {
            isa: group.options.isa.unwrap_or_else(|| isa(Kind::Int8)),
            shards: group.shards,
            shard,
            asked: &group.asked,
            best,
            base: group.base,
            limits: Vec::new(),
            survivors: Vec::new(),
            packer: Packer::new(group.shards),
            packed: Vec::new(),
            wide: Wide::default(),
        }
    }

    /// All queries against a batch.
    pub(crate) fn run(&mut self, batch: &Batch, progress: &Progress) -> Result<()> {
        if batch.open == [0; BATCH / PANEL] {
            return Ok(());
        }
        self.wide.begin(self.shards);
        if self.shard.mean.is_empty() {
            return self.directly(batch, progress);
        }
        let mut packed = std::mem::take(&mut self.packed);
        let shard = self.shard;
        let panels = match &shard.copied {
            Some(copied) => copied.panels(batch.from / PANEL, batch.rows.div_ceil(PANEL)),
            None => {
                packed.resize(batch.rows.div_ceil(PANEL) * size(self.asked.dimensions), 0);
                let rows = batch.from..batch.from + batch.rows;
                self.packer
                    .pack(shard.part, rows, &shard.mean, &mut packed)?;
                &packed
            }
        };
        let outcome = self.screened(batch, panels, progress);
        self.packed = packed;
        outcome
    }

    fn screened(&mut self, batch: &Batch, panels: &[u32], progress: &Progress) -> Result<()> {
        let longest = longest(panels, self.asked.dimensions) + self.shard.length;
        let step = (BLOCK_BYTES / (4 * self.asked.stride)).max(PANEL);
        for start in (0..self.asked.len()).step_by(step) {
            progress.poll()?;
            let queries = start..self.asked.len().min(start + step);
            self.limits.clear();
            for query in queries.clone() {
                let (floor, mean) = (self.best.floor(query), self.shard.means[query]);
                let limit = self.asked.bound(query).limit(floor, mean, longest);
                self.limits.push(limit);
            }
            let job = Sift {
                asked: self.asked,
                queries,
                limits: &self.limits,
                panels,
                open: &batch.open,
            };
            sift(self.isa, &job, &mut self.survivors);
            self.score(batch, progress)?;
        }
        Ok(())
    }

    /// Without screening.
    fn directly(&mut self, batch: &Batch, progress: &Progress) -> Result<()> {
        for column in (0..batch.rows).filter(|column| batch.is_open(*column)) {
            let all = (0..self.asked.len() as u32).map(|query| (query, column as u32));
            self.survivors.extend(all);
        }
        self.score(batch, progress)
    }

    /// Scores the survivors exactly and offers them.
    fn score(&mut self, batch: &Batch, progress: &Progress) -> Result<()> {
        let survivors = std::mem::take(&mut self.survivors);
        for some in survivors.chunks(PAIRS) {
            progress.poll()?; // a row that is not in memory yet may take milliseconds
            some.iter()
                .try_for_each(|pair| self.wide.read(self.shards, self.shard.part, batch, pair.1))?;
            let pair = |at: usize| {
                let (query, column) = some[at.min(some.len() - 1)];
                let row = self.wide.row(self.shards, self.shard.part, batch, column);
                (self.asked.row(query as usize), row)
            };
            let found = scores(&std::array::from_fn(pair));
            for ((query, column), score) in some.iter().zip(found) {
                self.offer(batch, *query as usize, *column as usize, score)?;
            }
        }
        self.survivors = survivors;
        self.survivors.clear();
        Ok(())
    }

    fn offer(&self, batch: &Batch, query: usize, column: usize, score: f32) -> Result<()> {
        let row = self.shard.base + batch.from + column;
        if score.is_finite() {
            self.best.push(query, score, row as u32);
            return Ok(());
        }
        let mut values = vec![0.0; self.asked.dimensions];
        self.shards
            .read(self.shard.part, batch.from + column, &mut values)?;
        let message = format!(
            "query row {}, passage row {row}: overflow",
            self.base + query
        );
        Err(Error::not_finite(
            message,
            "use an encoder whose vectors have length 1 (--similarity cosine)",
        ))
    }
}

/// At least the norm of every vector of some panels, its mean subtracted; those that nothing is known about pass every test by
/// their own residual, whatever the limit.
fn longest(panels: &[u32], dimensions: usize) -> f64 {
    let of = |panel: Panel<'_>| {
        let sums = panel.norms().into_iter().zip(panel.residuals());
        sums.map(|(norm, residual)| f64::from(norm) + f64::from(residual))
            .filter(|sum| sum.is_finite())
            .fold(0.0, f64::max)
    };
    let panels = panels.chunks_exact(size(dimensions)).map(Panel::of);
    panels.map(of).fold(0.0, f64::max) * (1.0 + 1e-12)
}
