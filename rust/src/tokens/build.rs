//! Tokenising a collection once, in parallel and in order, with bounded memory.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use super::encode::Encoder;
use super::options::TokenOptions;
use super::store::{
    FORMAT, KIND, MANIFEST, Manifest, OFFSETS, TOKENS, TokenStore, VERSION, read_manifest,
    with_digest,
};
use crate::error::{Error, Result};
use crate::files::{self, Staged};
use crate::progress::Progress;
use crate::records::Records;

/// Rows tokenised between two writes.
const CHUNK: u32 = 4096;

impl TokenStore {
    /// Tokenises `records` into `folder`, or opens what is there when it was made from exactly the same.
    /// A store of anything else is a [`Error::Mismatch`]. Counts rows.
    pub fn build(
        records: &Records,
        tokenizer: &Path,
        folder: &Path,
        options: &TokenOptions,
        progress: &Progress,
    ) -> Result<Self> {
        let json = files::map(tokenizer)?;
        let tokenizer_digest = blake3::hash(&json).to_hex().to_string();
        let fingerprint = fingerprint(records, &tokenizer_digest, options)?;
        if let Some(found) = read_manifest(folder)? {
            refuse_other(folder, &found.fingerprint, &fingerprint)?;
            progress.add(found.rows);
            return Self::open(folder);
        }
        let encoder = Encoder::new(tokenizer, &json, options)?;
        let mut tokens = Staged::create(&folder.join(TOKENS))?;
        let mut offsets = Staged::create(&folder.join(OFFSETS))?;
        let total = write_rows(records, &encoder, &mut tokens, &mut offsets, progress)?;
        let manifest = Manifest {
            format: FORMAT,
            kind: KIND.into(),
            version: VERSION,
            rows: records.len(),
            tokens: total,
            fingerprint,
            records: records.fingerprint().into(),
            tokenizer: tokenizer_digest,
            options: options.clone(),
            files: BTreeMap::from([
                (TOKENS.into(), tokens.commit()?),
                (OFFSETS.into(), offsets.commit()?),
            ]),
        };
        let mut file = Staged::create(&folder.join(MANIFEST))?;
        file.write(&with_digest(&manifest).map_err(internal)?)?;
        file.commit()?;
        Self::open(folder)
    }
}

fn internal(error: serde_json::Error) -> Error {
    Error::Internal {
        message: error.to_string(),
    }
}

fn fingerprint(records: &Records, tokenizer: &str, options: &TokenOptions) -> Result<String> {
    let options = serde_json::to_string(options).map_err(internal)?;
    let source = format!(
        "{KIND} {VERSION}\n{}\n{tokenizer}\n{options}",
        records.fingerprint()
    );
    Ok(crate::fingerprint::of_text(&source))
}

fn refuse_other(folder: &Path, found: &str, wanted: &str) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let message = format!(
        "holds the tokens of other records, another tokenizer or other options ({}, expected {})",
        &found[..found.len().min(16)],
        &wanted[..16]
    );
    Err(Error::mismatch(
        folder,
        message,
        "use another folder, or remove this one",
    ))
}

/// Writes all rows in order; returns the number of tokens.
fn write_rows(
    records: &Records,
    encoder: &Encoder<'_>,
    tokens: &mut Staged,
    offsets: &mut Staged,
    progress: &Progress,
) -> Result<u64> {
    let mut total = 0u64;
    offsets.write(&total.to_le_bytes())?;
    let rows = records.len() as u32;
    for first in (0..rows).step_by(CHUNK as usize) {
        let last = rows.min(first.saturating_add(CHUNK));
        records.require_whole()?;
        for ids in encode_rows(records, encoder, first..last, progress)? {
            total += ids.len() as u64;
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            tokens.write(&bytes)?;
            offsets.write(&total.to_le_bytes())?;
        }
    }
    Ok(total)
}

fn encode_rows(
    records: &Records,
    encoder: &Encoder<'_>,
    rows: std::ops::Range<u32>,
    progress: &Progress,
) -> Result<Vec<Vec<u32>>> {
    let one = |row| {
        progress.poll()?;
        let ids = encoder.ids(&records.get(row)?)?;
        progress.add(1);
        Ok(ids)
    };
    rows.into_par_iter().map(one).collect()
}
