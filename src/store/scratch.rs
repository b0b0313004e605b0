//! Tensors set aside for a while on disk, so that they take no memory.
//!
//! Invariant: tensors here are needed only by the one that put them there: nothing is synced, the
//! folder goes with its owner, and one that a crash has left goes when a server next starts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::checkpoint::{read_tensors, write_tensors};
use crate::model::weights::Tensors;
use crate::store::disk::Disk;
use crate::store::error::{Error, Malformed};
use crate::store::regular;

/// The prefix of the names of such folders.
const SCRATCH: &str = ".scratch-";

/// A folder of its own, which is there from the first tensors until this is dropped.
#[derive(Debug)]
pub(crate) struct ScratchFolder {
    disk: Disk,
    folder: PathBuf,
}

impl ScratchFolder {
    /// Makes nothing yet; `parent` is the folder that it is made in.
    pub(crate) fn new(disk: &Disk, parent: &Path) -> ScratchFolder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Relaxed));
        ScratchFolder {
            disk: disk.clone(),
            folder: parent.join(format!("{SCRATCH}{process}-{count}")),
        }
    }

    /// Sets tensors aside under a name; they are given up one by one. A file that an attempt which failed has
    /// left there is replaced.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused. [`Error::Checkpoint`]: these are not tensors that a
    /// checkpoint can hold.
    pub(crate) fn put(&self, name: &str, tensors: Tensors) -> Result<(), Error> {
        self.disk.create_folder(&self.folder)?;
        let path = self.folder.join(name);
        let failed = |error| Error::io(&path, "write it")(error);
        self.disk.discard(&path)?;
        self.disk.create(&path).map_err(failed)?;
        let file = self.disk.open(&path).map_err(failed)?;
        let mut end = 0;
        for one in tensors.0 {
            let bytes = write_tensors(&Tensors(BTreeMap::from([one])));
            let bytes = bytes.map_err(refused(&path))?;
            let length = (bytes.len() as u64).to_le_bytes();
            file.write_at(end, &length).map_err(failed)?;
            file.write_at(end + 8, &bytes).map_err(failed)?;
            end += 8 + bytes.len() as u64;
        }
        Ok(())
    }

    /// The tensors that were set aside under a name, of which one at a time is held twice.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused. [`Error::Checkpoint`]: the file differs from the written one.
    pub(crate) fn get(&self, name: &str) -> Result<Tensors, Error> {
        let path = self.folder.join(name);
        let failed = |error| Error::io(&path, "read it")(error);
        let mut file = regular::open(&self.folder, &path).map_err(failed)?;
        let mut left = file.metadata().map_err(failed)?.len();
        let mut tensors = Tensors::default();
        while left > 0 {
            let mut length = [0; 8];
            file.read_exact(&mut length).map_err(failed)?;
            let length = u64::from_le_bytes(length);
            left = left
                .checked_sub(8)
                .and_then(|left| left.checked_sub(length))
                .ok_or_else(|| {
                    let what = format!("a tensor of {length} bytes, of which {left} are there");
                    refused(&path)(Malformed(what))
                })?;
            let mut bytes = vec![0; length as usize];
            file.read_exact(&mut bytes).map_err(failed)?;
            let read = read_tensors(&bytes).map_err(refused(&path))?;
            tensors.0.extend(read.0);
        }
        Ok(tensors)
    }

    /// Removes the state that was set aside under a name.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        self.disk.discard(&self.folder.join(name))
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // A folder that stays is removed at the next start of a server.
        let _ = self.disk.remove_folder(&self.folder);
    }
}

/// Removes the folders that a crash has left in `parent`, which no other process may have open.
///
/// # Errors
/// [`Error::Io`]: the disk refused.
pub(crate) fn sweep(disk: &Disk, parent: &Path) -> Result<(), Error> {
    if !parent.exists() {
        return Ok(());
    }
    let failed = |error| Error::io(parent, "list it")(error);
    for entry in fs::read_dir(parent).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            disk.remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

fn refused(path: &Path) -> impl Fn(Malformed) -> Error {
    let path = path.to_owned();
    move |malformed| Error::Checkpoint {
        path: path.clone(),
        malformed,
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    fn tensors() -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_f32("0.weight", &[2, 2], vec![1.0, f32::NAN, -0.0, 4.0]);
        tensors.put_u64("count", &[1], vec![7]);
        tensors.put_u8("text", &[0], Vec::new());
        tensors
    }

    #[test]
    fn what_was_set_aside_is_there_until_its_owner_goes() {
        let dir = tempdir().unwrap();
        let (one, other) = (
            ScratchFolder::new(&Disk::default(), dir.path()),
            ScratchFolder::new(&Disk::default(), dir.path()),
        );
        let n_folders = || fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(n_folders(), 0);
        one.put("a", tensors()).unwrap();
        // In place of one that was cut off.
        fs::write(one.folder.join("b"), [1, 2, 3]).unwrap();
        one.put("b", Tensors::default()).unwrap();
        other.put("a", Tensors::default()).unwrap();
        assert_eq!(one.get("a").unwrap().digest(), tensors().digest());
        assert_eq!(one.get("b").unwrap(), Tensors::default());
        one.remove("a").unwrap();
        assert!(one.get("a").is_err());
        assert_eq!(n_folders(), 2);
        drop(one);
        assert_eq!(n_folders(), 1);
        // As a crash leaves the other.
        std::mem::forget(other);
        fs::create_dir(dir.path().join("journal")).unwrap();
        sweep(&Disk::default(), dir.path()).unwrap();
        assert_eq!(n_folders(), 1);
        assert!(dir.path().join("journal").exists());
        sweep(&Disk::default(), &dir.path().join("nowhere")).unwrap();
    }

    #[test]
    fn a_file_that_was_cut_is_refused() {
        let dir = tempdir().unwrap();
        let scratch = ScratchFolder::new(&Disk::default(), dir.path());
        scratch.put("a", tensors()).unwrap();
        let path = scratch.folder.join("a");
        let bytes = fs::read(&path).unwrap();
        let mut n_refused = 0;
        for end in 1..bytes.len() {
            fs::write(&path, &bytes[..end]).unwrap();
            match scratch.get("a") {
                Ok(read) => assert!(read.0.len() < tensors().0.len(), "cut at {end}"),
                Err(_) => n_refused += 1,
            }
        }
        assert!(n_refused >= bytes.len() - 3, "{n_refused}");
    }
}
