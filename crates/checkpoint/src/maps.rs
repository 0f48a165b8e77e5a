//! The mappings of a process, as `/proc/PID/maps` and `smaps` list them.

use sys::pagemap::Run;
use sys::{Error, ErrorKind, Result};

use crate::procfs;

/// Beyond it no process has memory (47-bit addresses, less a page).
pub(crate) const END_OF_MEMORY: u64 = 0x7fff_ffff_f000;

/// One mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// `PROT_*`.
    pub(crate) protection: u32,
    pub(crate) is_shared: bool,
    pub(crate) offset: u64,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) name: String,
    pub(crate) flags: Flags,
}

/// The flags of a mapping, two letters each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(Vec<[u8; 2]>);

impl Flags {
    fn parse(text: &str) -> Self {
        let words = text.split_ascii_whitespace();
        Self(
            words
                .filter_map(|word| word.as_bytes().try_into().ok())
                .collect(),
        )
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        <[u8; 2]>::try_from(flag.as_bytes()).is_ok_and(|flag| self.0.contains(&flag))
    }

    pub(crate) fn remove(&mut self, flag: &str) {
        self.0.retain(|known| known != flag.as_bytes());
    }
}

/// How much to ask for: flags cost a walk over all pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Places,
    Flags,
}

impl Line {
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.has(flag)
    }

    /// Private, and of no file.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.inode == 0 && !self.is_shared
    }

    /// Whether it is the same mapping as `other`, its flags left aside.
    fn is_like(&self, other: &Self) -> bool {
        (self.start, self.end, self.protection, self.is_shared)
            == (other.start, other.end, other.protection, other.is_shared)
            && (self.offset, self.inode) == (other.offset, other.inode)
            && (&self.device, &self.name) == (&other.device, &other.name)
    }

    /// By the program itself.
    pub(crate) fn is_readable(&self) -> bool {
        self.protection & 1 != 0
    }

    pub(crate) fn range(&self) -> Run {
        Run {
            start: self.start,
            end: self.end,
        }
    }

    /// Its link in `/proc/PID/map_files`.
    pub(crate) fn file(&self, pid: i32) -> String {
        format!("/proc/{pid}/map_files/{:x}-{:x}", self.start, self.end)
    }
}

pub(crate) fn read(pid: i32, detail: Detail) -> Result<Vec<Line>> {
    let file = match detail {
        Detail::Places => "maps",
        Detail::Flags => "smaps",
    };
    parse(&procfs::text(&format!("/proc/{pid}/{file}"))?)
}

/// `lines` with the flags that they had in `before`; none if one of them is
/// new since then.
pub(crate) fn with_flags(mut lines: Vec<Line>, before: &[Line]) -> Option<Vec<Line>> {
    for line in &mut lines {
        line.flags = find(before, line)?.flags.clone();
    }
    Some(lines)
}

/// Whether a mapping has one of `flags` now and had not in `before`, or the
/// other way round.
pub(crate) fn has_changed(before: &[Line], now: &[Line], flags: &[&str]) -> bool {
    now.iter()
        .filter_map(|line| Some((line, find(before, line)?)))
        .any(|(now, before)| flags.iter().any(|flag| now.has(flag) != before.has(flag)))
}

fn find<'a>(lines: &'a [Line], wanted: &Line) -> Option<&'a Line> {
    let place = lines.partition_point(|line| line.start < wanted.start);
    lines.get(place).filter(|line| line.is_like(wanted))
}

fn parse(text: &str) -> Result<Vec<Line>> {
    let mut all: Vec<Line> = Vec::new();
    for line in text.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if let Some(last) = all.last_mut() {
                last.flags = Flags::parse(flags);
            }
        } else if line
            .as_bytes()
            .first()
            .is_some_and(|first| first.is_ascii_digit() || (b'a'..=b'f').contains(first))
        {
            all.push(parse_line(line).ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("unknown mapping {line:?}"))
            })?);
        }
    }
    // The same for everybody, and nobody can take it away.
    all.retain(|line| line.name != "[vsyscall]");
    Ok(all)
}

fn parse_line(line: &str) -> Option<Line> {
    // The name begins at a fixed column, or after five fields.
    let mut rest = line;
    let mut field = || {
        let (first, after) = rest.trim_start().split_once(' ')?;
        rest = after;
        Some(first)
    };
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?.as_bytes();
    let offset = field()?;
    let (major, minor) = field()?.split_once(':')?;
    let rest = rest.trim_start();
    let (inode, name) = rest.split_once(' ').unwrap_or((rest, ""));
    let protection = [(b'r', 1), (b'w', 2), (b'x', 4)]
        .iter()
        .filter(|(letter, _)| permissions.contains(letter))
        .fold(0, |all, (_, bit)| all | bit);
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let number = |text| u32::from_str_radix(text, 16).ok();
    Some(Line {
        start: hex(start)?,
        end: hex(end)?,
        protection,
        is_shared: permissions.get(3) == Some(&b's'),
        offset: hex(offset)?,
        device: (number(major)?, number(minor)?),
        inode: inode.parse().ok()?,
        name: name.trim_start().replace("\\012", "\n"),
        flags: Flags::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_both_listings() {
        let text = "\
7f0000000000-7f0000002000 rw-p 00001000 fe:01 1234   /a b (deleted)
Size:                  8 kB
VmFlags: rd wr mr mw me ac
7ffd00000000-7ffd00021000 r-xs 00000000 00:00 0 
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";
        let lines = parse(text).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].name, "/a b (deleted)");
        assert_eq!((lines[0].protection, lines[0].inode), (3, 1234));
        assert!(lines[0].has("mw") && !lines[0].is_shared);
        assert_eq!((lines[1].protection, lines[1].is_shared), (5, true));
        assert_eq!(lines[1].name, "");
        // Flags from before are good for what is still the same.
        let mut now = lines.clone();
        for line in &mut now {
            line.flags = Flags::default();
        }
        assert_eq!(with_flags(now.clone(), &lines), Some(lines.clone()));
        assert!(has_changed(&lines, &now, &["mw"]) && !has_changed(&lines, &now, &["dc"]));
        now[1].end += 4096;
        assert_eq!(with_flags(now, &lines), None);
    }
}
