//! Normalizing quickly: most characters stay as they are, whatever stands beside them.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper, Result};

use super::cache::Table;
use super::rules::clings;

/// Characters that neither combine with another of these nor form a grapheme cluster with it.
const APART: [RangeInclusive<u32>; 17] = [
    0x21..=0x7E,
    0xA1..=0xAC,
    0xAE..=0x24F,
    0x370..=0x482,
    0x48A..=0x52F,
    0x531..=0x58F,
    0x5D0..=0x5EA,
    0x620..=0x64A,
    0x660..=0x66F,
    0x671..=0x6D3,
    0x10D0..=0x10FF,
    0x2010..=0x2027,
    0x3001..=0x3029,
    0x3041..=0x3096,
    0x30A1..=0x30FF,
    0x4E00..=0x9FFF,
    0xAC00..=0xD7A3,
];
/// Letters and vowel signs (combining class 0, second in no composite) that form clusters but combine with none of these.
const JOINED: [RangeInclusive<u32>; 9] = [
    0x904..=0x939,
    0x93D..=0x94C,
    0x958..=0x961,
    0x964..=0x970,
    0x985..=0x9B9,
    0x9BF..=0x9CC,
    0xE01..=0xE37,
    0xE3F..=0xE47,
    0xE50..=0xE5B,
];
/// Longest text whose normalized form is kept, in bytes, and how many are.
const LONGEST: usize = 64;
const KEPT: usize = 1 << 16;

/// Which characters a normalizer leaves as they are, in any company of such characters.
pub struct Plain {
    letters: Vec<u64>,
}

impl Plain {
    /// Asks the normalizer about each character. `clusters`: it goes by grapheme cluster. `never`: not to be counted.
    pub fn of(normalizer: Option<&NormalizerWrapper>, clusters: bool, never: Option<char>) -> Self {
        let mut plain = Self {
            letters: vec![0; 1024],
        };
        if !stays(normalizer, " a") {
            return plain;
        }
        let joined = JOINED.iter().filter(|_| !clusters);
        for range in APART.iter().chain(joined) {
            let letters: Vec<char> = range.clone().filter_map(char::from_u32).collect();
            letters
                .chunks(64)
                .for_each(|some| plain.ask(normalizer, some));
        }
        if let Some(letter) = never.filter(|letter| u32::from(*letter) < 0x1_0000) {
            plain.letters[letter as usize / 64] &= !(1 << (letter as usize % 64));
        }
        plain
    }

    /// All at once, and one by one where that is not the answer.
    fn ask(&mut self, normalizer: Option<&NormalizerWrapper>, letters: &[char]) {
        let together = stays(normalizer, &letters.iter().collect::<String>());
        for letter in letters {
            if together || stays(normalizer, &letter.to_string()) {
                self.letters[*letter as usize / 64] |= 1 << (*letter as usize % 64);
            }
        }
    }

    fn has(&self, letter: char) -> bool {
        let at = letter as usize;
        self.letters
            .get(at / 64)
            .is_some_and(|bits| bits >> (at % 64) & 1 == 1)
    }

    /// Whether a word, but for one space before it, holds nothing else.
    pub fn all(&self, word: &str) -> bool {
        let word = word.strip_prefix(' ').unwrap_or(word);
        word.chars().all(|letter| self.has(letter))
    }

    /// The normalized text. Nothing reaches across the beginning of a plain character: it combines with nothing before it.
    pub fn normalize<'t>(
        &self,
        normalizer: &NormalizerWrapper,
        text: &'t str,
        known: &mut Table<Box<str>>,
    ) -> Result<Cow<'t, str>> {
        if self.all(text) {
            return Ok(Cow::Borrowed(text));
        }
        let mut whole = String::with_capacity(text.len() + 16);
        // A stretch is a plain character and all others up to the next plain one; one that is alone is taken as it is.
        let (mut from, mut before, mut alone) = (0, ' ', true);
        for (at, letter) in text.char_indices() {
            if self.has(letter) && !clings(before) {
                push(normalizer, &text[from..at], alone, known, &mut whole)?;
                (from, alone) = (at, true);
            } else {
                alone = false;
            }
            before = letter;
        }
        push(normalizer, &text[from..], alone, known, &mut whole)?;
        Ok(Cow::Owned(whole))
    }
}

fn stays(normalizer: Option<&NormalizerWrapper>, text: &str) -> bool {
    normalizer
        .is_none_or(|normalizer| normalized(normalizer, text).is_ok_and(|found| found == text))
}

/// What the library makes of a text.
pub fn normalized(normalizer: &NormalizerWrapper, text: &str) -> Result<String> {
    let mut string = NormalizedString::from(text);
    normalizer.normalize(&mut string)?;
    Ok(string.get().to_owned())
}

fn push(
    normalizer: &NormalizerWrapper,
    text: &str,
    as_it_is: bool,
    known: &mut Table<Box<str>>,
    whole: &mut String,
) -> Result<()> {
    if as_it_is {
        whole.push_str(text);
    } else if let Some(found) = known.get(text) {
        whole.push_str(found);
    } else {
        let found = normalized(normalizer, text)?;
        whole.push_str(&found);
        if text.len() <= LONGEST && known.len() < KEPT {
            known.insert(text.into(), found.into());
        }
    }
    Ok(())
}
