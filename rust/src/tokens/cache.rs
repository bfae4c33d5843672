//! Words and their ids, within bounds.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Longest text that is kept, in bytes: longer ones hardly come again.
const LONGEST: usize = 256;
/// Bytes of texts and ids that a cache may hold before it starts anew.
const ROOM: usize = 48 << 20;
/// What an entry takes besides its text and its ids, about.
const ENTRY: usize = 64;

/// A word once worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Where its ids stand.
    pub from: u32,
    /// How many there are.
    pub len: u32,
    /// What may stand beside it.
    pub fits: Fits,
}

/// What may stand beside a word for the cuts around it to be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fits {
    /// The word holds no added token.
    pub clean: bool,
    /// A word may stand before it.
    pub before: bool,
    /// A word may stand behind it.
    pub behind: bool,
}

/// Multiplies and folds eight bytes at a time: texts are short and the table is private to a thread.
#[derive(Default)]
pub struct Folding(u64);

impl Folding {
    fn add(&mut self, word: u64) {
        let product =
            u128::from(self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
        let mut word = [0; 8];
        let rest = chunks.remainder();
        word[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(word) ^ ((bytes.len() as u64) << 56));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Texts to whatever is known of them.
pub type Table<V> = HashMap<Box<str>, V, BuildHasherDefault<Folding>>;

/// The words one thread has met.
#[derive(Default)]
pub struct Cache {
    words: Table<Word>,
    ids: Vec<u32>,
    held: usize,
}

impl Cache {
    /// A word that is kept.
    pub fn get(&self, text: &str) -> Option<Word> {
        self.words.get(text).copied()
    }

    /// The ids of a word.
    pub fn ids(&self, word: Word) -> &[u32] {
        &self.ids[word.from as usize..(word.from + word.len) as usize]
    }

    /// Keeps a word; what was kept before is dropped when there is no more room.
    pub fn keep(&mut self, text: &str, ids: &[u32], fits: Fits) {
        if text.len() > LONGEST {
            return;
        }
        let size = text.len() + 4 * ids.len() + ENTRY;
        if self.held + size > ROOM {
            *self = Self::default();
        }
        self.held += size;
        let word = Word {
            from: self.ids.len() as u32,
            len: ids.len() as u32,
            fits,
        };
        self.ids.extend_from_slice(ids);
        self.words.insert(text.into(), word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_right() {
        let mut cache = Cache::default();
        let fits = Fits {
            clean: true,
            ..Fits::default()
        };
        for number in 0..200_000u32 {
            let text = format!("{number:0>250}");
            cache.keep(&text, &[number, 7], fits);
            let word = cache.get(&text).unwrap();
            assert_eq!(cache.ids(word), [number, 7]);
            assert!(cache.held <= ROOM && 4 * cache.ids.len() < ROOM);
        }
        assert!(cache.words.len() < 200_000);
        cache.keep(&"x".repeat(LONGEST + 1), &[1], fits);
        assert_eq!(cache.get(&"x".repeat(LONGEST + 1)), None);
    }
}
