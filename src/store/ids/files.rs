//! The files of the feedback ids: each is replaced whole.
//!
//! Invariant: under its name a file is the old or the new one, never a part.

use std::path::Path;

use crate::store::disk::Disk;
use crate::store::error::Error;

/// Replaces the file under this name in one step.
pub(super) fn replace(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    if partial.exists() {
        disk.remove(&partial)?;
    }
    disk.write_file(&partial, bytes)?;
    disk.rename(&partial, path)
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().expect("a file of ids lies in their folder")
}

pub(super) fn damaged(path: &Path, what: &str) -> Error {
    let what = format!(
        "{what}; restore the folder of feedback ids from a copy, or remove it: then those that the \
         journal still holds are known"
    );
    Error::foreign(path, what)
}
