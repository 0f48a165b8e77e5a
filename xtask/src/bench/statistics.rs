//! Times of one command, and their middle.

use std::time::Duration;

use super::engines::Engine;

/// Times of one engine, in the order measured.
#[derive(Clone, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn percentile(&self, part: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let last = sorted.len().saturating_sub(1);
        sorted
            .get((last * part + 50) / 100)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn all(&self) -> &[Duration] {
        &self.0
    }
}

/// One command, measured with several engines in turn.
#[derive(Clone)]
pub(crate) struct Row(pub(crate) Vec<(Engine, Samples)>);

impl Row {
    /// Ours, with which the others are compared: it is named first.
    pub(crate) fn own(&self) -> Option<Duration> {
        self.0.first().map(|(_, samples)| samples.median())
    }

    pub(crate) fn of(&self, wanted: Engine) -> Option<&Samples> {
        self.0
            .iter()
            .find(|(engine, _)| *engine == wanted)
            .map(|(_, samples)| samples)
    }

    pub(crate) fn median(&self, wanted: Engine) -> Option<Duration> {
        self.of(wanted).map(Samples::median)
    }
}

#[cfg(test)]
mod tests {
    use super::Samples;
    use std::time::Duration;

    #[test]
    fn the_median_is_the_middle_one() {
        let mut samples = Samples::default();
        for millis in [9, 1, 5, 100, 4] {
            samples.add(Duration::from_millis(millis));
        }
        assert_eq!(samples.median(), Duration::from_millis(5));
        assert_eq!(samples.percentile(25), Duration::from_millis(4));
        assert_eq!(Samples::default().median(), Duration::ZERO);
    }
}
