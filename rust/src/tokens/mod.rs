//! Token ids: made once a tokenizer, kept ragged on disk, gathered into batches.

mod build;
mod cache;
mod encode;
#[cfg(test)]
mod exact;
mod gather;
mod model;
mod plain;
mod rules;
mod store;
#[cfg(test)]
mod tests;
mod trie;
mod unigram;
mod words;

pub use encode::{TitleMode, TokenOptions};
pub use gather::Padded;
pub use store::TokenStore;
