//! Files that a command writes. A file is written beside its place and renamed when it is whole, so that a run
//! which is interrupted or fails leaves what was there before. A file that a rename would change in other ways is
//! written in its place. A place that cannot be written is found out before the work begins, so that it costs no
//! run. The file must never be one that the run reads.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
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
    /// A file, which may be there already. A rename replaces it.
    File(PathBuf),
    /// A file in a folder that cannot be written, of another user, or with several names.
    Direct(PathBuf),
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
        if path == Path::new("-") {
            let words = "--output - is no file; standard output has the result with --json";
            return Err(Failure::Usage(words.to_owned()));
        }
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
        let path = &followed(path)?;
        let there = match path.metadata() {
            Ok(there) => there,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return new_file(path),
            Err(e) => return Err(e),
        };
        // A folder, and a file that must not be written, are errors here.
        let file = OpenOptions::new().write(true).open(path)?;
        if !there.is_file() {
            return Ok(Place::Stream(file));
        }
        if ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder)) {
            let words = "it is an open file of a process; standard output has the result with --json";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let path = path.canonicalize()?;
        match beside(&path) {
            Ok(beside) if is_like(&beside.as_file().metadata()?, &there) => Ok(Place::File(path)),
            _ => Ok(Place::Direct(path)),
        }
    }

    /// Replaces what the file has by `text`.
    ///
    /// # Errors
    /// The text cannot be written. The file is as it was then, unless it had to be written in its place.
    pub(crate) fn write(self, text: &[u8]) -> Result<(), Failure> {
        let written = match self.place {
            Place::Stream(mut file) => file.write_all(text).and_then(|()| file.flush()),
            // Some files can be written and not replaced: one that is mounted, for example.
            Place::File(path) => replace(&path, text).or_else(|e| match path.exists() {
                true => in_place(&path, text),
                false => Err(e),
            }),
            Place::Direct(path) => in_place(&path, text),
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
    // The user's mask has shortened the mode that the file had before.
    if let Ok(there) = fs::metadata(path) {
        file.as_file().set_permissions(there.permissions())?;
    }
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

fn in_place(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Returns the file that links lead to, also one that is not there yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) if !path.exists() => path = path.parent().unwrap_or(Path::new("")).join(target),
            _ => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

/// Finds out whether a file of this name can be made.
fn new_file(path: &Path) -> io::Result<Place> {
    OpenOptions::new().write(true).create_new(true).open(path)?;
    fs::remove_file(path)?;
    beside(path)?;
    Ok(Place::File(path.to_owned()))
}

/// Whether a rename of the one file over the other keeps the owner, and parts the other from no name.
#[cfg(unix)]
fn is_like(new: &Metadata, there: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    there.nlink() == 1 && (new.uid(), new.gid()) == (there.uid(), there.gid())
}

#[cfg(not(unix))]
fn is_like(_: &Metadata, _: &Metadata) -> bool {
    true
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    // An error around another names the file beside `path`, which the user does not know.
    let mut why = error.to_string();
    let mut inner = error.get_ref().and_then(|inner| inner.source());
    while let Some(error) = inner {
        why = error.to_string();
        inner = error.source();
    }
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
