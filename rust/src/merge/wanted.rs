//! Which pairs are wanted: the candidates of every query.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::fingerprint::Key;

/// In place of a row where a query has fewer candidates.
pub const NO_PASSAGE: u32 = u32::MAX;

/// Query q wants `passages[rows[q * k + j]]` for every j below k.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Content keys of the queries [Q].
    pub queries: &'a [Key],
    /// Content keys of the passages [n].
    pub passages: &'a [Key],
    /// Rows of `passages` [Q, k], or [`NO_PASSAGE`].
    pub rows: &'a [u32],
    /// Candidates a query.
    pub k: usize,
}

impl Wanted<'_> {
    /// Refuses shapes that do not fit together and rows that are not of the passages.
    pub fn check(&self) -> Result<()> {
        let (queries, pairs, k) = (self.queries.len(), self.rows.len(), self.k);
        if pairs != queries * k {
            let message =
                format!("{queries} query keys with {k} candidates each, but {pairs} rows");
            return Err(Error::shape(message));
        }
        let count = self.passages.len();
        let beyond = |row: &u32| *row as usize >= count && *row != NO_PASSAGE;
        match self.rows.par_iter().position_first(beyond) {
            Some(at) => Err(Error::shape(format!(
                "row {} of {count} passages",
                self.rows[at]
            ))),
            None => Ok(()),
        }
    }
}
