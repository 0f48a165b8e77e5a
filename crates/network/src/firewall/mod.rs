//! The packet filter: one table of our own for both IP versions.
//!
//! [`rules`] decides (pure), [`nftables`] applies.

pub(crate) mod nftables;
pub(crate) mod rules;
