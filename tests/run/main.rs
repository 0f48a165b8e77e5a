//! `wharf run` and its options, as Docker documents them.
#![forbid(unsafe_code)]

mod exit;
