//! Reading a tokenizer.json.

use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::{AddedToken, Result, Tokenizer};

use super::unigram::{Description, Unigram};

/// The library's tokenizer, without padding and truncation, and the model to use in place of its own where that is a Unigram.
pub fn load(json: &[u8]) -> Result<(Tokenizer, Option<Unigram>)> {
    let (mut tokenizer, unigram) = match load_unigram(json)? {
        Some((tokenizer, unigram)) => (tokenizer, Some(unigram)),
        None => (Tokenizer::from_bytes(json)?, None),
    };
    tokenizer.with_padding(None);
    // Version 0.23.2 shortens each half of a pair before it knows which is the longest: the encoder cuts.
    tokenizer.with_truncation(None)?;
    Ok((tokenizer, unigram))
}

/// A tokenizer whose model is our Unigram; `None` where it has another model.
///
/// The library needs a second to load 250,000 pieces as a Unigram. Here it gets them as a plain list of words, which it
/// asks only for the ids of added tokens.
fn load_unigram(json: &[u8]) -> Result<Option<(Tokenizer, Unigram)>> {
    let mut parts: BTreeMap<String, &RawValue> = serde_json::from_slice(json)?;
    let model = parts.get("model").map_or("", |model| model.get());
    let Ok(description) = serde_json::from_str::<Description>(model) else {
        return Ok(None);
    };
    let Some(unigram) = Unigram::new(&description) else {
        return Ok(None);
    };
    let added = parts.remove("added_tokens").map_or("[]", RawValue::get);
    let added: Vec<AddedToken> = serde_json::from_str(added)?;
    let no_words = to_raw_value(&WordLevel::default())?;
    parts.insert("model".to_owned(), &no_words);
    let mut tokenizer = Tokenizer::from_bytes(serde_json::to_vec(&parts)?)?;
    let words = description.vocab.into_iter().map(|(piece, _)| piece);
    let words = WordLevel::builder().vocab(words.zip(0..).collect());
    tokenizer.with_model(words.build()?);
    tokenizer.add_tokens(added)?;
    Ok(Some((tokenizer, unigram)))
}
