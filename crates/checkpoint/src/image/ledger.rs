//! Which page of a process's memory is where in the file of pages, while that
//! is being written: pages are copied again and again until they stand.

use std::collections::BTreeMap;

use sys::Result;
use sys::pagemap::PAGE;

use super::PageWriter;
use super::pages::{PAGE_SIZE, written_runs};

/// Pages by address.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<u64, Entry>);

/// Pages that follow each other, in memory and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pages: u64,
    /// None where they are zero.
    stored: Option<u64>,
}

impl Entry {
    fn end(self, start: u64) -> u64 {
        start + self.pages * PAGE
    }

    /// What is left of it after `skip` pages.
    fn after(self, skip: u64) -> Self {
        Self {
            pages: self.pages - skip,
            stored: self.stored.map(|stored| stored + skip),
        }
    }
}

impl Ledger {
    /// Writes the pages at `address`, each over what was known of it.
    pub(crate) fn store(
        &mut self,
        address: u64,
        bytes: &[u8],
        writer: &mut PageWriter,
    ) -> Result<()> {
        let mut zeros_from = address;
        for (at, pages) in written_runs(bytes) {
            let start = address + (at * PAGE_SIZE) as u64;
            self.note_zeros(zeros_from, start, writer);
            self.store_run(start, pages, writer)?;
            zeros_from = start + pages.as_flattened().len() as u64;
        }
        self.note_zeros(zeros_from, address + bytes.len() as u64, writer);
        Ok(())
    }

    /// Forgets what is known of a range.
    pub(crate) fn forget(&mut self, start: u64, end: u64, writer: &mut PageWriter) {
        self.split(start);
        self.split(end);
        while let Some((at, entry)) = self.0.range(start..end).next().map(|(at, it)| (*at, *it)) {
            self.0.remove(&at);
            if let Some(stored) = entry.stored {
                writer.release(stored, entry.pages);
            }
        }
    }

    /// Forgets everything outside of `kept`, which are in order.
    pub(crate) fn keep_only(
        &mut self,
        kept: impl Iterator<Item = (u64, u64)>,
        writer: &mut PageWriter,
    ) {
        let mut from = 0;
        for (start, end) in kept {
            self.forget(from, start.max(from), writer);
            from = end;
        }
        self.forget(from, u64::MAX, writer);
    }

    /// The parts of a range that nothing is known of.
    pub(crate) fn missing(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut at = start;
        if let Some((before, entry)) = self.0.range(..start).next_back() {
            at = at.max(entry.end(*before));
        }
        for (place, entry) in self.0.range(start..end) {
            if *place > at {
                missing.push((at, *place));
            }
            at = entry.end(*place);
        }
        if at < end {
            missing.push((at, end));
        }
        missing
    }

    /// As the image has it: first address, number of pages, page in the file.
    pub(crate) fn runs(&self) -> Vec<(u64, u64, u64)> {
        self.0
            .iter()
            .filter_map(|(start, entry)| Some((*start, entry.pages, entry.stored?)))
            .collect()
    }

    fn store_run(
        &mut self,
        mut start: u64,
        mut pages: &[[u8; PAGE_SIZE]],
        writer: &mut PageWriter,
    ) -> Result<()> {
        while !pages.is_empty() {
            let (known, room) = self.known_at(start, pages.len());
            let count = if let Some(stored) = known {
                writer.overwrite(stored, &pages[..room])?;
                room
            } else {
                let (stored, count) = writer.put(&pages[..room])?;
                self.forget(start, start + (count * PAGE_SIZE) as u64, writer);
                self.insert(start, count as u64, Some(stored));
                count
            };
            start += (count * PAGE_SIZE) as u64;
            pages = &pages[count..];
        }
        Ok(())
    }

    /// Where the page at `start` is in the file, and how many from there on,
    /// `most` at most, are alike in that.
    fn known_at(&self, start: u64, most: usize) -> (Option<u64>, usize) {
        let end = start + (most * PAGE_SIZE) as u64;
        let pages = |to: u64| usize::try_from((to.min(end) - start) / PAGE).unwrap_or(most);
        let before = self.0.range(..=start).next_back();
        if let Some((at, entry)) = before
            && entry.end(*at) > start
        {
            let rest = entry.after((start - at) / PAGE);
            if rest.stored.is_some() {
                return (rest.stored, pages(entry.end(*at)));
            }
        }
        let stored = self.0.range(start..end).find(|(_, it)| it.stored.is_some());
        (None, pages(stored.map_or(end, |(at, _)| *at)))
    }

