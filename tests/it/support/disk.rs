//! A disk that fails on demand, and that shows the image after a power cut.
//!
//! Invariant: in an image, bytes and names that were synced stand as they were; what was not
//! synced stands whole, in part, out of order or not at all, as the seed says.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The fault at the n-th change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub at: usize,
    pub error: i32,
    pub for_ever: bool,
}

/// A change as it was seen, with paths from the root.
#[derive(Clone, Debug)]
enum Done {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Truncate(PathBuf, u64),
    Sync(PathBuf),
    CreateFolder(PathBuf),
    SyncFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    RemoveFolder(PathBuf),
    /// Nothing came of it.
    Refused,
}

/// Every change below a folder, in order.
#[derive(Clone)]
pub(crate) struct Recording {
    root: PathBuf,
    done: Arc<Mutex<Vec<Done>>>,
}

impl Recording {
    /// Of a disk that makes every change; syncs are only pretended.
    pub(crate) fn of(root: &Path) -> (Recording, Disk) {
        Recording::failing(root, None)
    }

    /// Recording of a disk with a fault.
    pub(crate) fn failing(root: &Path, fault: Option<Fault>) -> (Recording, Disk) {
        let recording = Recording {
            root: root.to_owned(),
            done: Arc::default(),
        };
        let seen = recording.clone();
        let disk = Disk::watched(move |change| seen.see(change, fault));
        (recording, disk)
    }

