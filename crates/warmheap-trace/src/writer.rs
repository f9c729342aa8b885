//! Writes a trace.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use warmheap::fork::Process;

use crate::error::{TraceError, TraceErrorKind};
use crate::event::Event;
use crate::reader::HEADER;

/// The bytes of text that the writer collects for one zstd frame.
const FRAME: usize = 1 << 20;

/// Writes a trace to a file. The ending of the name decides on compression: `.gz`, `.zst`, or none.
///
/// [`TraceWriter::finish`] ends the file. Without it, the text that is not written yet is lost.
///
/// A file has one writer at a time, also among processes, where the file system has locks.
pub struct TraceWriter {
    name: String,
    sink: Sink,
    lines: u64,
    // This field is dropped last, so that all text is written before another writer may begin.
    _lock: Lock,
}

/// Keeps other writers from a file until it is dropped. Devices and pipes have no lock.
struct Lock {
    file: Option<File>,
    process: Process,
}

type Output = BufWriter<File>;

enum Sink {
    Plain(Output),
    Gzip(BufWriter<GzEncoder<Output>>),
    Zstd { held: Vec<u8>, output: Output },
}

impl TraceWriter {
    /// Creates the file at `path`, or empties it, and writes the header.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created or written, and [`TraceErrorKind::InUse`] if another
    /// writer has it. The file is as it was then.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let (file, lock) = match open(path) {
            Ok((file, lock)) => (BufWriter::new(file), lock),
            Err(kind) => return Err(TraceError::new(name, 0, kind)),
        };
        let sink = match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => Sink::Gzip(BufWriter::new(GzEncoder::new(file, Compression::default()))),
            Some("zst") => Sink::Zstd { held: Vec::with_capacity(FRAME), output: file },
            _ => Sink::Plain(file),
        };
        let mut writer = Self { name, sink, lines: 0, _lock: lock };
        writer.line(format_args!("{HEADER}"))?;
        Ok(writer)
    }

    /// Appends an event.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write(&mut self, event: &Event) -> Result<(), TraceError> {
        self.line(format_args!(
            "{},{:.6},{},{:#x},{},{}",
            event.thread,
            event.time.as_secs_f64(),
            event.action.as_str(),
            event.pointer,
            event.size,
            event.stream
        ))
    }

    /// Writes the remaining text and ends the file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn finish(mut self) -> Result<(), TraceError> {
        let done = match &mut self.sink {
            Sink::Plain(output) => output.flush(),
            Sink::Gzip(output) => output
                .flush()
                .and_then(|()| output.get_mut().try_finish())
                .and_then(|()| output.get_mut().get_mut().flush()),
            Sink::Zstd { held, output } => frame(held, output).and_then(|()| output.flush()),
        };
        done.map_err(|e| self.error(e))
    }

    fn line(&mut self, text: fmt::Arguments<'_>) -> Result<(), TraceError> {
        let done = match &mut self.sink {
            Sink::Plain(output) => writeln!(output, "{text}"),
            Sink::Gzip(output) => writeln!(output, "{text}"),
            Sink::Zstd { held, output } => writeln!(held, "{text}").and_then(|()| {
                if held.len() < FRAME {
                    return Ok(());
                }
                frame(held, output)
            }),
        };
        self.lines += 1;
        done.map_err(|e| self.error(e))
    }

    fn error(&self, error: io::Error) -> TraceError {
        TraceError::new(self.name.clone(), self.lines, TraceErrorKind::Write(error))
    }
}

/// Opens a file for one writer and empties it.
fn open(path: &Path) -> Result<(File, Lock), TraceErrorKind> {
    let process = Process::current();
    let failed = TraceErrorKind::Write;
    let file = File::options().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Ok((file, Lock { file: None, process }));
    }
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(TraceErrorKind::InUse),
        // Some file systems have no locks.
        Err(TryLockError::Error(_)) | Ok(()) => {}
    }
    let lock = Lock { file: Some(file.try_clone().map_err(failed)?), process };
    file.set_len(0).map_err(failed)?;
    Ok((file, lock))
}

impl Drop for Lock {
    /// Unlocks the file, which the child of a fork may have open, too. The child leaves the lock alone.
    fn drop(&mut self) {
        if let Some(file) = self.file.take().filter(|_| self.process.is_current()) {
            let _ = file.unlock();
        }
    }
}

/// Writes `held` as one zstd frame. A file may have any number of frames.
fn frame(held: &mut Vec<u8>, output: &mut Output) -> io::Result<()> {
    output.write_all(&compress_to_vec(held.as_slice(), CompressionLevel::Fastest))?;
    held.clear();
    Ok(())
}

impl fmt::Debug for TraceWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceWriter")
            .field("name", &self.name)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}
