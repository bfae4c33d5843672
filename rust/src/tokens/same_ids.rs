//! The ids of the encoder against those of the library's own tokenizer.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NFKC};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::whitespace::Whitespace;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer, TruncationParams,
};

use super::encode::Encoder;
use super::options::{TitleMode, TokenOptions};

/// Characters of texts and of pieces: white space, scripts, combining and invisible characters.
const LETTERS: &str = "   \n\t\u{a0}\u{3000}▁▁thee\u{301}éﬁＡｶﾞか\u{3099}½中文は한कि\u{e17}\u{e33}لَ😀👨\u{200d}👩\u{200b}\0!";

/// Texts of added tokens, of special tokens, and of a piece.
const WORDS: [&str; 6] = ["<s>", "<unk>", "<mask>", "NEW", "aNEW", "▁the"];

/// Each tokenizer's special tokens, which are also the first three pieces of a Unigram.
const SPECIAL: [&str; 3] = ["<s>", "</s>", "<unk>"];

fn tokenizer(
    model: impl Into<ModelWrapper>,
    normalizer: Option<NormalizerWrapper>,
    splitter: Option<PreTokenizerWrapper>,
) -> Tokenizer {
    let mut made = Tokenizer::new(model);
    made.with_normalizer(normalizer).unwrap();
    made.with_pre_tokenizer(splitter);
    let ends = BertProcessing::new(("</s>".into(), 1), ("<s>".into(), 0));
    made.with_post_processor(Some(ends));
    let special = SPECIAL.map(|token| AddedToken::from(token, true));
    made.add_special_tokens(special).unwrap();
    let mask = AddedToken::from("<mask>", true).lstrip(true);
    made.add_special_tokens([mask]).unwrap();
    let new = AddedToken::from("NEW", false).single_word(true);
    made.add_tokens([new]).unwrap();
    made
}

/// Asserts that the ids of a text, or its error, are the library's at several lengths.
fn check(library: &Tokenizer, text: &str) {
    let json = library.to_string(false).unwrap();
    for max_length in [3, 9, 100_000] {
        let mut library = library.clone();
        let cut = TruncationParams {
            max_length,
            ..TruncationParams::default()
        };
        library.with_truncation(Some(cut)).unwrap();
        let options = TokenOptions {
            prefix: String::new(),
            title: TitleMode::Text,
            max_length,
            strip_question_mark: false,
        };
        let encoder = Encoder::new(Path::new("x"), json.as_bytes(), &options).unwrap();
        match (encoder.encode(text, None), library.encode_fast(text, true)) {
            (ours, Ok(theirs)) => assert_eq!(ours.unwrap(), theirs.get_ids(), "{text:?}"),
            // Where a text is cut, the character that no piece holds may lie behind the cut.
            (ours, Err(_)) => assert!(ours.is_err() || max_length < 100_000, "{text:?}"),
        }
    }
}

/// A few characters, or a word.
fn part() -> impl Strategy<Value = String> {
    let letters: Vec<char> = LETTERS.chars().collect();
    prop_oneof![
        10 => vec(select(letters), 1..4).prop_map(String::from_iter),
        10 => "[ab]{1,4}",
        3 => select(&WORDS[..]).prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
    ]
}

fn text() -> impl Strategy<Value = String> {
    vec(part(), 0..20).prop_map(|parts| parts.concat())
}

/// Pieces of a Unigram: the special ones, perhaps all bytes, and others, which may come twice or be empty.
fn pieces() -> impl Strategy<Value = Vec<(String, f64)>> {
    let piece = prop_oneof![20 => part(), 1 => Just(String::new())];
    let score = (0..4i32).prop_map(|score| -0.5 * f64::from(score));
    let bytes = (0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), -20.0));
    let bytes: Vec<(String, f64)> = bytes.collect();
    let special = SPECIAL.map(|token| (token.to_owned(), 0.0));
    (vec((piece, score), 0..60), select(vec![0, 200, 256]))
        .prop_map(move |(some, spelled)| [&special[..], &some, &bytes[..spelled]].concat())
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_unigram(
        pieces in pieces(),
        unique: bool,
        unk_id in proptest::option::weighted(0.9, Just(2)),
        byte_fallback: bool,
        normalized: bool,
        splits in select(vec![None, Some(PrependScheme::Always), Some(PrependScheme::First)]),
        text in text(),
    ) {
        let mut pieces = pieces;
        if unique {
            let mut seen = std::collections::HashSet::new();
            pieces.retain(|(piece, _)| !piece.is_empty() && seen.insert(piece.clone()));
        }
        let model = Unigram::from(pieces, unk_id, byte_fallback).unwrap();
        let normalizer = normalized.then_some(NormalizerWrapper::NFKC(NFKC));
        let splitter = splits.map(|scheme| Metaspace::new('▁', scheme, true).into());
        check(&tokenizer(model, normalizer, splitter), &text);
    }

    #[test]
    fn other_models(text in text()) {
        let letters = LETTERS.chars().map(String::from);
        let words = SPECIAL.iter().chain(&WORDS).map(|word| word.to_string());
        let words: Vocab = words.chain(letters).zip(0..).collect();
        let model = WordLevel::builder().vocab(words.clone()).unk_token("<unk>".to_owned());
        check(&tokenizer(model.build().unwrap(), None, Some(Whitespace.into())), &text);
        let model = WordPiece::builder().vocab(words).unk_token("<unk>".to_owned());
        let bert = Some(BertNormalizer::default().into());
        check(&tokenizer(model.build().unwrap(), bert, Some(BertPreTokenizer.into())), &text);
        let letters = ByteLevel::alphabet().into_iter().map(String::from);
        let merged = ["th", "the", "Ġthe"].map(String::from);
        let vocab = SPECIAL.map(String::from).into_iter().chain(letters).chain(merged);
        let vocab: Vocab = vocab.zip(0..).collect();
        let merges = [("t", "h"), ("th", "e"), ("Ġ", "the")].map(|(a, b)| (a.into(), b.into()));
        let model = BPE::builder().vocab_and_merges(vocab, merges.to_vec());
        check(&tokenizer(model.build().unwrap(), None, Some(ByteLevel::default().into())), &text);
    }
}