    /// How many changes have been asked for.
    pub(crate) fn len(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    /// Every segment of a journal, by its name, as if nothing had been overwritten or removed.
    pub(crate) fn segments(&self) -> BTreeMap<String, Vec<u8>> {
        let mut segments: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for done in self.done.lock().unwrap().iter() {
            let (Done::Create(path) | Done::Write(path, ..) | Done::Truncate(path, _)) = done
            else {
                continue;
            };
            if path.extension().is_none_or(|end| end != "seg") {
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let segment = segments.entry(name).or_default();
            match done {
                Done::Write(_, offset, bytes) if *offset as usize == segment.len() => {
                    segment.extend(bytes);
                }
                Done::Truncate(_, n_bytes) => segment.truncate(*n_bytes as usize),
                Done::Create(_) => segment.clear(),
                _ => {}
            }
        }
        segments
    }

    fn see(&self, change: DiskChange, fault: Option<Fault>) -> io::Result<ChangeOutcome> {
        let mut done = self.done.lock().unwrap();
        let n = done.len() + 1;
        let fails = |fault: &Fault| n == fault.at || fault.for_ever && n > fault.at;
        if let Some(fault) = fault.filter(fails) {
            done.push(match change {
                DiskChange::Write(path, offset, bytes) => {
                    // A short write: some of it is there.
                    let half = &bytes[..bytes.len() / 2];
                    OpenOptions::new()
                        .write(true)
                        .open(path)?
                        .write_all_at(half, offset)?;
                    self.own(DiskChange::Write(path, offset, half))
                }
                _ => Done::Refused,
            });
            return Err(io::Error::from_raw_os_error(fault.error));
        }
        done.push(self.own(change));
        Ok(match change {
            DiskChange::Sync(_) | DiskChange::SyncFolder(_) => ChangeOutcome::Pretend,
            _ => ChangeOutcome::Make,
        })
    }

    fn own(&self, change: DiskChange) -> Done {
        let below = |path: &Path| match path.strip_prefix(&self.root) {
            Ok(path) => path.to_owned(),
            Err(_) => PathBuf::new(),
        };
        match change {
            DiskChange::Create(path) => Done::Create(below(path)),
            DiskChange::Write(path, offset, bytes) => {
                Done::Write(below(path), offset, bytes.to_vec())
            }
            DiskChange::Truncate(path, n_bytes) => Done::Truncate(below(path), n_bytes),
            DiskChange::Sync(path) => Done::Sync(below(path)),
            DiskChange::CreateFolder(path) => Done::CreateFolder(below(path)),
            DiskChange::SyncFolder(path) => Done::SyncFolder(below(path)),
            DiskChange::Rename(from, to) => Done::Rename(below(from), below(to)),
            DiskChange::Remove(path) => Done::Remove(below(path)),
            DiskChange::RemoveFolder(path) => Done::RemoveFolder(below(path)),
        }
    }

    /// Writes to `to` what a cut after `n` changes leaves. A disk that is not `honest` has taken
    /// every sync for nothing.
    pub(crate) fn image(&self, n: usize, honest: bool, seed: u64, to: &Path) {
        let mut state = State::default();
        for done in &self.done.lock().unwrap()[..n] {
            match done {
                Done::Sync(_) | Done::SyncFolder(_) if !honest => {}
                done => state.take(done),
            }
        }
        let mut rng = SmallRng::seed_from_u64(seed);
        state.cut(0, to, &mut rng);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    File(usize),
    Folder(usize),
}

#[derive(Clone, Debug)]
enum Name {
    Put(String, Node),
    Take(String),
    Move(String, String),
}

#[derive(Clone, Debug)]
enum Piece {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

/// The durable content, and the changes since.
#[derive(Default)]
struct Folder {
    durable: BTreeMap<String, Node>,
    live: BTreeMap<String, Node>,
    pending: Vec<Name>,
}

#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Piece>,
}

struct State {
    folders: Vec<Folder>,
    files: Vec<Content>,
}

impl Default for State {
    fn default() -> State {
        State {
            folders: vec![Folder::default()],
            files: Vec::new(),
        }
    }
}

impl State {
    fn take(&mut self, done: &Done) {
        match done {
            Done::Create(path) => {
                self.files.push(Content::default());
                let node = Node::File(self.files.len() - 1);
                self.name(path, |name| Name::Put(name, node));
            }
            Done::CreateFolder(path) => {
                self.folders.push(Folder::default());
                let node = Node::Folder(self.folders.len() - 1);
                self.name(path, |name| Name::Put(name, node));
            }
            Done::Write(path, offset, bytes) => {
                let piece = Piece::Write(*offset, bytes.clone());
                self.file(path).pending.push(piece);
            }
            Done::Truncate(path, n) => self.file(path).pending.push(Piece::Truncate(*n)),
            Done::Sync(path) => {
                let file = self.file(path);
                for piece in std::mem::take(&mut file.pending) {
                    apply(&mut file.durable, &piece, None);
                }
            }
            Done::SyncFolder(path) => {
                let Some(Node::Folder(folder)) = self.find(path) else {
                    return;
                };
                let folder = &mut self.folders[folder];
                folder.pending.clear();
                folder.durable = folder.live.clone();
            }
            Done::Rename(from, to) => {
                let new = to.file_name().unwrap().to_str().unwrap().to_owned();
                self.name(from, |name| Name::Move(name, new));
            }
            Done::Remove(path) => self.name(path, Name::Take),
            Done::Refused => {}
            Done::RemoveFolder(path) => {
                let Some(Node::Folder(inner)) = self.find(path) else {
                    return;
                };
                let names: Vec<_> = self.folders[inner].live.keys().cloned().collect();
                let inner = &mut self.folders[inner];
                inner.pending.extend(names.into_iter().map(Name::Take));
                self.name(path, Name::Take);
            }
        }
    }

    fn find(&self, path: &Path) -> Option<Node> {
        let mut node = Node::Folder(0);
        for part in path {
            let Node::Folder(folder) = node else {
                return None;
            };
            node = *self.folders[folder].live.get(part.to_str()?)?;
        }
        Some(node)
    }

    fn file(&mut self, path: &Path) -> &mut Content {
        match self.find(path) {
            Some(Node::File(file)) => &mut self.files[file],
            other => panic!("{path:?} is {other:?}"),
        }
    }

    fn name(&mut self, path: &Path, change: impl FnOnce(String) -> Name) {
        let parent = path.parent().expect("a path below the root");
        let Some(Node::Folder(folder)) = self.find(parent) else {
            panic!("{parent:?} is no folder")
        };
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let change = change(name);
        let folder = &mut self.folders[folder];
        rename(&mut folder.live, &change);
        folder.pending.push(change);
    }

    /// Writes a folder as the cut leaves it.
    fn cut(&self, folder: usize, to: &Path, rng: &mut SmallRng) {
        std::fs::create_dir_all(to).unwrap();
        let folder = &self.folders[folder];
        let mut names = folder.durable.clone();
        for change in kept(&folder.pending, rng) {
            rename(&mut names, &change);
        }
        for (name, node) in names {
            let path = to.join(name);
            match node {
                Node::Folder(inner) => self.cut(inner, &path, rng),
                Node::File(file) => {
                    let content = &self.files[file];
                    let mut bytes = content.durable.clone();
                    for piece in kept(&content.pending, rng) {
                        apply(&mut bytes, &piece, Some(rng));
                    }
                    std::fs::write(&path, bytes).unwrap();
                }
            }
        }
    }
}

/// Nothing, all, the first few, or any of the unsynced changes.
fn kept<T: Clone>(pending: &[T], rng: &mut SmallRng) -> Vec<T> {
    let n = match rng.random_range(0..4) {
        0 => 0,
        1 => pending.len(),
        2 => rng.random_range(0..=pending.len()),
        _ => {
            let any = pending.iter().filter(|_| rng.random_bool(0.5));
            return any.cloned().collect();
        }
    };
    pending[..n].to_vec()
}

fn rename(names: &mut BTreeMap<String, Node>, change: &Name) {
    match change {
        Name::Put(name, node) => drop(names.insert(name.clone(), *node)),
        Name::Take(name) => drop(names.remove(name)),
        Name::Move(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

/// Some 512-byte sectors of a write may be missing where `torn` says so.
fn apply(bytes: &mut Vec<u8>, piece: &Piece, torn: Option<&mut SmallRng>) {
    let (offset, new) = match piece {
        Piece::Truncate(n) => return bytes.resize(*n as usize, 0),
        Piece::Write(offset, new) => (*offset as usize, new),
    };
    let mut end = offset + new.len();
    let mut rng = torn.filter(|_| !new.is_empty());
    if let Some(rng) = &mut rng
        && rng.random_bool(0.5)
    {
        end = rng.random_range(offset..end);
    }
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    let mut at = offset;
    while at < end {
        let next = (at / 512 + 1) * 512;
        let next = next.min(end);
        let lost = rng.as_mut().is_some_and(|rng| rng.random_bool(0.2));
        if !lost {
            bytes[at..next].copy_from_slice(&new[at - offset..next - offset]);
        }
        at = next;
    }
}
