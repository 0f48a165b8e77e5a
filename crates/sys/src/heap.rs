//! Keeping a long-lived small process small.

/// Gives the heap's unused pages back to the kernel.
pub fn trim() {
    // SAFETY: malloc_trim has no preconditions; it is glibc's.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// From now on allocations of `bytes` and more get pages of their own, which
/// go back to the kernel as soon as they are freed.
pub fn map_allocations_from(bytes: i32) {
    // SAFETY: mallopt has no preconditions; it refuses what it does not like.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}
