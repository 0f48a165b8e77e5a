//! The life of a container after its start: every verb, restarts, health, and what is written down about it.

mod boot;
mod copy;
mod disk;
mod events;
mod health;
mod policy;
mod prune;
mod usage;
mod verbs;
