//! Padded batches of rows out of the store.

use super::store::TokenStore;
use crate::error::Result;

/// A padded batch of `rows` x `width`, row after row.
#[derive(Debug, PartialEq, Eq)]
pub struct Padded {
    /// Token ids [rows, width], padded on the right.
    pub ids: Vec<i64>,
    /// 1 where there is a token, 0 where there is padding [rows, width].
    pub mask: Vec<i64>,
    /// Length of the longest row.
    pub width: usize,
}

impl TokenStore {
    /// The rows side by side, padded with `pad` to the longest of them.
    pub fn gather(&self, rows: &[u32], pad: i64) -> Result<Padded> {
        let mut width = 0;
        for row in rows {
            width = width.max(self.row(*row)?.len());
        }
        let mut ids = vec![pad; rows.len() * width];
        let mut mask = vec![0; rows.len() * width];
        for (at, row) in rows.iter().enumerate() {
            for (column, id) in self.row(*row)?.enumerate() {
                ids[at * width + column] = i64::from(id);
                mask[at * width + column] = 1;
            }
        }
        Ok(Padded { ids, mask, width })
    }
}
