//! Work on a chosen number of threads.

use crate::error::{Error, Result};

/// Runs work on a pool of some threads; 0 takes the threads that there are.
pub fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if threads == 0 {
        return work();
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| Error::shape(format!("threads: {error}")))?
        .install(work)
}
