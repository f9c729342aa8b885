//! Reads a trace, one event at a time.
//!
//! Replay logs quote nothing, so a line splits at its commas. The length of a line is bounded. A file without
//! line ends, or one that decompresses to terabytes, therefore costs no more memory than a correct one.
//! [`Program`](crate::Program) checks whether the events are consistent.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, Read};
use std::path::Path;
use std::time::Duration;

use crate::error::{TraceError, TraceErrorKind};
use crate::event::Event;
use crate::parse::Layout;
use crate::{parse, source};

/// The first line of a replay log.
pub(crate) const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream";
/// The most bytes of one line. The six columns need about 120; others may stand beside them.
const LONGEST_LINE: usize = 4096;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An iterator over the events of a trace. It ends after the first error.
pub struct TraceReader {
    name: String,
    input: Box<dyn BufRead + Send>,
    text: Vec<u8>,
    layout: Layout,
    line: u64,
    /// The time to add to clock times, because midnight has passed during the recording.
    days: Duration,
    last_time: Duration,
    ended: bool,
}

impl TraceReader {
    /// Opens the trace at `path` and checks its header.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, is damaged, or is no replay log.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        let name = path.as_ref().display().to_string();
        match File::open(path) {
            Ok(file) => Self::new(name, file),
            Err(e) => Err(TraceError::new(name, 0, TraceErrorKind::Open(e))),
        }
    }

    /// Reads a trace, compressed or not, from any reader. Errors show `name`.
    ///
    /// # Errors
    /// Returns the errors of [`TraceReader::open`].
    pub fn new(name: impl Into<String>, input: impl Read + Send + 'static) -> Result<Self, TraceError> {
        let name = name.into();
        let input = match source::decoded(input) {
            Ok(input) => input,
            Err(e) => return Err(TraceError::new(name, 0, TraceErrorKind::Open(e))),
        };
        let mut reader = Self {
            name,
            input,
            text: Vec::with_capacity(LONGEST_LINE),
            layout: Layout::default(),
            line: 0,
            days: Duration::ZERO,
            last_time: Duration::ZERO,
            ended: false,
        };
        match reader.check_header() {
            Ok(()) => Ok(reader),
            Err(kind) => Err(reader.error(kind)),
        }
    }

    /// Returns the line of the event read last, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Returns an error about the line read last.
    pub(crate) fn error(&self, kind: TraceErrorKind) -> TraceError {
        TraceError::new(self.name.clone(), self.line, kind)
    }

    fn check_header(&mut self) -> Result<(), TraceErrorKind> {
        match self.read_line() {
            Err(TraceErrorKind::Read(e)) => return Err(TraceErrorKind::Read(e)),
            Ok(false) | Err(_) => {}
            Ok(true) => {
                if let Some(layout) = Layout::of_header(&self.text) {
                    self.layout = layout;
                    return Ok(());
                }
            }
        }
        Err(TraceErrorKind::Header { found: parse::shown(&self.text) })
    }

    /// Reads the next line that is not blank into `text`, without its end. Returns `false` if none is left.
    fn read_line(&mut self) -> Result<bool, TraceErrorKind> {
        loop {
            self.text.clear();
            self.line += 1;
            let mut bounded = (&mut self.input).take(LONGEST_LINE as u64);
            bounded.read_until(b'\n', &mut self.text).map_err(TraceErrorKind::Read)?;
            if self.text.is_empty() {
                return Ok(false);
            }
            if self.text.len() == LONGEST_LINE && !self.text.ends_with(b"\n") {
                return Err(TraceErrorKind::LongLine { limit: LONGEST_LINE });
            }
            let end = self.text.trim_ascii_end().len();
            self.text.truncate(end);
            if end > 0 {
                return Ok(true);
            }
        }
    }

    fn read_event(&mut self) -> Result<Option<Event>, TraceErrorKind> {
        let mut event = loop {
            if !self.read_line()? {
                return Ok(None);
            }
            if let Some(event) = parse::event(&self.text, &self.layout)? {
                break event;
            }
        };
        // The times of several threads may be a little out of order. A step back by half a day or more means
        // that midnight has passed.
        if event.time + self.days + DAY / 2 < self.last_time {
            self.days += DAY;
        }
        event.time += self.days;
        self.last_time = event.time;
        Ok(Some(event))
    }
}

impl Iterator for TraceReader {
    type Item = Result<Event, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let event = self.read_event();
        self.ended = !matches!(event, Ok(Some(_)));
        event.map_err(|kind| self.error(kind)).transpose()
    }
}

impl fmt::Debug for TraceReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceReader")
            .field("name", &self.name)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}
