//! Sums of products of codes of queries and passages, with a chosen instruction set.

use super::isa::{Isa, Set};
use super::layout::{PanelCodes, QueryCodes, Sums, TILE};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Multiplies queries with a panel.
///
/// # Arguments
/// * `queries`: codes of as many queries as there are sums, at most [`TILE`].
/// * `panel`: codes of the passages.
/// * `sums`: [queries, 32] is overwritten with sum of (query code + 128) times passage code.
pub(crate) fn multiply(isa: Isa, queries: QueryCodes<'_>, panel: PanelCodes<'_>, sums: &mut Sums) {
    if sums.is_empty() {
        return;
    }
    // The kernels do not check their indices.
    let needed = (sums.len() - 1) * queries.stride + panel.len();
    assert!(
        sums.len() <= TILE && queries.words.len() >= needed,
        "too few codes"
    );
    match isa.set() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions, and the codes were counted.
        Set::Avx512 => unsafe { avx512::multiply(queries, panel, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Set::Avx2 => unsafe { avx2::multiply(queries, panel, sums) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Set::Neon => unsafe { neon::multiply(queries, panel, sums) },
        _ => portable::multiply(queries, panel, sums),
    }
}
