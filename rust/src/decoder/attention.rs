//! Attention over forests: the trunk of a tree is packed once for all its tokens, what lies beyond it chunk by chunk.

use rayon::prelude::*;

use super::forest::{Chunk, Forest, Tree};
use super::math::softmax;
use super::packed::{Packed, Scores};
use crate::error::Result;
use crate::gemm::{Form, Isa, Kind, Matrix, PANEL, Rows, isa};
use crate::progress::Progress;

/// Rows of scores (tokens x heads that share keys) in a chunk.
const ROWS: usize = 96;

/// Heads of a layer: queries, keys and values of a token lie one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub queries: usize,
    pub shared: usize,
    pub size: usize,
}

impl Heads {
    /// Query heads that share the keys of one head.
    pub(crate) fn group(self) -> usize {
        self.queries / self.shared
    }

    /// Values of a token.
    pub(crate) fn width(self) -> usize {
        (self.queries + 2 * self.shared) * self.size
    }

    /// Tokens in a chunk.
    pub(crate) fn tokens(self) -> usize {
        (ROWS / self.group()).max(1)
    }

    fn key(self, head: usize) -> usize {
        (self.queries + head) * self.size
    }

    fn value(self, head: usize) -> usize {
        self.key(head) + self.shared * self.size
    }
}

/// What attention of a layer needs: [T, width] queries, keys and values, all turned to their positions.
pub(crate) struct Job<'a> {
    pub forest: &'a Forest,
    pub heads: Heads,
    pub window: Option<usize>,
    pub states: &'a [f32],
    pub kind: Kind,
}

/// bf16 where the processor multiplies it, unless the states are to be exact.
pub(crate) fn kind_for(weights: Kind) -> Kind {
    if weights != Kind::F32 && isa(Kind::Bf16) == Isa::Avx512 {
        Kind::Bf16
    } else {
        Kind::F32
    }
}

