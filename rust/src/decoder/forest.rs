//! Which token sees which: trees of tokens, each with a trunk that its branches share.

use std::ops::Range;

use crate::error::{Error, Result};

/// The first token of a tree has no parent.
pub(crate) const ROOT: u32 = u32::MAX;

/// T tokens in trees.
pub struct Forest {
    parent: Vec<u32>,
    depth: Vec<u32>,
    trees: Vec<Tree>,
}

/// A tree's places: its trunk is a chain, what follows are branches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    pub start: usize,
    pub trunk: usize,
    pub end: usize,
}

/// Neighbouring tokens of one tree whose attention is computed together.
pub(crate) struct Chunk {
    pub tree: usize,
    /// Which of the asked-for tokens.
    pub asked: Range<usize>,
    /// Places beyond the trunk that some of them see, ascending.
    pub beyond: Vec<u32>,
    /// [tokens, beyond]
    pub sees: Vec<bool>,
}

impl Forest {
    /// Checks and keeps a forest.
    ///
    /// # Arguments
    /// * `parent`: [T] place of the token before, -1 for the first of a tree.
    /// * `trees`: where each begins, where its trunk ends, and where it ends.
    pub fn new(parent: &[i64], trees: &[[i64; 3]]) -> Result<Self> {
        let mut made = Self {
            parent: Vec::with_capacity(parent.len()),
            depth: Vec::with_capacity(parent.len()),
            trees: Vec::new(),
        };
        for &[start, trunk, end] in trees {
            let at = made.parent.len() as i64;
            if start != at || trunk < start || end < trunk || end > parent.len() as i64 {
                return Err(Error::shape(format!(
                    "tree [{start}, {trunk}, {end}] does not follow place {at}"
                )));
            }
            for place in start..end {
                made.push(place, parent[place as usize], start, trunk)?;
            }
            made.trees.push(Tree {
                start: start as usize,
                trunk: trunk as usize,
                end: end as usize,
            });
        }
        if made.parent.len() != parent.len() {
            return Err(Error::shape(format!(
                "trees hold {} of {} tokens",
                made.parent.len(),
                parent.len()
            )));
        }
        Ok(made)
    }

    fn push(&mut self, place: i64, parent: i64, start: i64, trunk: i64) -> Result<()> {
        let fits = if place < trunk {
            parent == if place == start { -1 } else { place - 1 }
        } else {
            (parent >= start.max(trunk - 1) && parent < place) || (parent == -1 && trunk == start)
        };
        if !fits {
            return Err(Error::shape(format!(
                "the parent of place {place} is {parent}, in a tree from {start} with a trunk to {trunk}"
            )));
        }
        let depth = if parent < 0 {
            0
        } else {
            self.depth[parent as usize] + 1
        };
        self.parent
            .push(if parent < 0 { ROOT } else { parent as u32 });
        self.depth.push(depth);
        Ok(())
    }

    /// T.
    pub fn len(&self) -> usize {
        self.parent.len()
    }

    /// Whether it has no tokens.
    pub fn is_empty(&self) -> bool {
        self.parent.is_empty()
    }

    /// Ancestors of a token.
    pub(crate) fn depth(&self, place: usize) -> usize {
        self.depth[place] as usize
    }

    /// One more than the largest depth.
    pub(crate) fn positions(&self) -> usize {
        self.depth
            .iter()
            .max()
            .map_or(0, |depth| *depth as usize + 1)
    }

    pub(crate) fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// Chunks of at most `size` of the asked-for tokens (ascending places), in order.
    pub(crate) fn chunks(&self, asked: &[u32], size: usize) -> Vec<Chunk> {
        let mut made = Vec::new();
        let mut at = 0;
        for (number, tree) in self.trees.iter().enumerate() {
            let end = at + asked[at..].partition_point(|place| (*place as usize) < tree.end);
            while at < end {
                let to = end.min(at + size);
                made.push(self.chunk(number, asked, at..to));
                at = to;
            }
        }
        made
    }

    fn chunk(&self, number: usize, asked: &[u32], range: Range<usize>) -> Chunk {
        let trunk = self.trees[number].trunk as u32;
        let tokens = &asked[range.clone()];
        let mut beyond: Vec<u32> = tokens
            .iter()
            .flat_map(|token| self.lineage(*token, trunk))
            .collect();
        beyond.sort_unstable();
        beyond.dedup();
        let mut sees = vec![false; tokens.len() * beyond.len()];
        for (row, token) in tokens.iter().enumerate() {
            for place in self.lineage(*token, trunk) {
                if let Ok(column) = beyond.binary_search(&place) {
                    sees[row * beyond.len() + column] = true;
                }
            }
        }
        Chunk {
            tree: number,
            asked: range,
            beyond,
            sees,
        }
    }

    /// A token and its ancestors, those of the trunk left out.
    fn lineage(&self, token: u32, trunk: u32) -> impl Iterator<Item = u32> + '_ {
        let next =
            move |place: &u32| Some(self.parent[*place as usize]).filter(|parent| *parent != ROOT);
        std::iter::successors(Some(token), next).take_while(move |place| *place >= trunk)
    }
}
