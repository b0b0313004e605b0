//! The one way in which this room changes files and folders.
//!
//! Invariant: every change passes [`Disk`], so that a test can watch it, refuse it, or keep it from
//! happening; a name that a function here made, moved or removed stays so after a power cut, once
//! the function for that has returned.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::error::Error;
use crate::store::regular;

/// Journals hold rows, and states are learned from them: only their owner reads them.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A change that is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskChange<'a> {
    /// A new, empty file.
    Create(&'a Path),
    /// Bytes of a file, from an offset on.
    Write(&'a Path, u64, &'a [u8]),
    /// The length of a file.
    Truncate(&'a Path, u64),
    /// A file's bytes become durable.
    Sync(&'a Path),
    /// A new folder.
    CreateFolder(&'a Path),
    /// The names in a folder become durable.
    SyncFolder(&'a Path),
    /// A name, within one folder.
    Rename(&'a Path, &'a Path),
    /// A file goes.
    Remove(&'a Path),
    /// A folder goes, with all in it.
    RemoveFolder(&'a Path),
}

/// The outcome of a change, as a test decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// The change is made.
    Make,
    /// The change is not made, and reported as made.
    Pretend,
}

type DiskWatcher = dyn Fn(DiskChange) -> io::Result<ChangeOutcome> + Send + Sync;

/// The disk, or the disk with an observer that sees each change first.
#[derive(Clone, Default)]
pub struct Disk {
    watch: Option<Arc<DiskWatcher>>,
}

impl Disk {
    /// A disk for tests: each change is made, pretended or refused by `watch`.
    pub fn watched(
        watch: impl Fn(DiskChange) -> io::Result<ChangeOutcome> + Send + Sync + 'static,
    ) -> Disk {
        Disk {
            watch: Some(Arc::new(watch)),
        }
    }

    /// True if a change is to be made, false if it is to be pretended.
    fn makes(&self, change: DiskChange) -> io::Result<bool> {
        match &self.watch {
            None => Ok(true),
            Some(watch) => Ok(watch(change)? == ChangeOutcome::Make),
        }
    }

    fn make(&self, change: DiskChange, make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.makes(change)? { make() } else { Ok(()) }
    }

    /// Opens a file for writing.
    pub(super) fn open(&self, path: &Path) -> io::Result<OpenFile> {
        Ok(OpenFile {
            file: regular::open_for_writing(folder_of(path), path)?,
            path: path.to_owned(),
            disk: self.clone(),
        })
    }

    /// Writes a new file with these bytes; its name is durable once its folder is synced.
    pub(super) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            self.create(path)?;
            let file = self.open(path)?;
            file.write_at(0, bytes)?;
            file.sync()
        };
        write().map_err(Error::io(path, "write it"))
    }

    /// Makes an empty file where there is none.
    pub(super) fn create(&self, path: &Path) -> io::Result<()> {
        self.make(DiskChange::Create(path), || {
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(FILE_MODE);
            options.open(path).map(drop)
        })
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder(&self, path: &Path) -> Result<(), Error> {
        self.make(DiskChange::SyncFolder(path), || {
            File::open(path)?.sync_all()
        })
        .map_err(Error::io(path, "sync this folder"))
    }

    /// Creates a folder and those above it, each one durable in its parent.
    pub(super) fn create_folder(&self, path: &Path) -> Result<(), Error> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        self.create_folder(parent)?;
        let create = || DirBuilder::new().mode(FOLDER_MODE).create(path);
        match self.make(DiskChange::CreateFolder(path), create) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(Error::io(path, "create this folder")(error))
            }
            _ => self.sync_folder(parent),
        }
    }

    /// Renames within one folder, durably.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.make(DiskChange::Rename(from, to), || fs::rename(from, to))
            .map_err(Error::io(from, "rename it"))?;
        self.sync_folder(folder_of(to))
    }

    /// Removes a file, durably; one that is not there stays so.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        let removed = self.make(DiskChange::Remove(path), || fs::remove_file(path));
        unless_gone(removed).map_err(Error::io(path, "remove it"))?;
        self.sync_folder(folder_of(path))
    }

    /// Removes a file; a crash may bring it back.
    pub(super) fn discard(&self, path: &Path) -> Result<(), Error> {
        let removed = self.make(DiskChange::Remove(path), || fs::remove_file(path));
        unless_gone(removed).map_err(Error::io(path, "remove it"))
    }

    /// Removes a folder and all in it; a crash may leave some of it.
    pub(super) fn remove_folder(&self, path: &Path) -> Result<(), Error> {
        if !path.exists() {
            return Ok(());
        }
        let removed = self.make(DiskChange::RemoveFolder(path), || fs::remove_dir_all(path));
        unless_gone(removed).map_err(Error::io(path, "remove it"))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.watch {
            None => "Disk",
            Some(_) => "Disk, watched",
        })
    }
}

