//! Reads trace files: plain, gzip or zstd.
//!
//! The first bytes of the file decide on the format, not the name, so a renamed file still reads. Text
//! streams through buffers of fixed size, so memory is bounded whatever the file claims.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const BUFFER: usize = 1 << 16;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Returns the text in `input`, decompressed if necessary.
pub(crate) fn decoded(input: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let head = input.fill_buf()?;
    Ok(if head.starts_with(&GZIP_MAGIC) {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input)))
    } else if head.starts_with(&ZSTD_MAGIC) {
        let frames = ZstdFrames { input, decoder: FrameDecoder::new(), inside: false };
        Box::new(BufReader::with_capacity(BUFFER, frames))
    } else {
        Box::new(input)
    })
}

/// Reads all frames of a zstd stream as one text. The library decodes one frame at a time.
struct ZstdFrames<R> {
    input: R,
    decoder: FrameDecoder,
    inside: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    fn begin_frame(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.input) {
            Ok(()) => self.inside = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let mut skipped = (&mut self.input).take(u64::from(length));
                io::copy(&mut skipped, &mut io::sink())?;
            }
            Err(e) => return Err(damaged(e)),
        }
        Ok(())
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.inside = false;
        let recorded = self.decoder.get_checksum_from_data();
        if recorded.is_some() && recorded != self.decoder.get_calculated_checksum() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum does not match"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside {
                if self.input.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin_frame()?;
                continue;
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(damaged)?;
            }
            let count = self.decoder.read(out)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            if self.decoder.is_finished() {
                self.end_frame()?;
            }
        }
    }
}

/// Returns the error of a stream that ends early or has wrong bytes. The library's words are those of its own
/// parts, so the reader gets the first reason beneath them.
fn damaged(error: impl Error + 'static) -> io::Error {
    let mut reason = error.source();
    let mut ends_early = false;
    while let Some(error) = reason {
        let io = error.downcast_ref::<io::Error>();
        ends_early |= io.is_some_and(|e| e.kind() == io::ErrorKind::UnexpectedEof);
        reason = error.source();
    }
    let words =
        if ends_early { "the compressed data ends early" } else { "the compressed data has wrong bytes" };
    io::Error::new(io::ErrorKind::InvalidData, words)
}
