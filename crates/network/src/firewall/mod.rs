//! The packet filter: two tables per network, one for both IP versions and
//! one for what passes its bridge.
//!
//! [`rules`] and [`guard`] decide (pure), [`nftables`] applies.

pub(crate) mod guard;
pub(crate) mod nftables;
pub(crate) mod rules;