/// A file that is open for writing.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    path: PathBuf,
    disk: Disk,
}

impl OpenFile {
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk
            .make(DiskChange::Write(&self.path, offset, bytes), || {
                self.file.write_all_at(bytes, offset)
            })
    }

    pub(super) fn truncate(&self, n_bytes: u64) -> io::Result<()> {
        self.disk
            .make(DiskChange::Truncate(&self.path, n_bytes), || {
                self.file.set_len(n_bytes)
            })
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.disk
            .make(DiskChange::Sync(&self.path), || self.file.sync_data())
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().expect("what is changed lies in a folder")
}

fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Mutex;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn names_are_synced_after_every_change() {
        let dir = tempdir().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let disk = Disk::watched(move |change| {
            log.lock().unwrap().push(match change {
                DiskChange::Create(_) => "create",
                DiskChange::Write(..) => "write",
                DiskChange::Truncate(..) => "truncate",
                DiskChange::Sync(_) => "sync",
                DiskChange::CreateFolder(_) => "create folder",
                DiskChange::SyncFolder(_) => "sync folder",
                DiskChange::Rename(..) => "rename",
                DiskChange::Remove(_) => "remove",
                DiskChange::RemoveFolder(_) => "remove folder",
            });
            Ok(ChangeOutcome::Make)
        });
        let did = || std::mem::take(&mut *seen.lock().unwrap());
        let folder = dir.path().join("a");
        let (one, other) = (folder.join("one"), folder.join("other"));
        disk.create_folder(&folder).unwrap();
        assert_eq!(did(), ["create folder", "sync folder"]);
        disk.create_folder(&folder).unwrap();
        assert!(did().is_empty());
        disk.write_file(&one, b"bytes").unwrap();
        assert_eq!(did(), ["create", "write", "sync"]);
        disk.rename(&one, &other).unwrap();
        assert_eq!(did(), ["rename", "sync folder"]);
        disk.remove(&other).unwrap();
        assert_eq!(did(), ["remove", "sync folder"]);
        disk.remove(&other).unwrap();
        assert_eq!(did(), ["remove", "sync folder"]);
        disk.remove_folder(&folder).unwrap();
        assert_eq!(did(), ["remove folder"]);
        disk.remove_folder(&folder).unwrap();
        assert!(did().is_empty());
    }

    #[test]
    fn p8_only_their_owner_reads_files_and_folders() {
        let dir = tempdir().unwrap();
        let folder = dir.path().join("above/folder");
        let file = folder.join("file");
        let disk = Disk::default();
        disk.create_folder(&folder).unwrap();
        disk.write_file(&file, b"bytes").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let modes = [mode(folder.parent().unwrap()), mode(&folder), mode(&file)];
        assert_eq!(modes, [FOLDER_MODE, FOLDER_MODE, FILE_MODE]);
    }

    #[test]
    fn what_is_refused_or_pretended_is_not_done() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("file");
        let full = Disk::watched(|_| Err(ErrorKind::StorageFull.into()));
        let error = full.write_file(&path, b"bytes").unwrap_err().to_string();
        assert!(error.contains("cannot write it"), "{error}");
        let none = Disk::watched(|_| Ok(ChangeOutcome::Pretend));
        none.create(&path).unwrap();
        assert!(!path.exists());
    }
}
