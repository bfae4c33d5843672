//! What a long call shares with whoever waits for it: a flag that asks it to stop and a count of what is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Shared handle: the caller sets `stop` and reads `done`; the worker polls `stop` and adds to `done`.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    /// Tests stop when so much is done.
    #[cfg(test)]
    limit: Option<u64>,
}

impl Progress {
    /// A handle that counts into `done`, which somebody else may read.
    pub fn counting_into(done: Arc<AtomicU64>) -> Self {
        Self {
            done,
            ..Self::default()
        }
    }

    /// A handle that asks to stop by itself.
    #[cfg(test)]
    pub(crate) fn stopping_at(limit: u64) -> Self {
        Self {
            limit: Some(limit),
            ..Self::default()
        }
    }

    /// Asks the worker to stop; it answers with [`Error::Interrupted`] at its next poll.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Fails with [`Error::Interrupted`] once somebody asked to stop.
    pub fn poll(&self) -> Result<()> {
        #[cfg(test)]
        if self.limit.is_some_and(|limit| self.done() >= limit) {
            self.stop();
        }
        if self.stop.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Adds `rows` to the count of rows that are done.
    pub fn add(&self, rows: usize) {
        self.done.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Rows done so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_reaches_every_clone() {
        let progress = Progress::default();
        let worker = progress.clone();
        worker.add(3);
        assert!(worker.poll().is_ok());
        progress.stop();
        assert!(matches!(worker.poll(), Err(Error::Interrupted)));
        assert_eq!(progress.done(), 3);
    }
}
