//! The file that `--output` names. It is opened before the work begins, so that a place that cannot be written
//! costs no run, and written when the result is there. It must never be a file that the run reads.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::input;

pub(crate) struct OutputFile {
    path: PathBuf,
    file: File,
    /// Whether the file was not there before, and has nothing in it yet.
    is_empty: bool,
}

impl OutputFile {
    /// Opens the file for writing. `read` are the files that the run reads; the first may be a trace, whose
    /// sidecar it reads, too.
    ///
    /// # Errors
    /// The place cannot be written, or is a file that the run reads.
    pub(crate) fn open(path: &Path, read: &[&Path]) -> Result<Self, Failure> {
        let sidecars: Vec<_> = read.iter().map(|path| input::sidecar_path(path)).collect();
        if let Some(own) = read.iter().copied().find(|own| is_same(own, path)) {
            return Err(Failure::Usage(format!(
                "--output {} would overwrite {}, which this run reads; name another file",
                path.display(),
                own.display()
            )));
        }
        if sidecars.iter().any(|sidecar| is_same(sidecar, path)) {
            return Err(Failure::Usage(format!(
                "--output {} is the place of the trace's sidecar; name another file",
                path.display()
            )));
        }
        let was_there = path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|e| unwritable(path, &e))?;
        Ok(Self { path: path.to_owned(), file, is_empty: !was_there })
    }

    /// Replaces what the file has by `text`.
    ///
    /// # Errors
    /// The text cannot be written.
    pub(crate) fn write(mut self, text: &str) -> Result<(), Failure> {
        // A pipe or a device has no length.
        let _ = self.file.set_len(0);
        let written = writeln!(self.file, "{text}").and_then(|()| self.file.flush());
        written.map_err(|e| unwritable(&self.path, &e))?;
        self.is_empty = false;
        Ok(())
    }
}

impl Drop for OutputFile {
    /// Leaves no empty file behind after a run that failed.
    fn drop(&mut self) {
        if self.is_empty {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!(
        "{}: cannot be written ({error}); check the folder and the space left",
        path.display()
    ))
}

/// Whether two paths name one file, also one that is not there yet.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        path.canonicalize().or_else(|_| {
            Ok::<_, std::io::Error>(folder.canonicalize()?.join(path.file_name().unwrap_or_default()))
        })
    };
    match (place(one), place(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
