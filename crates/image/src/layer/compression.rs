//! How tars of layers are packed: gzip, zstd or not at all.

use std::io::{BufRead, Read};

use spec::image::LayerCompression;
use sys::{Error, ErrorKind, Result};

/// Frames that want more memory than this are refused (as `zstd -d` does
/// without `--long`).
const MAX_ZSTD_WINDOW: u32 = 27;

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
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(LayerCompression::Zstd),
        // A skippable frame may come first.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(LayerCompression::Zstd),
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