impl Job<'_> {
    /// Attention of the asked-for tokens.
    ///
    /// # Arguments
    /// * `asked`: their places, ascending.
    /// * `chunks`: of them, see `Forest::chunks`.
    /// * `to`: [asked, query heads x size].
    pub(crate) fn run(
        &self,
        asked: &[u32],
        chunks: &[Chunk],
        to: &mut [f32],
        progress: &Progress,
    ) -> Result<()> {
        let trunks = self.trunks()?;
        let width = self.heads.queries * self.heads.size;
        let mut parts = Vec::with_capacity(chunks.len());
        let mut rest = to;
        for chunk in chunks {
            let (part, more) = rest.split_at_mut(chunk.asked.len() * width);
            parts.push((chunk, part));
            rest = more;
        }
        parts.into_par_iter().try_for_each(|(chunk, part)| {
            progress.poll()?;
            for head in 0..self.heads.shared {
                let trunk = trunks[chunk.tree * self.heads.shared + head].as_ref();
                self.chunk(chunk, &asked[chunk.asked.clone()], head, trunk, part)?;
            }
            Ok(())
        })
    }

    /// Keys and values of every trunk, a head after the other; None for a tree without one.
    fn trunks(&self) -> Result<Vec<Option<Packed>>> {
        let pack = |at: usize| {
            let Tree { start, trunk, .. } = self.forest.trees()[at / self.heads.shared];
            let places: Vec<u32> = (start as u32..trunk as u32).collect();
            if places.is_empty() {
                Ok(None)
            } else {
                self.pack(&places, at % self.heads.shared).map(Some)
            }
        };
        (0..self.forest.trees().len() * self.heads.shared)
            .into_par_iter()
            .map(pack)
            .collect()
    }

    fn pack(&self, places: &[u32], head: usize) -> Result<Packed> {
        let Heads { size, .. } = self.heads;
        let (key, value) = (self.heads.key(head), self.heads.value(head));
        let keys = Matrix::pack(self.kind, places.len(), size, |at, to| {
            to.copy_from_slice(&self.row(places[at])[key..key + size])
        })?;
        let mut across = vec![0.0f32; size * places.len()];
        for (at, place) in places.iter().enumerate() {
            let column = across[at..].iter_mut().step_by(places.len());
            column
                .zip(&self.row(*place)[value..value + size])
                .for_each(|(to, value)| *to = *value);
        }
        let values = Matrix::pack(self.kind, size, places.len(), |at, to| {
            to.copy_from_slice(&across[at * places.len()..][..places.len()])
        })?;
        Ok(Packed { keys, values })
    }

    fn row(&self, place: u32) -> &[f32] {
        &self.states[place as usize * self.heads.width()..][..self.heads.width()]
    }

    fn chunk(
        &self,
        chunk: &Chunk,
        tokens: &[u32],
        head: usize,
        trunk: Option<&Packed>,
        to: &mut [f32],
    ) -> Result<()> {
        let Heads {
            size, queries: all, ..
        } = self.heads;
        let group = self.heads.group();
        let beyond = if chunk.beyond.is_empty() {
            None
        } else {
            Some(self.pack(&chunk.beyond, head)?)
        };
        let queries = self.queries(tokens, head);
        let seen: Vec<_> = tokens
            .iter()
            .map(|token| self.seen(chunk, *token))
            .collect();
        let span = (
            seen.iter().map(|s| s.0).min().unwrap_or(0),
            seen.iter().map(|s| s.1).max().unwrap_or(0),
        );
        let mut near = Scores::of(&queries, trunk, span.0 / PANEL..span.1.div_ceil(PANEL));
        let mut far = Scores::of(
            &queries,
            beyond.as_ref(),
            0..chunk.beyond.len().div_ceil(PANEL),
        );
        let sums = self.weights(chunk, tokens, &seen, &mut near, &mut far);
        let mut out = vec![0.0f32; queries.count() * size];
        near.add_values(trunk, &mut out);
        far.add_values(beyond.as_ref(), &mut out);
        for (row, (values, sum)) in out.chunks_exact(size).zip(&sums).enumerate() {
            let at = (row / group * all + head * group + row % group) * size;
            to[at..at + size]
                .iter_mut()
                .zip(values)
                .for_each(|(to, value)| *to = value / sum);
        }
        Ok(())
    }

    /// Queries of a head's group: [tokens x group, d].
    fn queries(&self, tokens: &[u32], head: usize) -> Rows {
        let (size, group) = (self.heads.size, self.heads.group());
        let mut rows = Rows::new(Form::whole(self.kind, size), tokens.len() * group);
        for (at, token) in tokens.iter().enumerate() {
            for which in 0..group {
                let from = (head * group + which) * size;
                rows.set(at * group + which, &self.row(*token)[from..from + size]);
            }
        }
        rows
    }

    /// The range of the trunk that a token sees.
    fn seen(&self, chunk: &Chunk, token: u32) -> (usize, usize) {
        let Tree { start, trunk, .. } = self.forest.trees()[chunk.tree];
        let depth = self.forest.depth(token as usize);
        let to = (trunk - start).min(depth + 1);
        let from = self
            .window
            .map_or(0, |window| (depth + 1).saturating_sub(window));
        (from.min(to), to)
    }

    /// Scores become weights, not yet divided by their sums, which are returned.
    fn weights(
        &self,
        chunk: &Chunk,
        tokens: &[u32],
        seen: &[(usize, usize)],
        near: &mut Scores,
        far: &mut Scores,
    ) -> Vec<f32> {
        let mut sums = Vec::with_capacity(tokens.len() * self.heads.group());
        let count = chunk.beyond.len();
        for (at, (token, (from, to))) in tokens.iter().zip(seen).enumerate() {
            let mut sees = chunk.sees[at * count..(at + 1) * count].to_vec();
            if let Some(window) = self.window {
                let depth = self.forest.depth(*token as usize);
                let old = |place: &u32| self.forest.depth(*place as usize) + window <= depth;
                sees.iter_mut()
                    .zip(&chunk.beyond)
                    .for_each(|(sees, place)| *sees &= !old(place));
            }
            for row in at * self.heads.group()..(at + 1) * self.heads.group() {
                sums.push(softmax(near.row(row), *from, *to, far.row(row), &sees));
            }
        }
        sums
    }
}
