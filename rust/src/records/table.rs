//! The offset table of a set of files: where each row starts, and which row has which id.

use crate::files::Bytes;

/// Bytes a row takes: its offset, and the hash and row number of the id table.
pub const ROW_BYTES: usize = 8 + 8 + 4;

/// `starts: u64[n]`, then `hashes: u64[n]` ascending, then `rows: u32[n]`, little-endian, behind `skip` bytes.
#[derive(Debug)]
pub struct Table {
    bytes: Bytes,
    skip: usize,
    rows: usize,
}

impl Table {
    /// A table over `bytes`, which hold exactly `skip + rows * ROW_BYTES` bytes.
    pub fn new(bytes: Bytes, skip: usize, rows: usize) -> Option<Self> {
        let whole = rows.checked_mul(ROW_BYTES)?.checked_add(skip)?;
        (bytes.len() == whole).then_some(Self { bytes, skip, rows })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The table as it is stored.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.skip..]
    }

    /// Offset of a row in the concatenation of all files.
    pub fn start(&self, row: usize) -> u64 {
        u64::from_le_bytes(self.words()[row])
    }

    /// The rows whose id has this hash.
    pub fn with_hash(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let hashes = &self.words()[self.rows..2 * self.rows];
        let (rows, _) = self.body()[16 * self.rows..].as_chunks::<4>();
        let first = hashes.partition_point(|other| u64::from_le_bytes(*other) < hash);
        let same = move |at: &usize| u64::from_le_bytes(hashes[*at]) == hash;
        (first..self.rows)
            .take_while(same)
            .map(|at| u32::from_le_bytes(rows[at]))
    }

    /// The table as words of eight bytes: offsets, then hashes.
    fn words(&self) -> &[[u8; 8]] {
        self.body().as_chunks::<8>().0
    }
}

/// Lays a table out as bytes; `ids` is sorted by hash, then row.
pub fn encode(starts: &[u64], ids: &[(u64, u32)]) -> Vec<u8> {
    let mut body = Vec::with_capacity(starts.len() * ROW_BYTES);
    body.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
    body.extend(ids.iter().flat_map(|(hash, _)| hash.to_le_bytes()));
    body.extend(ids.iter().flat_map(|(_, row)| row.to_le_bytes()));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_hash() {
        let ids = [(1, 2), (5, 0), (5, 3), (9, 1)];
        let body = encode(&[10, 20, 30, 40], &ids);
        let table = Table::new(Bytes::Owned(body), 0, 4).unwrap();
        assert_eq!(table.start(2), 30);
        assert_eq!(table.with_hash(5).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(table.with_hash(6).count(), 0);
        assert_eq!(table.with_hash(9).collect::<Vec<_>>(), [1]);
    }
}
