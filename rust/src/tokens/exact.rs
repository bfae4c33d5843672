//! Our ids against those of the library's own `Tokenizer`, over texts made to break what the words rely on.

mod charsmap;
mod made;
mod models;

use std::fs;

use proptest::prelude::*;
use rayon::prelude::*;
use serde_json::Value;
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use self::made::{file, made};
use super::encode::{Encoder, TitleMode, TokenOptions};

/// Parts of texts: scripts, marks, clusters, invisible characters, forms that normalizing changes, added tokens.
const PARTS: [&str; 72] = [
    " ",
    " ",
    " ",
    " ",
    "  ",
    "   ",
    "\n",
    "\t",
    "\r\n",
    "\u{a0}",
    "\u{3000}",
    "\u{2003}",
    "\u{85}",
    "\u{2028}",
    "a",
    "b",
    "the",
    "The",
    "word",
    "words",
    "don't",
    "'s",
    "x1",
    "2024",
    "3.14",
    "!",
    "?!",
    "...",
    "…",
    "_",
    "▁",
    "▁the",
    "é",
    "e\u{301}",
    "\u{301}",
    "\u{308}\u{301}",
    "a\u{323}\u{307}",
    "ﬁ",
    "Ａ",
    "ｶﾞ",
    "か\u{3099}",
    "㍿",
    "½",
    "™",
    "¨",
    "中文",
    "，",
    "東京は",
    "한국어",
    "\u{1112}\u{1161}",
    "\u{11ab}",
    "각",
    "हिन्दी",
    "कि",
    "ไทยนำ้",
    "العربية",
    "\u{600}",
    "لَا",
    "\u{d4e}",
    "😀",
    "👨\u{200d}👩\u{200d}👧",
    "🇫🇮",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{ad}",
    "\u{0}",
    "\u{7f}",
    "<s>",
    "</s>",
    "<mask>",
    "NEW",
];

/// Ours and the library's, at a length.
struct Both {
    name: &'static str,
    ours: Encoder,
    library: Tokenizer,
    length: usize,
}

impl Both {
    fn all(length: usize) -> Vec<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let both = |(name, by_word, normalizer, splitter, model): (_, _, Value, Value, Value)| {
            let json = file(&normalizer, &splitter, &model);
            fs::write(&path, &json).unwrap();
            let options = TokenOptions {
                prefix: String::new(),
                title: TitleMode::Text,
                max_length: length,
                special: true,
                strip_question_mark: false,
            };
            let (ours, _) = Encoder::load(&path, &options).unwrap();
            assert_eq!(ours.goes_by_word(), by_word, "{name}");
            Self {
                name,
                ours,
                library: Tokenizer::from_bytes(json).unwrap(),
                length,
            }
        };
        made().into_iter().map(both).collect()
    }

    fn check(&self, text: &str) {
        let special = 2;
        let bare = self.library.encode_fast(text, false).unwrap();
        let cut = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: self.length - special,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        let (bare, _) = tokenizers::tokenizer::truncate_encodings(bare, None, &cut).unwrap();
        let whole = self.library.post_process(bare, None, true).unwrap();
        assert_eq!(
            self.ours.encode(text, None).unwrap(),
            whole.get_ids(),
            "{}: {text:?}",
            self.name
        );
    }
}

fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => proptest::sample::select(&PARTS[..]).prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
        1 => (proptest::sample::select(&PARTS[..]), 2..40usize).prop_map(|(part, times)| part.repeat(times)),
    ];
    proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

#[test]
fn ids_are_those_of_the_library() {
    let (long, short) = (Both::all(100_000), Both::all(7));
    let runner = ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(runner, |(text in text())| {
        long.iter().chain(&short).for_each(|both| both.check(&text));
    });
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|found| found.parse().ok())
        .unwrap_or(400)
}

#[test]
fn every_character_before_and_behind_a_space() {
    let both = Both::all(100_000);
    let letters = (1..0x3400)
        .chain(0xA640..0xAC00)
        .chain(0xD7A0..0x1_1100)
        .chain(0x1_F1E0..0x1_F650)
        .step_by(stride());
    for letter in letters.filter_map(char::from_u32) {
        let text = format!(
            "the{letter} {letter}word a{letter}b {letter} {letter}{letter} e{letter}\u{301}"
        );
        both.iter().for_each(|both| both.check(&text));
    }
}

#[test]
fn any_number_of_threads_gives_the_same() {
    let texts: Vec<String> = (0..600usize)
        .map(|seed| {
            (0..20)
                .map(|at| PARTS[(seed * seed + 7 * at * at + at * seed) % PARTS.len()])
                .collect()
        })
        .collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let both = Both::all(100_000);
            texts
                .par_iter()
                .for_each(|text| both.iter().for_each(|both| both.check(text)));
        });
    }
}

/// Some of the characters each time; all of them with UMR_ALL_CHARACTERS set.
fn stride() -> usize {
    if std::env::var_os("UMR_ALL_CHARACTERS").is_some() {
        1
    } else {
        37
    }
}
