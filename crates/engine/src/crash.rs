//! Points where the crash tests kill the process.

/// Dies as `kill -9` would, if the configuration names this point and the
/// feature `crash-points` is compiled in. Otherwise nothing.
macro_rules! crash_point {
    ($engine:expr, $name:literal) => {
        #[cfg(feature = "crash-points")]
        if $engine.config().crash_at.as_deref() == Some($name) {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
        #[cfg(not(feature = "crash-points"))]
        let _ = &$engine;
    };
}
pub(crate) use crash_point;
