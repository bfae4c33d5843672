//! Any bytes as a file of passages or queries.

#![no_main]

use libfuzzer_sys::fuzz_target;
use umr_core::records::{Kind, Records};
use umr_core::{Progress, Result};

include!("open_any.rs");

fuzz_target!(|data: &[u8]| {
    open_any(data);
});
