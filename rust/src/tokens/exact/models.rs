//! Small models.

use serde_json::{Value, json};

fn pieces() -> Value {
    let mut found = vec![
        json!(["<s>", 0.0]),
        json!(["</s>", 0.0]),
        json!(["<unk>", 0.0]),
    ];
    let words = [
        "▁",
        "▁the",
        "▁word",
        "s",
        "a",
        "b",
        "t",
        "h",
        "e",
        "w",
        "o",
        "r",
        "d",
        "or",
        "▁a",
        "▁b",
        "中",
        "文",
        "中文",
        "は",
        "京",
        "▁東京",
        "é",
        "한",
        "국",
        "▁한국",
        "ह",
        "ि",
        "कि",
        "ا",
        "ل",
        "😀",
        "f",
        "fi",
        ".",
        "...",
        "1",
        "20",
        "▁20",
        "\u{301}",
        "\u{2003}",
        " ",
        "が",
        "ท",
        "xx",
    ];
    found.extend(
        words
            .iter()
            .zip(1..)
            .map(|(word, rank)| json!([word, -0.37 * f64::from(rank)])),
    );
    Value::Array(found)
}

pub fn unigram() -> Value {
    json!({"type": "Unigram", "unk_id": 2, "vocab": pieces(), "byte_fallback": false})
}

pub fn in_bytes() -> Value {
    let mut vocab = pieces();
    let bytes = (0..=255u8).map(|byte| json!([format!("<0x{byte:02X}>"), -9.5]));
    if let Some(list) = vocab.as_array_mut() {
        list.extend(bytes);
    }
    json!({"type": "Unigram", "unk_id": 2, "vocab": vocab, "byte_fallback": true})
}

/// Words are whole strings of the vocabulary; everything else is unknown.
pub fn listed(kind: &str, words: &[&str]) -> Value {
    let vocab: serde_json::Map<_, _> = words
        .iter()
        .zip(0..)
        .map(|(word, id)| (word.to_string(), json!(id)))
        .collect();
    json!({"type": kind, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab})
}

pub fn word_piece() -> Value {
    let words = [
        "[UNK]", "<s>", "</s>", "the", "word", "##s", "a", "b", "e", "##e", "##a", "中", "文", "a",
        "!", "2", "##0", "##2", "##4", "c",
    ];
    listed("WordPiece", &words)
}

/// One token a byte, and a few merges.
pub fn byte_pairs() -> Value {
    let letter = |byte: u32| match byte {
        33..=126 | 161..=172 | 174..=255 => byte,
        0..=32 => 256 + byte,
        127..=160 => 256 + 33 + byte - 127,
        _ => 256 + 67,
    };
    let letters = (0..256)
        .filter_map(|byte| char::from_u32(letter(byte)))
        .map(String::from);
    let merged = ["th", "the", "Ġthe", "wo", "rd"].map(String::from);
    let vocab: serde_json::Map<_, _> = letters
        .chain(merged)
        .zip(0..)
        .map(|(text, id)| (text, json!(id)))
        .collect();
    json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": ["t h", "th e", "Ġ the", "w o", "r d"]})
}
