//! Positions of content keys: an open-addressing table that borrows the keys and keeps eight bytes a slot.

use crate::error::{Error, Result};
use crate::fingerprint::Key;
use crate::progress::Progress;

/// Keys entered between two polls of the stop flag.
const POLL: usize = 1 << 16;
/// Slots of an empty table.
const FEWEST: usize = 16;

/// Finds the first position of a key in a list. A slot holds 32 bits of the key's hash and its position + 1; 0 is free.
pub struct KeyTable<'a> {
    keys: &'a [Key],
    slots: Vec<u64>,
    filled: usize,
}

impl<'a> KeyTable<'a> {
    /// An empty table over `keys` with room for `expected` different ones; it grows where there are more.
    pub fn new(keys: &'a [Key], expected: usize) -> Result<Self> {
        if keys.len() >= u32::MAX as usize {
            let message = format!("{} keys: at most {} fit", keys.len(), u32::MAX - 1);
            return Err(Error::shape(message));
        }
        Ok(Self {
            keys,
            slots: vec![0; (expected + expected / 2 + 1).max(FEWEST)],
            filled: 0,
        })
    }

    /// Enters all keys; `visit` gets every position with the first one of the same key.
    pub fn fill(&mut self, progress: &Progress, mut visit: impl FnMut(u32, u32)) -> Result<()> {
        for position in 0..self.keys.len() {
            if position % POLL == 0 {
                progress.poll()?;
            }
            visit(position as u32, self.intern(position as u32, progress)?);
        }
        Ok(())
    }

    /// The first position of a key, if it was entered.
    #[inline]
    pub fn get(&self, key: &Key) -> Option<u32> {
        let slot = self.slots[self.find(key)];
        (slot != 0).then(|| slot as u32 - 1)
    }

    fn intern(&mut self, position: u32, progress: &Progress) -> Result<u32> {
        let keys = self.keys;
        let key = &keys[position as usize];
        let at = self.find(key);
        if self.slots[at] != 0 {
            return Ok(self.slots[at] as u32 - 1);
        }
        self.slots[at] = slot_of(hash(key), position);
        self.filled += 1;
        if self.filled * 4 > self.slots.len() * 3 {
            self.grow(progress)?;
        }
        Ok(position)
    }

    /// Where the key stands, or the free slot where it would.
    #[inline]
    fn find(&self, key: &Key) -> usize {
        let hash = hash(key);
        let mut at = home(hash, self.slots.len());
        loop {
            let slot = self.slots[at];
            let same = slot >> 32 == hash & 0xffff_ffff;
            if slot == 0 || (same && self.keys[slot as u32 as usize - 1] == *key) {
                return at;
            }
            at = if at + 1 == self.slots.len() {
                0
            } else {
                at + 1
            };
        }
    }

    fn grow(&mut self, progress: &Progress) -> Result<()> {
        let wider = vec![0; self.slots.len() * 2];
        let narrower = std::mem::replace(&mut self.slots, wider);
        for block in narrower.chunks(POLL) {
            progress.poll()?;
            for slot in block.iter().filter(|slot| **slot != 0) {
                let at = self.find(&self.keys[*slot as u32 as usize - 1]);
                self.slots[at] = *slot;
            }
        }
        Ok(())
    }
}

/// Keys are digests already: one multiplication spreads also those that are not.
#[inline]
fn hash(key: &Key) -> u64 {
    (key[0] ^ key[1].rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn home(hash: u64, slots: usize) -> usize {
    ((u128::from(hash) * slots as u128) >> 64) as usize
}

fn slot_of(hash: u64, position: u32) -> u64 {
    hash << 32 | u64::from(position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_key_finds_its_first_position_however_small_the_table_began() {
        let keys: Vec<Key> = (0..5000u64).map(|n| [n % 1700, n % 3]).collect();
        let mut first = HashMap::new();
        for (position, key) in keys.iter().enumerate() {
            first.entry(*key).or_insert(position as u32);
        }
        for expected in [0, keys.len()] {
            let mut table = KeyTable::new(&keys, expected).unwrap();
            let check = |at: u32, found| assert_eq!(found, first[&keys[at as usize]]);
            table.fill(&Progress::default(), check).unwrap();
            assert!(keys.iter().all(|key| table.get(key) == Some(first[key])));
            assert_eq!(table.get(&[9999, 0]), None);
        }
    }

    #[test]
    fn filling_can_be_stopped() {
        let keys = [[1, 2]];
        let progress = Progress::default();
        progress.stop();
        let filled = KeyTable::new(&keys, 1).unwrap().fill(&progress, |_, _| {});
        assert!(matches!(filled, Err(Error::Interrupted)));
    }
}
