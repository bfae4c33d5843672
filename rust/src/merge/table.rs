//! Positions of content keys: an open-addressing table that borrows the keys and keeps eight bytes a slot.

use crate::error::{Error, Result};
use crate::fingerprint::Key;
use crate::progress::Progress;

/// Keys entered between two polls of the stop flag.
const POLL: usize = 1 << 16;

/// Finds the first position of a key in a list. A slot holds 32 bits of the key's hash and its position + 1; 0 is free.
pub struct KeyTable<'a> {
    keys: &'a [Key],
    /// Two of three at most are taken, so a search soon meets a free one.
    slots: Vec<u64>,
}

impl<'a> KeyTable<'a> {
    /// Enters all keys. Returns also, where keys are repeated, the first position of every key [n]; else nothing.
    pub fn new(keys: &'a [Key], progress: &Progress) -> Result<(Self, Vec<u32>)> {
        if keys.len() >= u32::MAX as usize {
            let message = format!("{} keys: at most {} fit", keys.len(), u32::MAX - 1);
            return Err(Error::shape(message));
        }
        let slots = vec![0; keys.len() + keys.len() / 2 + 1];
        let mut table = Self { keys, slots };
        let mut firsts = Vec::new();
        for position in 0..keys.len() as u32 {
            if (position as usize).is_multiple_of(POLL) {
                progress.poll()?;
            }
            let first = table.enter(position);
            if first != position && firsts.is_empty() {
                firsts = (0..keys.len() as u32).collect();
            }
            if first != position {
                firsts[position as usize] = first;
            }
        }
        Ok((table, firsts))
    }

    /// The first position of a key, if it is in the list.
    #[inline]
    pub fn get(&self, key: &Key) -> Option<u32> {
        let slot = self.slots[self.find(key)];
        (slot != 0).then(|| slot as u32 - 1)
    }

    /// Enters the key at a position; returns the first position of the same key.
    fn enter(&mut self, position: u32) -> u32 {
        let keys = self.keys;
        let key = &keys[position as usize];
        let at = self.find(key);
        if self.slots[at] == 0 {
            self.slots[at] = hash(key) << 32 | u64::from(position + 1);
        }
        self.slots[at] as u32 - 1
    }

    /// Where the key stands, or the free slot where it would.
    #[inline]
    fn find(&self, key: &Key) -> usize {
        let hash = hash(key);
        let mut at = ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize;
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
}

/// Keys are digests already: one multiplication spreads also those that are not.
#[inline]
fn hash(key: &Key) -> u64 {
    (key[0] ^ key[1].rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_key_finds_its_first_position() {
        for (count, different) in [(0, 1), (1, 1), (5000, 1700), (5000, 9000)] {
            let keys: Vec<Key> = (0..count).map(|n| [n % different, n % different]).collect();
            let mut expected = HashMap::new();
            for (position, key) in keys.iter().enumerate() {
                expected.entry(*key).or_insert(position as u32);
            }
            let (table, firsts) = KeyTable::new(&keys, &Progress::default()).unwrap();
            assert!(keys.iter().all(|key| table.get(key) == Some(expected[key])));
            assert_eq!(table.get(&[9999, 0]), None);
            assert_eq!(firsts.is_empty(), count <= different);
            let pairs = keys.iter().zip(&firsts);
            assert!(
                pairs
                    .into_iter()
                    .all(|(key, first)| *first == expected[key])
            );
        }
    }

    #[test]
    fn filling_can_be_stopped() {
        let progress = Progress::default();
        progress.stop();
        let filled = KeyTable::new(&[[1, 2]], &progress);
        assert!(matches!(filled, Err(Error::Interrupted)));
    }
}
