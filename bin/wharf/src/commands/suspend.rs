//! `wharf suspend` and `wharf resume`.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use engine::containers::DumpProgress;
use state::Connections;
use sys::{Context as _, Result};

use super::Call;
use super::each::each;
use crate::args::Given as _;
use crate::progress::{Bytes, Verbosity};

pub(super) fn suspend(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let connections = if call.given.on("tcp-established") {
        Connections::Keep
    } else {
        Connections::Close
    };
    each(call, &call.given.texts("CONTAINER"), |name| {
        let progress = DumpBar::new("Suspending");
        let suspended = engine
            .containers()
            .suspend(name, connections, &|at| progress.at(at));
        progress.clear();
        suspended.context(|| format!("suspend {name}"))?;
        Ok(Some(name.to_owned()))
    })
}

pub(super) fn resume(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    each(call, &call.given.texts("CONTAINER"), |name| {
        engine
            .containers()
            .resume(name)
            .context(|| format!("resume {name}"))?;
        Ok(Some(name.to_owned()))
    })
}

/// A bar for what takes longer than a moment.
pub(super) struct DumpBar {
    what: &'static str,
    began: Instant,
    bar: RefCell<Option<Bytes>>,
}

/// Who waits for less needs no bar.
const MOMENT: Duration = Duration::from_millis(700);

impl DumpBar {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            began: Instant::now(),
            bar: RefCell::new(None),
        }
    }

    pub(super) fn at(&self, progress: DumpProgress) {
        if self.began.elapsed() < MOMENT {
            return;
        }
        let mut bar = self.bar.borrow_mut();
        let total = progress.total.map(|total| total.max(progress.written));
        bar.get_or_insert_with(|| Bytes::new(self.what, total, Verbosity::Messages))
            .at(progress.written);
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = self.bar.borrow().as_ref() {
            bar.clear();
        }
    }
}
