//! The command line.
//!
//! Not here: what containers and images are. A command turns its arguments
//! into a request, calls the engine, and prints the answer.
//!
//! Start reading at [`commands`] (the table of verbs), then `args` for what
//! can be written and `output` for what is printed. `docs/cli.md` tells the
//! conventions.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod environment;
mod errors;
mod live;
mod output;
mod progress;
mod terminal;
mod timings;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use args::root::{Detail, Global};
use commands::{Call, Verb};
use errors::Codes;
use timings::{Timings, Wanted};

fn main() -> ExitCode {
    let begin = Instant::now();
    let words: Vec<OsString> = args::checkpoint::with_verb(std::env::args_os().collect());
    let command = args::root::root(Detail::Mentioned(&words));
    let given = match command.try_get_matches_from(&words) {
        Ok(given) => given,
        Err(error) => return misuse(&error, &words),
    };
    let global = Global::from(&given);
    let Some((verb, given)) = commands::called(&given) else {
        return ExitCode::FAILURE;
    };
    let wanted = if global.timings {
        Wanted::Yes
    } else {
        Wanted::No
    };
    let call = Call {
        timings: Timings::new(begin, wanted),
        global,
        given,
    };
    call.timings.done("arguments");
    let code = run(verb, &call);
    terminal::raw::restore();
    if call.global.timings {
        call.timings.done("end");
        output::note(&call.timings.report());
    }
    ExitCode::from(code)
}

fn run(verb: &Verb, call: &Call<'_>) -> u8 {
    match (verb.run)(call) {
        Ok(code) => code,
        Err(error) => {
            // A message on a raw terminal would be stairs.
            terminal::raw::restore();
            output::note(&errors::message(&error, call.global.debug));
            errors::exit_code(error.kind(), verb.codes)
        }
    }
}

/// Help and version are asked for as well as faults made.
fn misuse(error: &clap::Error, words: &[OsString]) -> ExitCode {
    use clap::error::ErrorKind;
    let help = || {
        let width = terminal::size().map_or(80, |size| size.width.into());
        args::help::asked(words, width)
    };
    match error.kind() {
        ErrorKind::DisplayHelp => {
            let _ = output::print_line(&help());
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayVersion => {
            let _ = output::print(&error.render().to_string());
            return ExitCode::SUCCESS;
        }
        // `wharf` alone is a question, not a fault; `wharf image` is as in Docker.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::note(&help());
            return ExitCode::from(u8::from(words.len() > 1));
        }
        _ => {}
    }
    let verb = commands::mentioned(words);
    let name = verb.as_ref().map(|(name, _)| name.as_str());
    let hint = errors::usage_hint(error, name, commands::noun(words));
    output::note(&format!(
        "{}\nhint: {hint}",
        errors::message(&errors::usage(error), false)
    ));
    ExitCode::from(match verb {
        Some((_, verb)) if verb.codes != Codes::Plain => 125,
        _ => 1,
    })
}
