//! Acts on several things: all are tried, each failure is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use sys::Result;

use super::{Call, DONE, FAILED};
use crate::{errors, output};

/// So many at once, as Docker's command line does: most of them wait.
const AT_ONCE: usize = 50;

/// Does `act` for each name and prints what it gives (a line); the exit code
/// says whether all went well.
pub(crate) fn each(
    call: &Call<'_>,
    names: &[&str],
    act: impl Fn(&str) -> Result<Option<String>>,
) -> Result<u8> {
    let mut code = DONE;
    for name in names {
        tell(call, act(name), &mut code)?;
    }
    Ok(code)
}

/// As [`each`], for what takes its time: many at once, told in the order of
/// the names.
pub(crate) fn each_at_once(
    call: &Call<'_>,
    names: &[&str],
    act: impl Fn(&str) -> Result<Option<String>> + Sync,
) -> Result<u8> {
    if names.len() < 2 {
        return each(call, names, act);
    }
    let mut code = DONE;
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..names.len().min(AT_ONCE) {
            let (sender, next, act) = (sender.clone(), &next, &act);
            scope.spawn(move || {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(name) = names.get(number)
                    && sender.send((number, act(name))).is_ok()
                {}
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut told = 0;
        for (number, outcome) in receiver {
            early.insert(number, outcome);
            while let Some(outcome) = early.remove(&told) {
                tell(call, outcome, &mut code)?;
                told += 1;
            }
        }
        Ok(code)
    })
}

fn tell(call: &Call<'_>, outcome: Result<Option<String>>, code: &mut u8) -> Result<()> {
    match outcome {
        Ok(Some(line)) => output::print_line(&line)?,
        Ok(None) => {}
        Err(error) => {
            output::note(&errors::message(&error, call.global.debug));
            *code = FAILED;
        }
    }
    Ok(())
}
