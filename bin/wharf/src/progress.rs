//! What happens with images, shown while it happens: a bar per layer on a
//! terminal, a line per change elsewhere, in Docker's words.

use std::collections::BTreeMap;
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
    layers: Mutex<BTreeMap<Digest, Layer>>,
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
            PullEvent::OtherPlatform { wanted, found } => self.line(&format!(
                "WARNING: the image is for {found} and {wanted} was wanted"
            )),
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
            let _ = bars.clear();
        }
    }

    /// Leaves the bars as they are and says no more.
    pub(crate) fn finish_all(&self) {
        for layer in self.lock().values() {
            if let Some(bar) = &layer.bar {
                bar.abandon();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Layer>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, layers: &[LayerInfo], word: &'static str) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        for info in layers {
            let bar = self.bars.as_ref().map(|bars| {
                let bar = bars.add(ProgressBar::new(info.size));
                bar.set_style(waiting());
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
            self.lock().insert(info.digest, layer);
        }
    }

    fn advance(&self, digest: Digest, bytes: u64, word: &'static str) {
        let mut layers = self.lock();
        let Some(layer) = layers.get_mut(&digest) else {
            return;
        };
        let Some(bar) = &layer.bar else {
            return;
        };
        if layer.told != word {
            layer.told = word;
            bar.set_style(moving());
            bar.reset_elapsed();
        }
        // What is here and not unpacked yet is on its way to the disk.
        let extracting = word == "Downloading" && bytes >= layer.size;
        bar.set_message(if extracting { "Extracting" } else { word });
        bar.set_position(bytes.min(layer.size));
    }

    fn finish(&self, digest: Digest, word: &'static str) {
        let mut layers = self.lock();
        let Some(layer) = layers.get_mut(&digest) else {
            return;
        };
        match &layer.bar {
            Some(bar) => {
                bar.set_style(waiting());
                bar.finish_with_message(word);
            }
            None if layer.told != word => {
                drop(layers);
                self.line(&format!("{}: {word}", short(digest)));
                if let Some(layer) = self.lock().get_mut(&digest) {
                    layer.told = word;
                }
            }
            None => {}
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
                None => ProgressBar::new_spinner().with_style(counting()),
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

fn waiting() -> ProgressStyle {
    style("{prefix}: {msg}")
}

fn moving() -> ProgressStyle {
    style(
        "{prefix}: {msg:11} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}",
    )
}

const TOTAL: &str =
    "{prefix} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";

fn counting() -> ProgressStyle {
    style("{prefix} {decimal_bytes} {decimal_bytes_per_sec}")
}
