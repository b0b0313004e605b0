//! The data directory: one folder for each model, and a lock.
//!
//! Invariant: while it is open for serving, no other process reads or writes below it; once its
//! owner has ended, in whatever way, nothing else holds the lock.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::store::disk::Disk;
use crate::store::error::Error;
use crate::store::regular;

const LOCK: &str = "LOCK";
/// The name of no model begins so.
const DELIVERY_QUEUE: &str = "_webhook.queue";

/// An open data directory; the lock is held as long as this lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    disk: Disk,
    _lock: Lock,
}

/// A lock on a file that ends with its owner.
///
/// A process that is started meanwhile has the same open file until it runs its own program, and
/// closing ours would leave the lock to it: so the lock is given up, not only closed.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Where that fails it ends with the last descriptor, as ever.
        let _ = self.0.unlock();
    }
}

impl Directory {
    /// Opens the directory for serving, and creates it where there is none.
    ///
    /// # Errors
    /// [`Error::Locked`]: another process has it open. [`Error::Io`]: it cannot be created.
    pub fn open(path: &Path) -> Result<Directory, Error> {
        Directory::open_on(path, Disk::default())
    }

    /// Opens the directory on a disk that a test watches.
    ///
    /// # Errors
    /// As [`open`](Directory::open).
    #[doc(hidden)]
    pub fn open_on(path: &Path, disk: Disk) -> Result<Directory, Error> {
        disk.create_folder(path)?;
        let lock_path = path.join(LOCK);
        match disk.create(&lock_path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io(&lock_path, "create it")(error));
            }
            Err(_) => {}
            Ok(()) => disk.sync_folder(path)?,
        }
        let file = regular::open_for_writing(path, &lock_path);
        let file = file.map_err(Error::io(&lock_path, "open it"))?;
        let taken = file.try_lock();
        Directory::locked(path, disk, file, taken)
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk that everything below it is changed through.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Opens an existing directory read-only; others may do so at the same time.
    ///
    /// # Errors
    /// [`Error::Locked`]: a server has it open. [`Error::Foreign`]: it is no data directory.
    pub fn inspect(path: &Path) -> Result<Directory, Error> {
        let lock_path = path.join(LOCK);
        let file = regular::open(path, &lock_path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let what = "no data directory: it has no file LOCK; \
                            if it is a copy of one, create an empty LOCK";
                Error::foreign(path, what)
            }
            _ => Error::io(&lock_path, "open it")(error),
        })?;
        let taken = file.try_lock_shared();
        Directory::locked(path, Disk::default(), file, taken)
    }

    fn locked(
        path: &Path,
        disk: Disk,
        file: File,
        taken: Result<(), TryLockError>,
    ) -> Result<Directory, Error> {
        match taken {
            Ok(()) => Ok(Directory {
                path: path.to_owned(),
                disk,
                _lock: Lock(file),
            }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: path.join(LOCK),
            }),
            Err(TryLockError::Error(error)) => Err(Error::io(&path.join(LOCK), "lock it")(error)),
        }
    }

    /// The file of the events that a webhook is still to be sent.
    pub(crate) fn delivery_queue(&self) -> PathBuf {
        self.path.join(DELIVERY_QUEUE)
    }

    /// The folder of a model, which holds all that is kept of it.
    pub fn model(&self, model: &str) -> PathBuf {
        self.path.join(model)
    }

    /// The folder of a model's journal. The name is one that a description may have.
    pub fn journal(&self, model: &str) -> PathBuf {
        self.path.join(model).join("journal")
    }

    /// The folder of a model's feedback ids of the last day.
    pub fn ids(&self, model: &str) -> PathBuf {
        self.path.join(model).join("ids")
    }

    /// The folder of a model's checkpoints.
    pub fn checkpoints(&self, model: &str) -> PathBuf {
        self.path.join(model).join("checkpoints")
    }

    /// The folder of a model's frozen states: versions that orders brought beside the candidate.
    pub fn frozen(&self, model: &str) -> PathBuf {
        self.path.join(model).join("frozen")
    }

    /// The file of the weights that a model started with, where it arrived trained.
    pub fn start(&self, model: &str) -> PathBuf {
        self.path.join(model).join("start.safetensors")
    }

    /// The folder of the encoders whose adapters a model learns.
    pub fn encoders(&self, model: &str) -> PathBuf {
        self.path.join(model).join("encoders")
    }

    /// Refuses a model whose folders lead out of this directory, or whose journal is gone while
    /// the parts of one are there.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Foreign`], with the path at fault.
    pub fn check(&self, model: &str) -> Result<(), Error> {
        let [journal, others @ ..] = self.parts(model);
        let whole = self.path.join(model);
        let paths = [&whole, &journal].into_iter().chain(&others);
        for path in paths.filter(|path| regular::is_there(path)) {
            regular::resolve(&self.path, path).map_err(Error::io(path, "follow it"))?;
        }
        if regular::is_there(&journal) {
            return Ok(());
        }
        match others.iter().find(|path| regular::is_there(path)) {
            None => Ok(()),
            Some(left) => Err(Error::foreign(
                &journal,
                format!(
                    "the journal is gone, and {} is of it; restore the journal from a copy, or \
                     move the folder {model} away to start anew",
                    left.display()
                ),
            )),
        }
    }

    /// The parts of a model's data: first its journal, then the parts that need a journal.
    fn parts(&self, model: &str) -> [PathBuf; 6] {
        [
            self.journal(model),
            self.checkpoints(model),
            self.frozen(model),
            self.ids(model),
            self.encoders(model),
            self.start(model),
        ]
    }

    /// The names of all models that have data here, in order.
    ///
    /// # Errors
    /// [`Error::Io`]: the directory cannot be read.
    pub fn models(&self) -> Result<Vec<String>, Error> {
        let failed = |error| Error::io(&self.path, "list it")(error);
        let mut models = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(model) = name.to_str()
                && self.parts(model).iter().any(|path| regular::is_there(path))
            {
                models.push(model.to_owned());
            }
        }
        models.sort_unstable();
        Ok(models)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn one_server_or_any_number_that_look() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("a").join("data");
        assert!(matches!(
            Directory::inspect(&path),
            Err(Error::Foreign { .. })
        ));
        let serving = Directory::open(&path).unwrap();
        let error = Directory::open(&path).unwrap_err();
        assert!(
            error.to_string().contains("LOCK: another process holds"),
            "{error}"
        );
        assert!(matches!(
            Directory::inspect(&path),
            Err(Error::Locked { .. })
        ));
        drop(serving);
        let looking = [
            Directory::inspect(&path).unwrap(),
            Directory::inspect(&path).unwrap(),
        ];
        assert!(matches!(Directory::open(&path), Err(Error::Locked { .. })));
        drop(looking);
        Directory::open(&path).unwrap();
    }

    #[test]
    fn p1_the_lock_ends_with_its_owner_though_a_process_has_inherited_it() {
        let dir = tempdir().unwrap();
        let inheriting = |lock: &Lock| {
            let child = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(lock.0.try_clone().unwrap())
                .spawn();
            child.unwrap()
        };
        let mut children = Vec::new();
        let serving = Directory::open(dir.path()).unwrap();
        children.push(inheriting(&serving._lock));
        assert!(matches!(
            Directory::open(dir.path()),
            Err(Error::Locked { .. })
        ));
        drop(serving);
        let looking = Directory::inspect(dir.path()).unwrap();
        children.push(inheriting(&looking._lock));
        drop(looking);
        let unwound = std::panic::catch_unwind(|| {
            let serving = Directory::open(dir.path()).unwrap();
            let child = inheriting(&serving._lock);
            std::panic::resume_unwind(Box::new(child));
        });
        children.push(*unwound.unwrap_err().downcast().unwrap());
        Directory::open(dir.path()).unwrap();
        for mut child in children {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it has the lock's file"
            );
            drop(child.stdin.take());
            assert!(child.wait().unwrap().success());
        }
    }

    #[test]
    fn models_are_folders_with_a_journal_or_what_belongs_to_one() {
        let dir = tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        assert!(directory.models().unwrap().is_empty());
        for model in ["tickets", "fraud"] {
            fs::create_dir_all(directory.journal(model)).unwrap();
            directory.check(model).unwrap();
        }
        fs::create_dir_all(directory.checkpoints("gone")).unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        fs::write(dir.path().join("notes"), "").unwrap();
        assert_eq!(directory.models().unwrap(), ["fraud", "gone", "tickets"]);
        let gone = directory.check("gone").unwrap_err().to_string();
        let expected = "gone/journal: the journal is gone, and ";
        assert!(gone.contains(expected), "{gone}");
        directory.check("none").unwrap();
    }

    #[test]
    fn p9_the_folders_of_a_model_do_not_lead_out_of_the_directory() {
        let dir = tempdir().unwrap();
        let (data, outside) = (dir.path().join("data"), dir.path().join("outside"));
        let directory = Directory::open(&data).unwrap();
        fs::create_dir_all(outside.join("journal")).unwrap();
        symlink(&outside, data.join("whole")).unwrap();
        fs::create_dir(data.join("part")).unwrap();
        symlink(outside.join("journal"), directory.journal("part")).unwrap();
        for (model, at_fault) in [("whole", "whole: cannot"), ("part", "part/journal: cannot")] {
            let refused = directory.check(model).unwrap_err().to_string();
            assert!(refused.contains(at_fault), "{refused}");
            assert!(refused.contains("a link leads to "), "{refused}");
        }
        // Within it they may.
        fs::create_dir_all(data.join("fast/journal")).unwrap();
        symlink(data.join("fast"), data.join("m")).unwrap();
        directory.check("m").unwrap();
    }
}
