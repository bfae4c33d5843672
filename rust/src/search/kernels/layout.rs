//! How the codes of queries and passages lie in memory: four codes in a 32-bit word.

/// Passages of a panel, whose words are interleaved: word 0 of all of them, then word 1 of all of them, ...
pub(crate) const PANEL: usize = 32;
/// Queries that are multiplied with a panel at once.
pub(crate) const TILE: usize = 12;

/// Words of the codes of one vector.
pub(crate) fn words(dimensions: usize) -> usize {
    dimensions.div_ceil(4)
}

/// The codes of some queries, moved up by 128 so that they are unsigned.
#[derive(Clone, Copy)]
pub(crate) struct QueryCodes<'a> {
    /// The words, from those of the first query on.
    pub words: &'a [u32],
    /// Words between the starts of two queries.
    pub stride: usize,
}

/// The codes of a panel (signed bytes), a line for each word of a vector.
pub(crate) type PanelCodes<'a> = &'a [[u32; PANEL]];

/// Sums of products of codes, a row for each query. They wrap around beyond 60,000 dimensions.
pub(crate) type Sums = [[i32; PANEL]];
