//! What a container's init and its parent say to each other.
