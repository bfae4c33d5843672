//! How every long call runs: the GIL is released, Ctrl-C is answered, a panic becomes an exception.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use super::counter::{Counter, progress};
use super::errors::to_python;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Time between two looks at the signals.
const TICK: Duration = Duration::from_millis(50);

/// Runs `work` on a thread of its own without the GIL. While it runs, signals are looked at; when one raises, `work`
/// is asked to stop and the signal's exception is what the caller gets.
pub fn enter<T: Send>(
    py: Python<'_>,
    counter: Option<&Counter>,
    work: impl FnOnce(&Progress) -> Result<T> + Send,
) -> PyResult<T> {
    let progress = progress(counter);
    match py.detach(|| run(&progress, work)) {
        (Some(interrupt), _) => Err(interrupt),
        (None, outcome) => outcome.map_err(|error| to_python(py, &error)),
    }
}

fn run<T: Send>(
    progress: &Progress,
    work: impl FnOnce(&Progress) -> Result<T> + Send,
) -> (Option<PyErr>, Result<T>) {
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(progress)));
            // The receiver waits until it has this, so sending cannot fail.
            let _ = sender.send(outcome.unwrap_or_else(|panic| Err(internal(&*panic))));
        });
        wait(progress, &receiver)
    })
}

fn wait<T>(progress: &Progress, receiver: &Receiver<Result<T>>) -> (Option<PyErr>, Result<T>) {
    let mut interrupt = None;
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(outcome) => return (interrupt, outcome),
            Err(RecvTimeoutError::Disconnected) => {
                let message = "the worker ended without a result".to_owned();
                return (interrupt, Err(Error::Internal { message }));
            }
            Err(RecvTimeoutError::Timeout) if interrupt.is_none() => {
                interrupt = Python::attach(|py| py.check_signals()).err();
                if interrupt.is_some() {
                    progress.stop();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn internal(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::Internal {
        message: text.unwrap_or("a worker panicked").to_owned(),
    }
}
