//! Files that a command writes. A file is written beside its place and renamed when it is whole, so that a run
//! which is interrupted or fails leaves what was there before. A place that cannot be written is found out
//! before the work begins, so that it costs no run. The file must never be one that the run reads.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::failure::Failure;
use crate::input;

/// A place that can be written.
pub(crate) struct OutputFile {
    path: PathBuf,
    place: Place,
}

enum Place {
    /// A file, which may be there already: links are followed.
    File(PathBuf),
    /// A pipe or a device, which cannot be renamed.
    Stream(File),
}

impl OutputFile {
    /// Finds out whether the place that `--output` names can be written. `read` are the files that the run
    /// reads; the first may be a trace, whose sidecar it reads, too.
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
        if path == Path::new("-") {
            let words = "--output - is no file; standard output has the result with --json";
            return Err(Failure::Usage(words.to_owned()));
        }
        if sidecars.iter().any(|sidecar| is_same(sidecar, path)) {
            return Err(Failure::Usage(format!(
                "--output {} is the place of the trace's sidecar; name another file",
                path.display()
            )));
        }
        Self::at(path)
    }

    /// Finds out whether a file can be written.
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn at(path: &Path) -> Result<Self, Failure> {
        let place = Self::place(path).map_err(|e| unwritable(path, &e))?;
        Ok(Self { path: path.to_owned(), place })
    }

    fn place(path: &Path) -> io::Result<Place> {
        let Ok(there) = path.metadata() else {
            beside(path)?;
            return Ok(Place::File(path.to_owned()));
        };
        // A folder, and a file that must not be written, are errors here.
        let file = OpenOptions::new().write(true).open(path)?;
        if !there.is_file() {
            return Ok(Place::Stream(file));
        }
        let path = path.canonicalize()?;
        beside(&path)?;
        Ok(Place::File(path))
    }

    /// Replaces what the file has by `text`.
    ///
    /// # Errors
    /// The text cannot be written. The file is as it was then.
    pub(crate) fn write(self, text: &[u8]) -> Result<(), Failure> {
        let written = match self.place {
            Place::Stream(mut file) => file.write_all(text).and_then(|()| file.flush()),
            Place::File(path) => replace(&path, text),
        };
        written.map_err(|e| unwritable(&self.path, &e))
    }
}

/// Makes an empty file beside `path`, which goes when it is dropped.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = Builder::new();
    let builder = builder.prefix(".warmheap-").suffix(".tmp");
    let permissions = fs::metadata(path).map(|there| there.permissions()).ok().or_else(usual);
    match permissions {
        Some(permissions) => builder.permissions(permissions).tempfile_in(folder),
        None => builder.tempfile_in(folder),
    }
}

/// The permissions of a new file, of which the system takes what the user masks.
#[cfg(unix)]
fn usual() -> Option<Permissions> {
    Some(std::os::unix::fs::PermissionsExt::from_mode(0o666))
}

#[cfg(not(unix))]
fn usual() -> Option<Permissions> {
    None
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = beside(path)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    // An error with words of its own is of the file beside `path`, which the user does not know.
    let why = if error.get_ref().is_some() { error.kind().to_string() } else { error.to_string() };
    Failure::Failed(format!(
        "{}: cannot be written ({why}); check the folder and the space left",
        path.display()
    ))
}

/// Whether two paths name one file, also one that is not there yet.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        path.canonicalize().or_else(|_| {
            Ok::<_, io::Error>(folder.canonicalize()?.join(path.file_name().unwrap_or_default()))
        })
    };
    match (place(one), place(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
