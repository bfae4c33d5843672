//! Pairs that come as two lists of keys, in any order: grouped by query, merged, and handed back in their order.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::fingerprint::Key;
use crate::progress::Progress;

use super::table::KeyTable;
use super::wanted::Wanted;
use super::{BLOCK, MergeStats, Options, merge_stores};

/// The score of every wanted pair (NaN where no segment has it); the first record of a pair wins. Counts records.
pub fn merge_scores(
    paths: &[PathBuf],
    queries: &[Key],
    passages: &[Key],
    progress: &Progress,
) -> Result<(Vec<f32>, MergeStats)> {
    if queries.len() != passages.len() {
        let (q, p) = (queries.len(), passages.len());
        let message = format!("{q} query keys and {p} passage keys");
        return Err(Error::shape(message));
    }
    let (mut places, queries) = distinct(queries, progress)?;
    let (numbers, passages) = distinct(passages, progress)?;
    let mut starts = vec![0; queries.len() + 1];
    for query in &places {
        starts[*query as usize + 1] += 1;
    }
    for query in 0..queries.len() {
        starts[query + 1] += starts[query];
    }
    let columns = group(&mut places, numbers, &starts, progress)?;
    let wanted = Wanted {
        queries: &queries,
        passages: &passages,
        columns: &columns,
        starts,
    };
    let stores = [paths.to_vec()];
    let merged = merge_stores(&stores, &wanted, None, Options::default(), progress)?;
    let scores = in_order(&merged.scores, &places, progress)?;
    Ok((scores, merged.stats[0]))
}

/// The score at the place of every pair.
fn in_order(scores: &[f32], places: &[u32], progress: &Progress) -> Result<Vec<f32>> {
    let mut ordered = vec![0.0; places.len()];
    let blocks = ordered.par_chunks_mut(BLOCK).zip(places.par_chunks(BLOCK));
    blocks.try_for_each(|(block, places)| {
        progress.poll()?;
        for (score, place) in block.iter_mut().zip(places) {
            *score = scores[*place as usize];
        }
        Ok(())
    })?;
    Ok(ordered)
}

/// A number for every key, equal where the keys are, and the keys by number.
fn distinct(keys: &[Key], progress: &Progress) -> Result<(Vec<u32>, Vec<Key>)> {
    let mut numbers: Vec<u32> = Vec::with_capacity(keys.len());
    let mut different = Vec::new();
    KeyTable::new(keys, 0)?.fill(progress, |at, first| {
        if at == first {
            numbers.push(different.len() as u32);
            different.push(keys[at as usize]);
        } else {
            numbers.push(numbers[first as usize]);
        }
    })?;
    Ok((numbers, different))
}

/// The passages of the pairs, query after query; the query of every pair is replaced by the pair's place among them.
fn group(
    queries: &mut [u32],
    passages: Vec<u32>,
    starts: &[usize],
    progress: &Progress,
) -> Result<Vec<u32>> {
    let mut next: Vec<u32> = starts.iter().map(|start| *start as u32).collect();
    let mut columns = vec![0; passages.len()];
    let blocks = queries.chunks_mut(BLOCK).zip(passages.chunks(BLOCK));
    for (queries, passages) in blocks {
        progress.poll()?;
        for (query, passage) in queries.iter_mut().zip(passages) {
            let place = next[*query as usize];
            next[*query as usize] += 1;
            columns[place as usize] = *passage;
            *query = place;
        }
    }
    Ok(columns)
}
