//! Which tokenizers treat the words between spaces independently, read from what they say about themselves.
//!
//! A text may be cut before a lone space, the space going with the word behind it, when three things hold.
//!
//! The *normalizer* gives the same for the whole as for the parts. Characters are treated one by one, or in canonical
//! forms, where a space is a starter that composes with nothing before it, so that nothing crosses the cut. A precompiled
//! map looks at grapheme clusters: one ends before a space, unless it ends with one of the few characters that cling to
//! whatever follows ([`clings`]). Replacing two and more spaces by one crosses the cut only where the left part ends with
//! a space once normalized, which is looked at word by word.
//!
//! The *pre-tokenizer* splits at that space whatever stands around it, and what it makes of the right part depends only on
//! that part: it still begins with its space, so no prefix is added to it.
//!
//! The *model* sees one word at a time and draws no lots.

use serde_json::{Value, to_value};
use tokenizers::Model;

use super::model::{Pipeline, Vocabulary};

/// How the words of a tokenizer that can be cut are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Set where a word without spaces inside is one piece: how it is written.
    pub metaspace: Option<Metaspace>,
    /// Whether white space is dropped, so that any amount of it may stand around a cut.
    pub drops_space: bool,
    /// Whether the split is a regular expression, whose idea of white space is not Rust's.
    pub regex: bool,
    /// Whether normalization goes by grapheme cluster.
    pub clusters: bool,
}

/// The character that stands for a space, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metaspace {
    /// Stands for a space.
    pub replacement: char,
    /// Before a word that begins the text.
    pub first: bool,
    /// Before a word behind a space.
    pub behind_space: bool,
}

impl Rules {
    /// The rules of a tokenizer, or `None` where its texts must be taken whole.
    pub fn of(pipeline: &Pipeline) -> Option<Self> {
        let normalizers = parts(pipeline.get_normalizer(), "normalizers")?;
        let splitters = parts(pipeline.get_pre_tokenizer(), "pretokenizers")?;
        let last = normalizers.len().saturating_sub(1);
        let normal = |(at, part): (usize, &Value)| normalizes_by_word(part, at == 0, at == last);
        let splits = splitters.first().is_some_and(splits_at_space);
        let inside = splitters.iter().skip(1).all(splits_inside);
        let fits = splits && inside && normalizers.iter().enumerate().all(normal);
        (fits && draws_no_lots(pipeline.get_model())).then(|| Self {
            metaspace: metaspace(&splitters),
            drops_space: splitters.first().is_some_and(drops_space),
            regex: splitters.iter().any(|part| kind(part) == "ByteLevel"),
            clusters: normalizers.iter().any(|part| kind(part) == "Precompiled"),
        })
    }

    /// Whether a cut may follow a word, of its raw and its normalized text.
    pub fn ends_word(&self, raw: &str, normalized: &str) -> bool {
        let blank = |c: char| c.is_whitespace() || (self.regex && (c.is_control() || is_odd(c)));
        let ends = |text: &str| text.chars().next_back().is_some_and(|c| !blank(c));
        let stands = self.drops_space || (ends(raw) && ends(normalized));
        stands && !(self.clusters && raw.chars().next_back().is_some_and(clings))
    }
}

/// Characters that form one grapheme cluster with what follows: Prepend, leading Hangul and whatever stands near them.
pub fn clings(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{605}' | '\u{6DD}' | '\u{70F}' | '\u{890}'..='\u{891}' | '\u{8E2}' | '\u{D4E}'
        | '\u{1100}'..='\u{11FF}' | '\u{A960}'..='\u{A97C}' | '\u{11000}'..='\u{11FFF}')
}

/// White space to some versions of Unicode or some engines.
fn is_odd(c: char) -> bool {
    matches!(c, '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202F}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// A component as the list of its parts; `None` where it cannot be written down.
fn parts<T: serde::Serialize>(component: Option<&T>, list: &str) -> Option<Vec<Value>> {
    let Some(component) = component else {
        return Some(Vec::new());
    };
    let value = to_value(component).ok()?;
    if kind(&value) == "Sequence" {
        return value.get(list)?.as_array().cloned();
    }
    Some(vec![value])
}

fn kind(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or("")
}

fn normalizes_by_word(part: &Value, first: bool, last: bool) -> bool {
    match kind(part) {
        "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "Nmt" | "StripAccents"
        | "BertNormalizer" => true,
        "Precompiled" => first,
        "Replace" => {
            let pattern = part.get("pattern").and_then(|p| p.get("Regex"));
            let collapses = pattern.and_then(Value::as_str) == Some(" {2,}");
            let content = part.get("content").and_then(Value::as_str);
            last && collapses && content == Some(" ")
        }
        _ => false,
    }
}

fn flag(part: &Value, name: &str) -> bool {
    part.get(name).and_then(Value::as_bool) == Some(true)
}

fn splits_at_space(part: &Value) -> bool {
    match kind(part) {
        "Metaspace" => flag(part, "split"),
        "ByteLevel" => flag(part, "use_regex"),
        _ => drops_space(part),
    }
}

fn drops_space(part: &Value) -> bool {
    matches!(
        kind(part),
        "WhitespaceSplit" | "Whitespace" | "BertPreTokenizer"
    )
}

fn splits_inside(part: &Value) -> bool {
    let known = [
        "Metaspace",
        "ByteLevel",
        "WhitespaceSplit",
        "Whitespace",
        "BertPreTokenizer",
        "Digits",
        "Punctuation",
    ];
    known.contains(&kind(part))
}

/// `[Metaspace]`, or `[WhitespaceSplit, Metaspace]`, after which words have lost their space.
fn metaspace(splitters: &[Value]) -> Option<Metaspace> {
    let kinds: Vec<&str> = splitters.iter().map(kind).collect();
    let stripped = match kinds[..] {
        ["Metaspace"] => false,
        ["WhitespaceSplit", "Metaspace"] => true,
        _ => return None,
    };
    let last = splitters.last()?;
    let scheme = last.get("prepend_scheme")?.as_str()?;
    Some(Metaspace {
        replacement: last.get("replacement")?.as_str()?.chars().next()?,
        first: scheme != "never",
        behind_space: scheme == "always" || !stripped,
    })
}

fn draws_no_lots(model: &Vocabulary) -> bool {
    use tokenizers::models::ModelWrapper::BPE;
    match model {
        Vocabulary::Library(BPE(bpe)) => bpe.dropout.is_none(),
        _ => model.get_vocab_size() > 0,
    }
}
