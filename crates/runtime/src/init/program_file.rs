//! What is in a file that could not be executed, for the words of the error.
//! The file is the image's: every number in it may be a lie.

use rustix::fs::{CWD, Mode, OFlags, openat};

/// Names longer than this are no paths.
const PATH_MAX: usize = 4096;
/// More program headers than this no linker makes.
const MOST_HEADERS: u64 = 256;

/// The start of an executable file, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProgramFile {
    /// `#!` and the interpreter that it names.
    Script(String),
    /// An ELF file of this machine, with the loader that it names.
    Native {
        loader: Option<String>,
    },
    /// An ELF file of another machine.
    Foreign {
        machine: String,
    },
    Empty,
    Unknown,
}

/// Looks into the file at `path`; `None` if it cannot be read.
pub(crate) fn look(path: &str) -> Option<ProgramFile> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).ok()?;
    let read_at = |offset: u64, length: usize| {
        let mut bytes = vec![0; length];
        let count = rustix::io::pread(&file, &mut bytes, offset).ok()?;
        bytes.truncate(count);
        Some(bytes)
    };
    understand(&read_at)
}

fn understand(read_at: &dyn Fn(u64, usize) -> Option<Vec<u8>>) -> Option<ProgramFile> {
    let start = read_at(0, 256)?;
    if start.is_empty() {
        return Some(ProgramFile::Empty);
    }
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let text = String::from_utf8_lossy(line);
        let interpreter = text.split_whitespace().next().unwrap_or_default();
        return Some(ProgramFile::Script(interpreter.to_owned()));
    }
    if !start.starts_with(b"\x7fELF") || start.len() < 64 {
        return Some(ProgramFile::Unknown);
    }
    let (is_64, is_little) = (start[4] == 2, start[5] == 1);
    let number = |bytes: &[u8]| -> u64 {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if is_little {
            bytes.iter().rev().fold(0, add)
        } else {
            bytes.iter().fold(0, add)
        }
    };
    let machine = number(&start[18..20]);
    if !is_little || !OURS.contains(&machine) {
        let name = MACHINES.iter().find(|(known, _)| *known == machine);
        let name = name.map_or_else(
            || format!("machine {machine}"),
            |(_, name)| (*name).to_owned(),
        );
        return Some(ProgramFile::Foreign { machine: name });
    }
    let (table, size, count) = if is_64 {
        (&start[32..40], &start[54..56], &start[56..58])
    } else {
        (&start[28..32], &start[42..44], &start[44..46])
    };
    let (table, size, count) = (number(table), number(size), number(count));
    for index in 0..count.min(MOST_HEADERS) {
        let header = read_at(table.checked_add(index * size)?, 56)?;
        if header.len() < 32 || number(&header[..4]) != PT_INTERP {
            continue;
        }
        let (offset, length) = if is_64 && header.len() >= 40 {
            (&header[8..16], &header[32..40])
        } else {
            (&header[4..8], &header[16..20])
        };
        let length = usize::try_from(number(length)).ok()?.min(PATH_MAX);
        let name = read_at(number(offset), length)?;
        let name = name.split(|byte| *byte == 0).next()?;
        let loader = Some(String::from_utf8_lossy(name).into_owned());
        return Some(ProgramFile::Native { loader });
    }
    Some(ProgramFile::Native { loader: None })
}

const PT_INTERP: u64 = 3;

/// What this kernel may run; the second is its 32-bit sibling.
const OURS: [u64; 2] = if cfg!(target_arch = "aarch64") {
    [183, 40]
} else {
    [62, 3]
};

/// `EM_*` of elf.h, in the names that images have for them.
const MACHINES: [(u64, &str); 10] = [
    (3, "386"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "amd64"),
    (183, "arm64"),
    (243, "riscv64"),
    (258, "loong64"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8]) -> Option<ProgramFile> {
        understand(&|offset, length| {
            let start = usize::try_from(offset).ok()?.min(bytes.len());
            let end = start.saturating_add(length).min(bytes.len());
            Some(bytes[start..end].to_vec())
        })
    }

    #[test]
    fn names_what_it_finds() {
        assert_eq!(of(b""), Some(ProgramFile::Empty));
        assert_eq!(of(b"echo"), Some(ProgramFile::Unknown));
        let script = ProgramFile::Script("/bin/lua".to_owned());
        assert_eq!(of(b"#! /bin/lua -x\nprint"), Some(script));
        let ours = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(of(&ours), Some(ProgramFile::Native { .. })));
        let mut other = ours;
        other[18] = 243;
        let machine = "riscv64".to_owned();
        assert_eq!(of(&other), Some(ProgramFile::Foreign { machine }));
    }

    proptest! {
        #[test]
        fn lies_do_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for (place, byte) in bytes.iter_mut().zip(b"\x7fELF\x02\x01") {
                *place = *byte;
            }
            if bytes.len() > 20 {
                bytes[18..20].copy_from_slice(&[62, 0]);
            }
            let _ = of(&bytes);
        }
    }
}
