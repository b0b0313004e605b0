//! Files and folders that are on disk when the call returns.
//!
//! Invariant: a name that a function here made, moved or removed stays so after a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::Error;

/// Writes a new file with these bytes; its name is durable once its folder is synced.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io(path, "write it"))
}

/// Makes the names in a folder durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io(path, "sync this folder"))
}

/// Creates a folder and those above it, each one durable in its parent.
pub(super) fn create_directory(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_directory(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(path, "create this folder")(error))
        }
        _ => sync_directory(parent),
    }
}

/// Renames within one folder.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io(from, "rename it"))?;
    sync_directory(to.parent().expect("every renamed path lies in a folder"))
}
