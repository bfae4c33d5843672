//! Tokenizers of every kind that is cut into words, and of some that must not be.

use serde_json::{Value, json};

use super::charsmap::charsmap;
use super::models::{byte_pairs, in_bytes, listed, unigram, word_piece};

fn sequence(list: &str, parts: &[Value]) -> Value {
    json!({"type": "Sequence", list: parts})
}

fn kind(name: &str) -> Value {
    json!({"type": name})
}

fn collapse() -> Value {
    json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
}

fn metaspace(scheme: &str) -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true})
}

fn byte_level(prefix: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true})
}

fn bert() -> Value {
    json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true})
}

/// Name, whether words are independent, normalizer, pre-tokenizer, model.
pub fn made() -> Vec<(&'static str, bool, Value, Value, Value)> {
    let spaced = |scheme| {
        sequence(
            "pretokenizers",
            &[kind("WhitespaceSplit"), metaspace(scheme)],
        )
    };
    let nfkc = || sequence("normalizers", &[kind("NFKC"), collapse()]);
    let mapped = || sequence("normalizers", &[charsmap(), collapse()]);
    let bare = || {
        sequence(
            "normalizers",
            &[kind("NFD"), kind("Lowercase"), kind("StripAccents")],
        )
    };
    let split = json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
    let listed_words = listed(
        "WordLevel",
        &["[UNK]", "<s>", "</s>", "the", "word", "a", "b", "!", "x1"],
    );
    let isolated = json!({"type": "Punctuation", "behavior": "Isolated"});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let numbers = sequence("pretokenizers", &[kind("Whitespace"), digits, isolated]);
    vec![
        ("NFKC, always", true, nfkc(), metaspace("always"), unigram()),
        (
            "NFC, first",
            true,
            kind("NFC"),
            metaspace("first"),
            unigram(),
        ),
        (
            "NFD, never",
            true,
            kind("NFD"),
            metaspace("never"),
            unigram(),
        ),
        (
            "nothing, always, bytes",
            true,
            Value::Null,
            metaspace("always"),
            in_bytes(),
        ),
        (
            "Nmt, split, always",
            true,
            kind("Nmt"),
            spaced("always"),
            unigram(),
        ),
        (
            "NFKD, split, first",
            true,
            kind("NFKD"),
            spaced("first"),
            unigram(),
        ),
        (
            "map, always",
            true,
            charsmap(),
            metaspace("always"),
            unigram(),
        ),
        (
            "map, collapse, always",
            true,
            mapped(),
            metaspace("always"),
            unigram(),
        ),
        (
            "map, collapse, split, first",
            true,
            mapped(),
            spaced("first"),
            in_bytes(),
        ),
        ("BERT", true, bert(), kind("BertPreTokenizer"), word_piece()),
        ("no accents", true, bare(), kind("Whitespace"), listed_words),
        (
            "no accents, metaspace",
            true,
            bare(),
            metaspace("always"),
            unigram(),
        ),
        ("digits", true, kind("NFC"), numbers, word_piece()),
        ("bytes", true, Value::Null, byte_level(false), byte_pairs()),
        (
            "bytes, prefix",
            true,
            kind("NFC"),
            byte_level(true),
            byte_pairs(),
        ),
        (
            "whole",
            false,
            json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
            split,
            unigram(),
        ),
        (
            "strip",
            false,
            json!({"type": "Strip", "strip_left": true, "strip_right": true}),
            metaspace("always"),
            unigram(),
        ),
        (
            "no split",
            false,
            kind("NFC"),
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false}),
            unigram(),
        ),
        (
            "late map",
            false,
            sequence("normalizers", &[kind("NFC"), charsmap()]),
            metaspace("always"),
            unigram(),
        ),
        ("nothing at all", false, Value::Null, Value::Null, unigram()),
    ]
}

fn added(id: u32, content: &str, normalized: bool, lstrip: bool, single: bool) -> Value {
    json!({"id": id, "content": content, "single_word": single, "lstrip": lstrip, "rstrip": false, "normalized": normalized, "special": !normalized})
}

pub fn file(normalizer: &Value, splitter: &Value, model: &Value) -> String {
    let end = json!({"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0]});
    let tokens = [
        added(0, "<s>", false, false, false),
        added(1, "</s>", false, false, false),
        added(2000, "<mask>", false, true, false),
        added(2001, "NEW", true, false, true),
    ];
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": tokens, "normalizer": normalizer,
        "pre_tokenizer": splitter, "post_processor": end, "decoder": null, "model": model}).to_string()
}
