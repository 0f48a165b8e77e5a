//! Which pages of a process's memory are in the image only, as the process
//! moves, drops and copies its memory. Pure.

use std::collections::BTreeMap;

use sys::pagemap::PAGE;

/// Pages that lie together in memory and in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// Byte in the file of pages.
    pub(crate) offset: u64,
}

/// What is missing, by where it is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Start to length and offset; they do not overlap.
    stretches: BTreeMap<u64, (u64, u64)>,
    /// Bytes, all in all.
    bytes: u64,
}

impl Stretch {
    pub(crate) fn end(self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// The part that lies in a range.
    fn within(self, start: u64, end: u64) -> Option<Self> {
        let from = self.start.max(start);
        let to = self.end().min(end);
        (from < to).then(|| Self {
            start: from,
            length: to - from,
            offset: self.offset + (from - self.start),
        })
    }
}

impl Missing {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// Adds pages, in place of what was missing there.
    pub(crate) fn add(&mut self, stretch: Stretch) {
        self.remove(stretch.start, stretch.end());
        if stretch.length > 0 {
            let value = (stretch.length, stretch.offset);
            self.stretches.insert(stretch.start, value);
            self.bytes += stretch.length;
        }
    }

    /// Nothing is missing in this range any more; gives what was.
    pub(crate) fn remove(&mut self, start: u64, end: u64) -> Vec<Stretch> {
        let before = self.stretches.range(..start).next_back();
        let first = before.map_or(start, |(first, _)| *first);
        let touched: Vec<Stretch> = self
            .stretches
            .range(first..end.max(first))
            .map(|(start, (length, offset))| Stretch {
                start: *start,
                length: *length,
                offset: *offset,
            })
            .filter(|stretch| stretch.within(start, end).is_some())
            .collect();
        let mut removed = Vec::new();
        for stretch in touched {
            self.stretches.remove(&stretch.start);
            let rests = [stretch.within(0, start), stretch.within(end, u64::MAX)];
            for rest in rests.into_iter().flatten() {
                let value = (rest.length, rest.offset);
                self.stretches.insert(rest.start, value);
            }
            removed.extend(stretch.within(start, end));
        }
        self.bytes -= removed.iter().map(|it| it.length).sum::<u64>();
        removed
    }

    /// The memory is elsewhere from now on, and so is what it misses.
    pub(crate) fn relocate(&mut self, from: u64, to: u64, length: u64) {
        let moved = self.remove(from, from.saturating_add(length));
        self.remove(to, to.saturating_add(length));
        for stretch in moved {
            self.add(Stretch {
                start: to + (stretch.start - from),
                ..stretch
            });
        }
    }

    /// What is missing at this page and after it, at most so many bytes.
    pub(crate) fn at(&self, page: u64, most: u64) -> Option<Stretch> {
        let (start, (length, offset)) = self.stretches.range(..=page).next_back()?;
        let stretch = Stretch {
            start: *start,
            length: *length,
            offset: *offset,
        };
        stretch.within(page, page.saturating_add(most.max(PAGE)))
    }

    /// The first that is missing, at most so many bytes of it.
    pub(crate) fn first(&self, most: u64) -> Option<Stretch> {
        let (start, _) = self.stretches.first_key_value()?;
        self.at(*start, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: u64 = PAGE;

    fn missing(stretches: &[(u64, u64, u64)]) -> Missing {
        let mut missing = Missing::default();
        for (start, length, offset) in stretches {
            missing.add(Stretch {
                start: start * P,
                length: length * P,
                offset: offset * P,
            });
        }
        missing
    }

    #[test]
    fn what_is_dropped_is_missing_no_more() {
        let mut all = missing(&[(10, 10, 100), (30, 5, 0), (40, 1, 7)]);
        assert_eq!(all.bytes(), 16 * P);
        let removed = all.remove(15 * P, 32 * P);
        assert_eq!(removed.len(), 2);
        assert_eq!(all, missing(&[(10, 5, 100), (32, 3, 2), (40, 1, 7)]));
        // In the middle of one, and where nothing is.
        all.remove(12 * P, 13 * P);
        all.remove(20 * P, 31 * P);
        all.remove(12 * P, 12 * P);
        assert_eq!(
            all,
            missing(&[(10, 2, 100), (13, 2, 103), (32, 3, 2), (40, 1, 7)])
        );
        all.remove(0, u64::MAX);
        assert!(all.is_empty() && all.bytes() == 0);
    }

    #[test]
    fn what_moves_is_missing_where_it_is_then() {
        let mut all = missing(&[(10, 10, 100), (50, 10, 200)]);
        // Part of it, over part of the other.
        all.relocate(15 * P, 52 * P, 4 * P);
        let expected = [
            (10, 5, 100),
            (19, 1, 109),
            (50, 2, 200),
            (52, 4, 105),
            (56, 4, 206),
        ];
        assert_eq!(all, missing(&expected));
        // What has no pages that are missing takes away what was there.
        all.relocate(100 * P, 50 * P, 10 * P);
        assert_eq!(all, missing(&[(10, 5, 100), (19, 1, 109)]));
    }

    #[test]
    fn is_found_page_by_page() {
        let all = missing(&[(10, 10, 100), (30, 5, 0)]);
        let found = all.at(18 * P, 16 * P).unwrap();
        assert_eq!((found.start, found.length), (18 * P, 2 * P));
        assert_eq!(found.offset, 108 * P);
        assert_eq!(all.at(9 * P, P), None);
        assert_eq!(all.at(20 * P, P), None);
        let first = all.first(3 * P).unwrap();
        assert_eq!((first.start, first.length), (10 * P, 3 * P));
    }
}
