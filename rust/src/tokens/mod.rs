//! Token ids: made once a tokenizer, kept ragged on disk, gathered into batches.

mod build;
mod encode;
mod gather;
mod load;
mod options;
#[cfg(test)]
mod same_ids;
mod store;
#[cfg(test)]
mod tests;
mod trie;
mod unigram;

pub use gather::Padded;
pub use options::{TitleMode, TokenOptions};
pub use store::TokenStore;
