//! Token ids: made once a tokenizer, kept ragged on disk, gathered into batches.

mod build;
mod encode;
mod gather;
mod store;
#[cfg(test)]
mod tests;

pub use encode::{TitleMode, TokenOptions};
pub use gather::Padded;
pub use store::TokenStore;
