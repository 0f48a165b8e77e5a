//! What happens with images, shown while it happens: a bar per layer on a
//! terminal, a line per change elsewhere, in Docker's words.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use engine::images::{LayerInfo, LayerProgress, PullEvent, PushEvent, PushStep, Uploaded};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use spec::Digest;

use crate::output;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    Quiet,
    /// For `pull` and `push`, whose business it is: lines to stdout.
    Results,
    /// For `run` and `create`, whose stdout is not for this.
    Messages,
}

/// Shows events; they may come from several threads.
#[derive(Debug)]
pub(crate) struct Progress {
    verbosity: Verbosity,
    /// Bars, if there is a terminal to draw them on.
    bars: Option<MultiProgress>,
    /// In the image's order.
    layers: Mutex<Vec<(Digest, Layer)>>,
}

#[derive(Debug)]
struct Layer {
    bar: Option<ProgressBar>,
    size: u64,
    /// The word last told.
    told: &'static str,
}

impl Progress {
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        let terminal = match verbosity {
            Verbosity::Quiet => false,
            // Lines and bars in one place, or they would run into each other.
            Verbosity::Results => {
                std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
            }
            Verbosity::Messages => std::io::stderr().is_terminal(),
        };
        Self {
            verbosity,
            bars: terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            layers: Mutex::default(),
        }
    }

    /// A line that stays.
    pub(crate) fn line(&self, line: &str) {
        let tell = || match self.verbosity {
            Verbosity::Quiet => {}
            Verbosity::Results => {
                // Progress nobody reads is no reason to fail.
                let _ = output::print_line(line);
            }
            Verbosity::Messages => output::note(line),
        };
        match &self.bars {
            Some(bars) => bars.suspend(tell),
            None => tell(),
        }
    }

    pub(crate) fn pull(&self, event: &PullEvent) {
        match event {
            PullEvent::Resolving { reference } => {
                let what = match (reference.digest(), reference.tag()) {
                    (Some(digest), _) => digest.to_string(),
                    (None, tag) => tag.unwrap_or("latest").to_owned(),
                };
                let repository = reference.repository();
                self.line(&format!("{what}: Pulling from {repository}"));
            }
            PullEvent::Resolved { layers, .. } => self.expect(layers, "Pulling fs layer"),
            PullEvent::Layer { digest, progress } => match progress {
                LayerProgress::Present => self.finish(*digest, "Already exists"),
                LayerProgress::Received(bytes) => self.advance(*digest, *bytes, "Downloading"),
                LayerProgress::Complete => self.finish(*digest, "Pull complete"),
            },
            _ => {}
        }
    }

    pub(crate) fn push(&self, event: &PushEvent) {
        match event {
            PushEvent::Started { layers } => self.expect(layers, "Preparing"),
            PushEvent::Layer { digest, step } => match step {
                PushStep::Sent(bytes) => self.advance(*digest, *bytes, "Pushing"),
                PushStep::Done(Uploaded::Existed) => self.finish(*digest, "Layer already exists"),
                PushStep::Done(Uploaded::Mounted) => {
                    self.finish(*digest, "Mounted from another repository");
                }
                PushStep::Done(Uploaded::Sent) => self.finish(*digest, "Pushed"),
            },
            _ => {}
        }
    }

    /// Takes the bars away; lines stay.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.bars {
            for (_, layer) in self.lock().iter() {
                if let Some(bar) = &layer.bar {
                    bar.finish_and_clear();
                }
            }
            let _ = bars.clear();
        }
    }

    /// Puts plain lines in the place of the bars, so that what comes next
    /// stands below them.
    pub(crate) fn settle(&self) {
        self.clear();
        for (digest, layer) in self.lock().iter() {
            if layer.bar.is_some() && !layer.told.is_empty() {
                self.line(&format!("{}: {}", short(*digest), layer.told));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Digest, Layer)>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, layers: &[LayerInfo], word: &'static str) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        for info in layers {
            let bar = self.bars.as_ref().map(|bars| {
                let bar = bars.add(ProgressBar::new(info.size));
                bar.set_style(style(WAITING));
                bar.set_prefix(short(info.digest));
                bar.set_message("Waiting");
                bar.tick();
                bar
            });
            if bar.is_none() {
                self.line(&format!("{}: {word}", short(info.digest)));
            }
            let layer = Layer {
                bar,
                size: info.size,
                told: word,
            };
            self.lock().push((info.digest, layer));
        }
    }

    fn advance(&self, digest: Digest, bytes: u64, word: &'static str) {
        let mut layers = self.lock();
        let Some(layer) = find(&mut layers, digest) else {
            return;
        };
        let Some(bar) = &layer.bar else {
            return;
        };
        // What is here and not unpacked yet is on its way to the disk.
        let extracting = word == "Downloading" && bytes >= layer.size;
        let word = if extracting { "Extracting" } else { word };
        if layer.told != word {
            layer.told = word;
            bar.set_style(style(MOVING));
            bar.set_message(word);
        }
        bar.set_position(bytes.min(layer.size));
    }

    fn finish(&self, digest: Digest, word: &'static str) {
        let mut layers = self.lock();
        let Some(layer) = find(&mut layers, digest) else {
            return;
        };
        // A layer that occurs twice is told once.
        let known = std::mem::replace(&mut layer.told, word) == word;
        match &layer.bar {
            Some(bar) => {
                bar.set_style(style(WAITING));
                bar.finish_with_message(word);
            }
            None if known => {}
            None => {
                drop(layers);
                self.line(&format!("{}: {word}", short(digest)));
            }
        }
    }
}

/// Bytes that pass, for acts on one stream: `load`, `save`, `import`.
#[derive(Debug)]
pub(crate) struct Bytes {
    bar: Option<ProgressBar>,
}

impl Bytes {
    /// `total` if it is known before.
    pub(crate) fn new(what: &str, total: Option<u64>, verbosity: Verbosity) -> Self {
        let terminal = verbosity != Verbosity::Quiet && std::io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let bar = match total.filter(|total| *total > 0) {
                Some(total) => ProgressBar::new(total).with_style(style(TOTAL)),
                None => ProgressBar::new_spinner().with_style(style(COUNTING)),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.set_prefix(what.to_owned());
            bar
        });
        Self { bar }
    }

    /// So many bytes so far.
    pub(crate) fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.clear();
    }
}

fn find(layers: &mut [(Digest, Layer)], digest: Digest) -> Option<&mut Layer> {
    layers
        .iter_mut()
        .find(|(one, _)| *one == digest)
        .map(|(_, layer)| layer)
}

fn short(digest: Digest) -> String {
    let text = digest.to_string();
    let hex = text.split_once(':').map_or(text.as_str(), |(_, hex)| hex);
    hex.chars().take(12).collect()
}

fn style(template: &str) -> ProgressStyle {
    // A template of ours that were wrong would show in the first test.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

const WAITING: &str = "{prefix}: {msg}";
const MOVING: &str =
    "{prefix}: {msg:11} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
const TOTAL: &str =
    "{prefix} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
const COUNTING: &str = "{prefix} {decimal_bytes} {decimal_bytes_per_sec}";
