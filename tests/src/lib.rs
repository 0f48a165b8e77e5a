//! Shared by all black-box tests.
