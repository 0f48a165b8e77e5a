//! What is said beside the result: on standard error for people, and in the
//! log that a shim or conmon reads, one line for each message.

use std::fs::OpenOptions;
use std::io::Write as _;

use state::Timestamp;
use sys::Error;

use super::args::{Global, LogFormat};

/// How grave a message is, as logrus spells it: that is what other engines
/// look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What ended the command.
pub(crate) fn error(global: Option<&Global>, error: &Error) {
    let text = error.to_string();
    to_stderr("", &text);
    if let Some(global) = global {
        to_log(global, Level::Error, &text);
    }
}

/// What was bent instead of failing.
pub(super) fn warn(global: &Global, warnings: &[String]) {
    for warning in warnings {
        to_stderr("warning: ", warning);
        to_log(global, Level::Warning, warning);
    }
}

/// What is being done, if that is asked for.
pub(super) fn debug(global: &Global, message: impl FnOnce() -> String) {
    if !global.debug {
        return;
    }
    let message = message();
    if global.log.is_none() {
        to_stderr("debug: ", &message);
    }
    to_log(global, Level::Debug, &message);
}

/// Where the time went, if that is asked for. The last phase ends now.
pub(super) fn timings(global: &Global) {
    global.timings.done("end");
    if let Some(report) = global.timings.report() {
        to_stderr("", &format!("where the time went\n{report}"));
    }
}

#[allow(clippy::print_stderr)] // The command line is where printing belongs.
fn to_stderr(prefix: &str, message: &str) {
    eprintln!("wharf-runtime: {prefix}{message}");
}

fn to_log(global: &Global, level: Level, message: &str) {
    let Some(path) = &global.log else {
        return;
    };
    let time = Timestamp::now().to_string();
    let line = match global.log_format {
        LogFormat::Json => {
            serde_json::json!({"level": level.as_str(), "msg": message, "time": time}).to_string()
        }
        LogFormat::Text => format!("time={time:?} level={} msg={message:?}", level.as_str()),
    };
    let file = OpenOptions::new().create(true).append(true).open(path);
    // There is nobody left to tell that the log cannot be written.
    let _ = file.and_then(|mut file| writeln!(file, "{line}"));
}
