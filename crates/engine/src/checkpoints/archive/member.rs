//! One member of an archive after the other, each with its digest.

use std::io::{BufRead, Read};

use image::digest::Hasher;
use image::layer::tar::{EntryKind, Reader};
use spec::{Algorithm, Digest};
use sys::{Error, ErrorKind, Result};

use super::Sums;

/// An archive that is being read.
pub(super) struct Members<R> {
    tar: Reader<R>,
    /// Of what was read to its end.
    pub(super) sums: Sums,
    read: u64,
}

/// The content of one member.
pub(super) struct Member<'a, R> {
    tar: &'a mut Reader<R>,
    hasher: Hasher,
    /// Of the last chunk, what is not given out yet.
    rest: Vec<u8>,
    given: usize,
    position: u64,
    size: u64,
    total: &'a mut u64,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            tar: Reader::new(source),
            sums: Sums::new(),
            read: 0,
        }
    }

    /// Bytes of members so far.
    pub(super) fn bytes(&self) -> u64 {
        self.read
    }

    /// Reads the next member, which has to be `name` and no larger than
    /// `limit`, to its end.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        limit: u64,
        read: impl FnOnce(&mut Member<'_, R>) -> Result<T>,
    ) -> Result<T> {
        let entry = self.tar.next_entry()?.ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                format!("the archive ends before {name}"),
            )
        })?;
        if entry.path != name.as_bytes() || entry.kind != EntryKind::File {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the archive has {:?} where {name} belongs",
                    String::from_utf8_lossy(&entry.path)
                        .chars()
                        .take(80)
                        .collect::<String>()
                ),
            ));
        }
        if entry.size > limit {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{name} is larger than such a thing can be"),
            ));
        }
        let mut member = Member {
            tar: &mut self.tar,
            hasher: Hasher::new(Algorithm::Sha256),
            rest: Vec::new(),
            given: 0,
            position: 0,
            size: entry.size,
            total: &mut self.read,
        };
        let result = read(&mut member).map_err(|error| error.wrap(format!("read {name}")))?;
        let digest = member.finish(name)?;
        self.sums.insert(name.to_owned(), digest);
        Ok(result)
    }

    /// The next member, which has to be `name`: JSON, and small.
    pub(super) fn document<T: serde::de::DeserializeOwned>(
        &mut self,
        name: &str,
        limit: u64,
    ) -> Result<T> {
        self.take(name, limit, |member| {
            let mut text = Vec::new();
            member.read_to_end(&mut text)?;
            serde_json::from_slice(&text)
                .map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
        })
    }
}

impl<R: BufRead> Member<'_, R> {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Reads what nobody wanted.
    fn finish(mut self, name: &str) -> Result<Digest> {
        std::io::copy(&mut self, &mut std::io::sink())?;
        if self.position != self.size {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{name} is not as long as the archive says"),
            ));
        }
        Ok(self.hasher.finish())
    }

    fn next(&mut self) -> Result<()> {
        self.rest.clear();
        self.given = 0;
        if let Some(chunk) = self.tar.next_chunk()? {
            if chunk.offset != self.position {
                return Err(Error::new(ErrorKind::Corrupt, "it has holes"));
            }
            self.hasher.update(chunk.bytes);
            self.rest.extend_from_slice(chunk.bytes);
            self.position += chunk.bytes.len() as u64;
            *self.total += chunk.bytes.len() as u64;
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Member<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.given == self.rest.len() {
            self.next().map_err(std::io::Error::other)?;
        }
        let length = buffer.len().min(self.rest.len() - self.given);
        buffer[..length].copy_from_slice(&self.rest[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}
