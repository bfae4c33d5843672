//! A small precompiled map, in the form of SentencePiece.

use serde_json::{Value, json};

/// A SentencePiece map with entries that make, drop and swallow white space, marks and clusters.
pub fn charsmap() -> Value {
    let map = [
        ("\u{a0}", " "),
        ("\u{3000}", " "),
        ("\t", " "),
        ("\n", " "),
        ("\u{200b}", ""),
        ("ﬁ", "fi"),
        ("Ａ", "A"),
        ("e\u{301}", "é"),
        ("\u{301}", ""),
        ("…", "..."),
        ("\u{600}", "x"),
        ("¨", " \u{308}"),
        ("🇫", "F "),
        ("ｶﾞ", "ガ"),
    ];
    let (mut units, mut values) = (vec![0u32; 256], Vec::new());
    for (key, value) in map {
        // Every node has a block of 256 units to itself: children at their byte, the value at 0.
        let (mut at, mut block) = (0usize, 0usize);
        for byte in key.bytes() {
            at = block ^ usize::from(byte);
            if units[at] == 0 {
                let fresh = units.len();
                units.resize(fresh + 256, 0);
                units[at] = (((at ^ fresh) as u32) << 10) | u32::from(byte);
            }
            block = at ^ (units[at] >> 10) as usize;
        }
        units[at] |= 1 << 8;
        units[block] = values.len() as u32;
        values.extend([value.as_bytes(), &[0]].concat());
    }
    let size = (4 * units.len() as u32).to_le_bytes();
    let units: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    json!({"type": "Precompiled", "precompiled_charsmap": base64(&[&size[..], &units, &values].concat())})
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let word = chunk
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let letter = move |at: usize| {
            if at > chunk.len() {
                '='
            } else {
                char::from(LETTERS[(word >> (18 - 6 * at) & 63) as usize])
            }
        };
        (0..4).map(letter).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
