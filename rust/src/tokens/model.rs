//! The model of a tokenizer: ours where it is a Unigram, else the library's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::value::RawValue;
use tokenizers::models::unigram::UnigramTrainer;
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::{
    DecoderWrapper, Model, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Result,
    Token, TokenizerImpl,
};

use super::unigram::{Scratch, Unigram};

/// A tokenizer of the library around our model.
pub type Pipeline = TokenizerImpl<
    Vocabulary,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The model of a [`Pipeline`].
pub enum Vocabulary {
    /// A Unigram of ours.
    Ours(Unigram),
    /// Any other model.
    Library(ModelWrapper),
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if let Some(ours) = Unigram::read(json) {
            return Ok(Self::Ours(ours));
        }
        let library = serde_json::from_str(json).map_err(D::Error::custom)?;
        Ok(Self::Library(library))
    }
}

impl Vocabulary {
    /// Appends the ids of one word.
    pub fn encode(&self, word: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Result<()> {
        match self {
            Self::Ours(ours) => ours
                .encode(word, scratch, out)
                .ok_or_else(|| "an unknown character, and no `unk_id` for it".into()),
            Self::Library(library) => {
                out.extend(library.tokenize(word)?.into_iter().map(|token| token.id));
                Ok(())
            }
        }
    }
}

impl Model for Vocabulary {
    type Trainer = TrainerWrapper;

    /// Only the ids are filled in where the model is ours: nothing here asks for more.
    fn tokenize(&self, sequence: &str) -> Result<Vec<Token>> {
        match self {
            Self::Ours(_) => {
                let mut ids = Vec::new();
                self.encode(sequence, &mut Scratch::default(), &mut ids)?;
                let bare = |id| Token::new(id, String::new(), (0, 0));
                Ok(ids.into_iter().map(bare).collect())
            }
            Self::Library(library) => library.tokenize(sequence),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Ours(ours) => ours.id(token),
            Self::Library(library) => library.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        let same = |entry: &(String, u32)| entry.1 == id;
        match self {
            Self::Ours(ours) => ours.pieces().into_iter().find(same).map(|entry| entry.0),
            Self::Library(library) => library.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Ours(ours) => ours.pieces(),
            Self::Library(library) => library.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Ours(ours) => ours.len(),
            Self::Library(library) => library.get_vocab_size(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        match self {
            Self::Ours(_) => Err("a model that is only read cannot be saved".into()),
            Self::Library(library) => library.save(folder, prefix),
        }
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            Self::Ours(_) => UnigramTrainer::default().into(),
            Self::Library(library) => library.get_trainer(),
        }
    }
}
