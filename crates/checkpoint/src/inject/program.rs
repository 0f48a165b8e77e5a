//! System calls to be made by a tracee, one after the other.

use std::borrow::Cow;
use std::ops::Range;

use sys::{Error, ErrorKind, Result};

/// Bytes of one call, see the parent module.
pub(super) const CALL_SIZE: usize = 64;

/// An argument: a number, or the address of a piece of the program's data.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    Value(u64),
    Data(Place),
}

/// A piece of a program's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) offset: usize,
    pub(super) length: usize,
}

impl Place {
    /// Bytes.
    pub(crate) fn length(self) -> usize {
        self.length
    }
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::Value(value)
    }
}

impl From<i32> for Arg {
    /// Sign-extended, as the C library would.
    fn from(value: i32) -> Self {
        Self::Value(i64::from(value).cast_unsigned())
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Value(u64::from(value))
    }
}

impl From<Place> for Arg {
    fn from(place: Place) -> Self {
        Self::Data(place)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) may_fail: bool,
    pub(super) arguments: [Arg; 6],
    /// For the message if it fails.
    act: Cow<'static, str>,
}

/// The calls and their data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(super) calls: Vec<Call>,
    pub(super) data: Vec<u8>,
    /// Where in the data the address of another piece of it belongs.
    pointers: Vec<(usize, usize)>,
    /// What some of the calls are made for, the narrower first.
    parts: Vec<(Range<usize>, String)>,
}

/// What the calls returned and left in the data.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(super) results: Vec<i64>,
    pub(super) data: Vec<u8>,
    /// Processes and threads that were made, as we see them.
    pub(crate) children: Vec<i32>,
}

impl Program {
    /// Data that the calls read (or change).
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Place {
        // What the kernel wants aligned is aligned.
        self.data.resize(self.data.len().next_multiple_of(16), 0);
        let offset = self.data.len();
        self.data.extend_from_slice(bytes);
        let length = bytes.len();
        Place { offset, length }
    }

    pub(crate) fn data_length(&self) -> usize {
        self.data.len()
    }

    /// Room that the calls write to.
    pub(crate) fn room(&mut self, length: usize) -> Place {
        self.data(&vec![0; length])
    }

    /// A path or another text, with the zero byte at its end.
    pub(crate) fn text(&mut self, text: &[u8]) -> Place {
        let mut bytes = text.to_vec();
        bytes.push(0);
        self.data(&bytes)
    }

    /// Writes the address of `to` at `skip` bytes into `place`.
    pub(crate) fn point(&mut self, place: Place, skip: usize, to: Place) {
        self.pointers.push((place.offset + skip, to.offset));
    }

    /// The data as it is at address `base`.
    pub(super) fn data_at(&self, base: u64) -> Vec<u8> {
        let mut data = self.data.clone();
        for (at, to) in &self.pointers {
            let address = base + *to as u64;
            if let Some(place) = data.get_mut(*at..*at + 8) {
                place.copy_from_slice(&address.to_le_bytes());
            }
        }
        data
    }

    /// Adds calls that are made for one purpose, which is named if one of them
    /// fails.
    pub(crate) fn part<T>(
        &mut self,
        purpose: impl Into<String>,
        add: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let first = self.calls.len();
        let result = add(self);
        self.parts.push((first..self.calls.len(), purpose.into()));
        result
    }

    /// Adds a call that has to succeed; its index.
    pub(crate) fn call(
        &mut self,
        act: impl Into<Cow<'static, str>>,
        number: u32,
        arguments: &[Arg],
    ) -> usize {
        self.add(act.into(), number, arguments, false)
    }

    /// Adds a call that may fail; its index.
    pub(crate) fn attempt(&mut self, number: u32, arguments: &[Arg]) -> usize {
        self.add(Cow::Borrowed(""), number, arguments, true)
    }

    fn add(
        &mut self,
        act: Cow<'static, str>,
        number: u32,
        arguments: &[Arg],
        may_fail: bool,
    ) -> usize {
        let mut all = [Arg::Value(0); 6];
        all[..arguments.len()].copy_from_slice(arguments);
        self.calls.push(Call {
            number,
            may_fail,
            arguments: all,
            act,
        });
        self.calls.len() - 1
    }

    /// The calls as the code inside reads them; `data` is where the data is.
    pub(super) fn encode(calls: &[Call], data: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((calls.len() + 1) * CALL_SIZE);
        for call in calls {
            encode_call(&mut bytes, call.number, call.may_fail, call.arguments, data);
        }
        bytes
    }

    /// The error of the first call that failed and may not, of those from
    /// `first` on that gave `results`.
    pub(super) fn check(&self, first: usize, results: &[i64]) -> Result<()> {
        let calls = self.calls.iter().enumerate().skip(first);
        for ((index, call), result) in calls.zip(results) {
            if (-4095..0).contains(result) && !call.may_fail {
                let errno = i32::try_from(-*result).unwrap_or(0);
                let error = Error::from_errno(errno).wrap(call.act.clone());
                let parts = self.parts.iter();
                return Err(parts
                    .filter(|(calls, _)| calls.contains(&index))
                    .fold(error, |error, (_, purpose)| error.wrap(purpose.clone())));
            }
        }
        Ok(())
    }
}

pub(super) fn encode_call(
    bytes: &mut Vec<u8>,
    number: u32,
    may_fail: bool,
    arguments: [Arg; 6],
    data: u64,
) {
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&u32::from(may_fail).to_le_bytes());
    for argument in arguments {
        let value = match argument {
            Arg::Value(value) => value,
            Arg::Data(place) => data + place.offset as u64,
        };
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&0u64.to_le_bytes());
}

impl Outcome {
    /// What the call with this index returned.
    pub(crate) fn result(&self, index: usize) -> i64 {
        self.results.get(index).copied().unwrap_or(-38)
    }

    pub(crate) fn bytes(&self, place: Place) -> &[u8] {
        self.data
            .get(place.offset..place.offset + place.length)
            .unwrap_or_default()
    }

    /// The `index`th 64-bit number at `place`.
    pub(crate) fn number(&self, place: Place, index: usize) -> u64 {
        number(self.bytes(place), index * 8)
    }

    /// As [`Outcome::result`], an error if it is one.
    pub(crate) fn value(&self, index: usize) -> Result<u64> {
        let result = self.result(index);
        if (-4095..0).contains(&result) {
            return Err(Error::from_errno(i32::try_from(-result).unwrap_or(0)));
        }
        Ok(result.cast_unsigned())
    }
}

/// The 64-bit number at `offset` of `bytes`; 0 beyond the end.
pub(crate) fn number(bytes: &[u8], offset: usize) -> u64 {
    bytes
        .get(offset..offset + 8)
        .and_then(|part| part.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// What is left of `place` after its first `skip` bytes.
pub(crate) fn tail(place: Place, skip: usize) -> Place {
    Place {
        offset: place.offset + skip,
        length: place.length.saturating_sub(skip),
    }
}

pub(super) fn too_large() -> Error {
    Error::new(
        ErrorKind::Internal,
        "a program of system calls is larger than its place",
    )
}
