//! How tars of layers are packed: gzip, zstd or not at all.

use std::io::{BufRead, Read, Write};

use spec::image::LayerCompression;
use sys::{Error, ErrorKind, Result};

use super::gzip::ParallelGzip;

/// Frames that want more memory than this are refused (as `zstd -d` does
/// without `--long`).
const MAX_ZSTD_WINDOW: u32 = 27;
/// The level that others use for layers.
const ZSTD_LEVEL: i32 = 3;

/// How the stream is packed, from its first bytes: media types lie.
pub fn detect(start: &[u8]) -> Result<LayerCompression> {
    let refused = |name: &str| {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{name} compression is not supported (gzip, zstd and plain tar are)"),
        ))
    };
    match start {
        [0x1f, 0x8b, ..] => Ok(LayerCompression::Gzip),
        // A frame, or a skippable one before it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Ok(LayerCompression::Zstd)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => refused("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, ..] => refused("bzip2"),
        _ => Ok(LayerCompression::None),
    }
}

/// Uncompresses whatever `source` is, as far as the stream goes: gzip of
/// several members, zstd of several frames.
pub fn decoder<'a, R: BufRead + 'a>(mut source: R) -> Result<Box<dyn Read + 'a>> {
    let start = source.fill_buf()?;
    Ok(match detect(start)? {
        LayerCompression::None => Box::new(source),
        LayerCompression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        LayerCompression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW)?;
            Box::new(decoder)
        }
    })
}

/// Packs what is written to it, on all processors; the same bytes come out on
/// every machine.
pub struct Compressor<W: Write>(Packing<W>);

enum Packing<W: Write> {
    None(W),
    Gzip(ParallelGzip<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    pub fn new(compression: LayerCompression, sink: W) -> Result<Self> {
        Ok(Self(match compression {
            LayerCompression::None => Packing::None(sink),
            LayerCompression::Gzip => Packing::Gzip(ParallelGzip::new(sink)),
            LayerCompression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
                let threads = std::thread::available_parallelism()
                    .map_or(1, |count| u32::try_from(count.get()).unwrap_or(1).min(16));
                encoder.multithread(threads)?;
                encoder.include_checksum(true)?;
                Packing::Zstd(encoder)
            }
        }))
    }

    /// Ends the stream and gives the sink back.
    pub fn finish(self) -> Result<W> {
        Ok(match self.0 {
            Packing::None(sink) => sink,
            Packing::Gzip(gzip) => gzip.finish()?,
            Packing::Zstd(encoder) => encoder.finish()?,
        })
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.0 {
            Packing::None(sink) => sink.write(bytes),
            Packing::Gzip(gzip) => gzip.write(bytes),
            Packing::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(length: usize) -> Vec<u8> {
        // Compressible, and not periodic.
        let mut state = 1_u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"abcdefgh       \n"[(state >> 28) as usize]
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn reads_back_what_it_packed() {
        for compression in [
            LayerCompression::None,
            LayerCompression::Gzip,
            LayerCompression::Zstd,
        ] {
            for length in [0, 1, 1000, 512 << 10, (512 << 10) + 1, 3_000_000] {
                let plain = sample(length);
                let mut compressor = Compressor::new(compression, Vec::new()).unwrap();
                compressor.write_all(&plain).unwrap();
                let packed = compressor.finish().unwrap();
                if length > 1000 && compression != LayerCompression::None {
                    assert!(packed.len() < length * 3 / 4, "{}", packed.len());
                }
                let mut found = Vec::new();
                decoder(&packed[..])
                    .unwrap()
                    .read_to_end(&mut found)
                    .unwrap();
                assert!(found == plain, "{compression:?} {length}");
            }
        }
    }

    #[test]
    fn takes_several_members_and_frames() {
        for compression in [LayerCompression::Gzip, LayerCompression::Zstd] {
            let mut packed = Vec::new();
            for part in [&b"one "[..], b"two"] {
                let mut compressor = Compressor::new(compression, Vec::new()).unwrap();
                compressor.write_all(part).unwrap();
                packed.extend(compressor.finish().unwrap());
            }
            let mut found = Vec::new();
            decoder(&packed[..])
                .unwrap()
                .read_to_end(&mut found)
                .unwrap();
            assert_eq!(found, b"one two");
            let cut = &packed[..packed.len() - 3];
            assert!(decoder(cut).unwrap().read_to_end(&mut Vec::new()).is_err());
        }
    }

    #[test]
    fn names_what_it_cannot_read() {
        let error = detect(b"\xfd7zXZ\0").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("xz compression is not supported")
        );
    }
}
