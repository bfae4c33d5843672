//! The Unigram model (Kudo 2018, "Subword Regularization") over a flat trie: the ids of the library's own model, which
//! allocates a string for every prefix that it looks up.

use serde::Deserialize;

use super::trie::Trie;

/// How much worse than the worst piece an unknown character is (SentencePiece, `kUnkPenalty`).
const UNKNOWN_PENALTY: f64 = 10.0;

/// The `model` of a tokenizer.json where it is a Unigram.
#[derive(Deserialize)]
pub struct Description {
    #[serde(rename = "type")]
    kind: String,
    /// Each piece with its score; the place is the id.
    pub vocab: Vec<(String, f64)>,
    unk_id: Option<u32>,
    #[serde(default)]
    byte_fallback: bool,
}

/// The best way to a byte of the text: where its last piece starts and which piece that is.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    start: usize,
    id: u32,
}

/// A Unigram model.
pub struct Unigram {
    trie: Trie,
    scores: Vec<f64>,
    unknown_score: f64,
    unknown_id: Option<u32>,
    byte_fallback: bool,
}

impl Unigram {
    /// The model that a file describes; `None` where that is another kind, or an odd one: with equal or empty pieces, or
    /// an `unk_id` that is no piece.
    pub fn new(description: &Description) -> Option<Self> {
        let Description { kind, vocab, .. } = description;
        let mut pieces: Vec<(&[u8], u32)> = (vocab.iter().zip(0u32..))
            .map(|((piece, _), id)| (piece.as_bytes(), id))
            .collect();
        pieces.sort_unstable();
        let empty = pieces.first().is_none_or(|piece| piece.0.is_empty());
        let equal = pieces.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let outside = |id: u32| id as usize >= pieces.len();
        if kind != "Unigram" || empty || equal || description.unk_id.is_some_and(outside) {
            return None;
        }
        let scores: Vec<f64> = vocab.iter().map(|(_, score)| *score).collect();
        let worst = scores.iter().copied().fold(f64::INFINITY, f64::min);
        Some(Self {
            trie: Trie::new(&pieces),
            scores,
            unknown_score: worst - UNKNOWN_PENALTY,
            unknown_id: description.unk_id,
            byte_fallback: description.byte_fallback,
        })
    }

    /// Appends the ids of the best pieces of `text`; a character that no piece holds needs an `unk_id`.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), &'static str> {
        let best = self.best(text);
        let best = best.ok_or("an unknown character, and the model has no `unk_id` for it")?;
        let unknown = |end: usize| self.unknown_id == Some(best[end].id);
        let (from, mut end) = (ids.len(), text.len());
        while end > 0 {
            let mut start = best[end].start;
            if unknown(end) {
                while start > 0 && unknown(start) {
                    start = best[start].start;
                }
                self.encode_unknown(&text.as_bytes()[start..end], best[end].id, ids);
            } else {
                ids.push(best[end].id);
            }
            end = start;
        }
        ids[from..].reverse();
        Ok(())
    }

    /// Viterbi, forwards. Of equally good ways the one whose last piece starts earliest stays, as in SentencePiece.
    fn best(&self, text: &str) -> Option<Vec<Best>> {
        let unreached = Best {
            score: f64::NEG_INFINITY,
            start: 0,
            id: 0,
        };
        let mut best = vec![unreached; text.len() + 1];
        best[0].score = 0.0;
        for (start, letter) in text.char_indices() {
            let (before, width) = (best[start].score, letter.len_utf8());
            let mut reach = |end: usize, score: f64, id: u32| {
                let score = score + before;
                if score > best[end].score {
                    best[end] = Best { score, start, id };
                }
            };
            let mut alone = false;
            for (length, id) in self.trie.prefixes(&text.as_bytes()[start..]) {
                reach(start + length, self.scores[id as usize], id);
                alone |= length == width;
            }
            if !alone {
                reach(start + width, self.unknown_score, self.unknown_id?);
            }
        }
        Some(best)
    }

    /// Unknown characters side by side may still be a piece as a whole, or be spelled in bytes. Appends last id first.
    fn encode_unknown(&self, text: &[u8], unknown: u32, ids: &mut Vec<u32>) {
        let spelled = |byte: &u8| self.trie.get(format!("<0x{byte:02X}>").as_bytes());
        let bytes = || text.iter().rev().map(spelled).collect::<Option<Vec<u32>>>();
        if let Some(id) = self.trie.get(text) {
            ids.push(id);
        } else if self.byte_fallback
            && let Some(bytes) = bytes()
        {
            ids.extend(bytes);
        } else {
            ids.push(unknown);
        }
    }
}