    fn note_zeros(&mut self, start: u64, end: u64, writer: &mut PageWriter) {
        if start < end {
            self.forget(start, end, writer);
            self.insert(start, (end - start) / PAGE, None);
        }
    }

    /// Where nothing is known.
    fn insert(&mut self, start: u64, pages: u64, stored: Option<u64>) {
        if let Some((at, before)) = self.0.range_mut(..start).next_back()
            && before.end(*at) == start
            && before.stored.map(|stored| stored + before.pages) == stored
        {
            before.pages += pages;
            return;
        }
        self.0.insert(start, Entry { pages, stored });
    }

    /// Makes an entry that lies across `at` two.
    fn split(&mut self, at: u64) {
        let Some((start, entry)) = self.0.range_mut(..at).next_back() else {
            return;
        };
        if entry.end(*start) > at {
            let skip = (at - *start) / PAGE;
            let rest = entry.after(skip);
            entry.pages = skip;
            self.0.insert(at, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// Pages that say what they are.
    fn pages(letters: &str) -> Vec<u8> {
        let byte = |letter: u8| if letter == b'0' { 0 } else { letter };
        letters
            .bytes()
            .flat_map(|letter| [byte(letter); PAGE_SIZE])
            .collect()
    }

    /// What the ledger and the file say together of pages 0 to 9, and how many
    /// of the file are of use.
    fn read(ledger: &Ledger, writer: &PageWriter, file: &File) -> (String, u64) {
        let mut all = [b'.'; 10];
        for (start, entry) in &ledger.0 {
            for page in 0..entry.pages {
                let mut byte = [b'0'];
                if let Some(stored) = entry.stored {
                    file.read_exact_at(&mut byte, (stored + page) * PAGE)
                        .unwrap();
                }
                all[usize::try_from(start / PAGE + page).unwrap()] = byte[0];
            }
        }
        (String::from_utf8(all.to_vec()).unwrap(), writer.pages())
    }

    #[test]
    fn each_page_is_there_once_and_as_it_was_last() {
        let directory = std::env::temp_dir().join(format!("wharf-ledger-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let mut writer = PageWriter::create(File::open(&directory).unwrap()).unwrap();
        let file = File::open(directory.join("pages")).unwrap();
        let mut ledger = Ledger::default();
        let mut store = |at: u64, letters: &str, want: (&str, u64)| {
            let bytes = pages(letters);
            ledger.store(at * PAGE, &bytes, &mut writer).unwrap();
            let (all, used) = read(&ledger, &writer, &file);
            assert_eq!((all.as_str(), used), want, "after {letters} at {at}");
        };
        store(2, "abc0de", ("..abc0de..", 5));
        // Over itself, over zeros, over both ends.
        store(3, "B", ("..aBc0de..", 5));
        store(4, "xyz", ("..aBxyze..", 6));
        store(0, "123", ("123Bxyze..", 8));
        store(7, "EFG", ("123BxyzEFG", 10));
        // What becomes zero makes room for the next.
        store(1, "0000", ("10000yzEFG", 6));
        store(3, "lm", ("100lmyzEFG", 8));
        ledger.forget(4 * PAGE, 6 * PAGE, &mut writer);
        assert_eq!(read(&ledger, &writer, &file), ("100l..zEFG".into(), 6));
        assert_eq!(
            ledger.missing(3 * PAGE, 12 * PAGE),
            [(4 * PAGE, 6 * PAGE), (10 * PAGE, 12 * PAGE)]
        );
        let kept = [(0, PAGE), (3 * PAGE, 8 * PAGE)];
        ledger.keep_only(kept.into_iter(), &mut writer);
        assert_eq!(read(&ledger, &writer, &file), ("1..l..zE..".into(), 4));
        let runs = ledger.runs();
        assert_eq!(runs.iter().map(|(_, count, _)| count).sum::<u64>(), 4);
        writer.finish().unwrap();
        assert_eq!(read(&ledger, &writer, &file), ("1..l..zE..".into(), 4));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
