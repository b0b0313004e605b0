//! The queue of a webhook: the events that are still to be delivered, in their order.
//!
//! Invariant: an event that [`DeliveryQueue::push`] has written is there after any crash until
//! [`DeliveryQueue::remove_first`] has written that it is gone. A line is added whole or not at all, and
//! one that differs from the written one is passed over and counted.
//!
//! The file is text: a line that names the format, then `CHECKSUM + ID BODY` for an event that came,
//! `CHECKSUM - ID` for one that is delivered, and `CHECKSUM = MODEL POSITION COUNT` for the newest entry of a model of which
//! so many events came, whether there was room for them or not. The checksum is the CRC-32C of the rest of the line, in hexadecimal digits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;

use crate::store::directory::Directory;
use crate::store::disk::{Disk, OpenFile};
use crate::store::error::Error;
use crate::store::regular;

/// The first line of the file.
const FORMAT: &str = "perennial delivery queue 1";
/// No larger file is read: so much holds the most that a queue may, twice.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Bytes of lines that have been dealt with, before the file is written anew.
const DONE_BYTES_MAX: u64 = 1 << 20;

/// One delivery: a body, and the id by which its receiver knows it when it comes twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Without spaces.
    pub id: String,
    /// One line of text.
    pub body: String,
}

/// The progress of a model's deliveries: the events of all entries before a position, and so many of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryProgress {
    /// The position of an entry.
    pub position: u64,
    /// Events of that entry.
    pub count: usize,
}

impl Delivery {
    fn line(&self) -> String {
        checked(&format!("+ {} {}", self.id, self.body))
    }
}

/// The deliveries that wait, on disk and in memory.
#[derive(Debug)]
pub struct DeliveryQueue {
    path: PathBuf,
    disk: Disk,
    file: OpenFile,
    /// The length of the whole lines of the file.
    n_bytes: u64,
    /// True where a write has failed, so that something else may stand behind that.
    is_torn: bool,
    waiting: VecDeque<Delivery>,
    waiting_bytes: u64,
    /// The progress by the model.
    reached: BTreeMap<String, DeliveryProgress>,
}

impl DeliveryQueue {
    /// Opens the queue of a data directory, and creates it where there is none; also gives how many lines
    /// were damaged and passed over.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Foreign`] for a file that is none of this format.
    pub fn open(directory: &Directory) -> Result<(DeliveryQueue, usize), Error> {
        let (path, disk) = (directory.delivery_queue(), directory.disk().clone());
        if !regular::is_there(&path) {
            disk.write_file(&path, format!("{FORMAT}\n").as_bytes())?;
            disk.sync_folder(directory.path())?;
        }
        let read = regular::read(directory.path(), &path, FILE_BYTES_MAX);
        let bytes = read.map_err(Error::io(&path, "read it"))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |last| last + 1);
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let mut lines = text.lines();
        // A power cut may have kept the first write of a new file from the disk.
        if lines.next().is_some_and(|first| first != FORMAT) {
            let what = "no delivery queue of this program; move it away to begin an empty one";
            return Err(Error::foreign(&path, what));
        }
        let (waiting, reached, n_damaged) = read_lines(lines);
        let file = disk.open(&path).map_err(Error::io(&path, "open it"))?;
        let mut queue = DeliveryQueue {
            file,
            n_bytes: whole as u64,
            is_torn: true,
            waiting_bytes: waiting.iter().map(|one| one.line().len() as u64).sum(),
            waiting,
            reached,
            path,
            disk,
        };
        queue.rewrite()?;
        Ok((queue, n_damaged))
    }

    /// Deliveries that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The one that has waited longest.
    pub fn first(&self) -> Option<&Delivery> {
        self.waiting.front()
    }

    /// The progress of a model's events; none where none ever came.
    pub fn reached(&self, model: &str) -> Option<DeliveryProgress> {
        self.reached.get(model).copied()
    }

    /// Adds deliveries behind those that wait, with one sync for all, and takes note of how far the events of
    /// their models have come. One whose id waits already is not added again.
    ///
    /// # Errors
    /// [`Error::Io`]: they wait in memory alone.
    pub fn push(
        &mut self,
        deliveries: Vec<Delivery>,
        reached: BTreeMap<String, DeliveryProgress>,
    ) -> Result<(), Error> {
        let mut lines = String::new();
        for one in deliveries {
            if self.waiting.iter().any(|other| other.id == one.id) {
                continue;
            }
            let line = one.line();
            self.waiting_bytes += line.len() as u64;
            lines += &line;
            self.waiting.push_back(one);
        }
        for (model, reached) in reached {
            lines += &reached_line(&model, reached);
            self.reached.insert(model, reached);
        }
        self.append(&lines)
    }

    /// Removes the one that has waited longest, where it is the one with this id.
    ///
    /// # Errors
    /// [`Error::Io`]: it is gone from memory alone, and is there again after a restart.
    pub(crate) fn remove_first(&mut self, id: &str) -> Result<(), Error> {
        let is_first = |one: &mut Delivery| one.id == id;
        let Some(removed) = self.waiting.pop_front_if(is_first) else {
            return Ok(());
        };
        self.waiting_bytes -= removed.line().len() as u64;
        if self.waiting.is_empty() {
            // No delivered event stays.
            return self.clear();
        }
        if self.n_bytes > DONE_BYTES_MAX + 2 * self.waiting_bytes {
            return self.rewrite();
        }
        self.append(&checked(&format!("- {id}")))
    }

    fn append(&mut self, lines: &str) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        let written = self.write(lines);
        self.is_torn = written.is_err();
        written.map_err(Error::io(&self.path, "write it"))?;
        self.n_bytes += lines.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Error> {
        if !self.reached.is_empty() {
            return self.rewrite();
        }
        let n_bytes = FORMAT.len() as u64 + 1;
        let cleared = self.file.truncate(n_bytes).and_then(|()| self.file.sync());
        self.is_torn = cleared.is_err();
        self.n_bytes = n_bytes;
        cleared.map_err(Error::io(&self.path, "write it"))
    }

    fn write(&self, lines: &str) -> io::Result<()> {
        if self.is_torn {
            self.file.truncate(self.n_bytes)?;
        }
        self.file.write_at(self.n_bytes, lines.as_bytes())?;
        self.file.sync()
    }

    /// Writes the file anew, with the waiting events and how far the events have come.
    fn rewrite(&mut self) -> Result<(), Error> {
        let mut text = format!("{FORMAT}\n");
        let reached = self.reached.iter();
        reached.for_each(|(model, reached)| text += &reached_line(model, *reached));
        self.waiting.iter().for_each(|one| text += &one.line());
        if !self.is_torn && text.len() as u64 == self.n_bytes {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        self.disk.discard(&new)?;
        self.disk.write_file(&new, text.as_bytes())?;
        self.disk.rename(&new, &self.path)?;
        let opened = self.disk.open(&self.path);
        self.file = opened.map_err(Error::io(&self.path, "open it"))?;
        self.n_bytes = text.len() as u64;
        self.is_torn = false;
        Ok(())
    }
}

/// A line with its checksum.
fn checked(content: &str) -> String {
    format!("{:08x} {content}\n", crc32c::crc32c(content.as_bytes()))
}

fn reached_line(model: &str, DeliveryProgress { position, count }: DeliveryProgress) -> String {
    checked(&format!("= {model} {position} {count}"))
}

/// The deliveries that came and have not gone, how far the events of each model have come, and how many lines
/// were damaged.
fn read_lines<'a>(
    lines: impl Iterator<Item = &'a str>,
) -> (
    VecDeque<Delivery>,
    BTreeMap<String, DeliveryProgress>,
    usize,
) {
    let (mut waiting, mut n_damaged) = (VecDeque::<Delivery>::new(), 0);
    let (mut gone, mut reached) = (BTreeSet::new(), BTreeMap::new());
    for line in lines {
        let content = line.split_once(' ').and_then(|(checksum, content)| {
            let expected = u32::from_str_radix(checksum, 16).ok()?;
            (crc32c::crc32c(content.as_bytes()) == expected).then_some(content)
        });
        let parts = content.map(|content| content.splitn(3, ' ').collect::<Vec<&str>>());
        match parts.as_deref() {
            Some(["+", id, body]) => waiting.push_back(Delivery {
                id: (*id).to_owned(),
                body: (*body).to_owned(),
            }),
            Some(["-", id]) => drop(gone.insert((*id).to_owned())),
            Some(["=", model, place]) if read_reached(place).is_some() => {
                let place = read_reached(place).unwrap_or_default();
                reached.insert((*model).to_owned(), place);
            }
            _ => n_damaged += 1,
        }
    }
    waiting.retain(|one| !gone.contains(&one.id));
    (waiting, reached, n_damaged)
}

fn read_reached(text: &str) -> Option<DeliveryProgress> {
    let (position, count) = text.split_once(' ')?;
    Some(DeliveryProgress {
        position: position.parse().ok()?,
        count: count.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::store::disk::{ChangeOutcome, DiskChange};

    fn delivery(n: usize) -> Delivery {
        Delivery {
            id: format!("m/{n}/drift/0"),
            body: format!("{{\"position\": {n}}}"),
        }
    }

    fn ids(queue: &DeliveryQueue) -> Vec<String> {
        queue.waiting.iter().map(|one| one.id.clone()).collect()
    }

    fn opened(folder: &TempDir) -> (DeliveryQueue, usize) {
        let directory = Directory::open(folder.path()).unwrap();
        DeliveryQueue::open(&directory).unwrap()
    }

    #[test]
    fn p1_what_waits_is_there_again_in_its_order_and_what_went_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut queue, _) = opened(&folder);
        queue
            .push((0..3).map(delivery).collect(), BTreeMap::new())
            .unwrap();
        queue
            .push(vec![delivery(1), delivery(3)], BTreeMap::new())
            .unwrap();
        queue.remove_first("m/1/drift/0").unwrap();
        assert_eq!(queue.len(), 4, "another is first");
        queue.remove_first("m/0/drift/0").unwrap();
        let expected = ids(&queue);
        assert_eq!(expected, [1, 2, 3].map(|n| delivery(n).id));
        drop(queue);
        let (queue, n_damaged) = opened(&folder);
        assert_eq!((ids(&queue), n_damaged), (expected, 0));
        assert_eq!(queue.first(), Some(&delivery(1)));
        let mut queue = queue;
        [1, 2, 3]
            .iter()
            .for_each(|n| queue.remove_first(&delivery(*n).id).unwrap());
        let left = fs::read_to_string(&queue.path).unwrap();
        assert_eq!(left, format!("{FORMAT}\n"), "nothing of them stays");
        queue.push(vec![delivery(4)], BTreeMap::new()).unwrap();
        assert_eq!(ids(&opened(&folder).0), [delivery(4).id]);
    }

    #[test]
    fn how_far_the_events_came_stays_when_nothing_waits_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let (mut queue, _) = opened(&folder);
        let reached = |position, count| DeliveryProgress { position, count };
        let of = |model: &str, reached| BTreeMap::from([(model.to_owned(), reached)]);
        assert_eq!(queue.reached("m"), None);
        queue
            .push(vec![delivery(7)], of("m", reached(7, 1)))
            .unwrap();
        queue.push(Vec::new(), of("other", reached(3, 0))).unwrap();
        queue.push(Vec::new(), of("m", reached(9, 2))).unwrap();
        queue.remove_first(&delivery(7).id).unwrap();
        drop(queue);
        let (queue, n_damaged) = opened(&folder);
        assert_eq!((queue.len(), n_damaged), (0, 0));
        assert_eq!(queue.reached("m"), Some(reached(9, 2)));
        assert_eq!(queue.reached("other"), Some(reached(3, 0)));
        let left = fs::read_to_string(&queue.path).unwrap();
        assert_eq!(left.lines().count(), 3, "{left}");
    }

    #[test]
    fn p1_a_file_cut_anywhere_has_what_was_written_before() {
        let folder = tempfile::tempdir().unwrap();
        let (mut queue, _) = opened(&folder);
        let path = queue.path.clone();
        queue
            .push((0..2).map(delivery).collect(), BTreeMap::new())
            .unwrap();
        queue.remove_first("m/0/drift/0").unwrap();
        let bytes = fs::read(&path).unwrap();
        for n_bytes in 0..bytes.len() {
            fs::write(&path, &bytes[..n_bytes]).unwrap();
            let (mut queue, n_damaged) = opened(&folder);
            assert!(queue.len() <= 2 && n_damaged == 0, "{n_bytes}");
            queue.push(vec![delivery(9)], BTreeMap::new()).unwrap();
            drop(queue);
            assert_eq!(ids(&opened(&folder).0).last(), Some(&delivery(9).id));
        }
    }

    #[test]
    fn p9_a_damaged_line_is_passed_over_and_another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (mut queue, _) = opened(&folder);
        queue
            .push((0..3).map(delivery).collect(), BTreeMap::new())
            .unwrap();
        let text = fs::read_to_string(&queue.path).unwrap();
        fs::write(
            &queue.path,
            text.replace("\"position\": 1", "\"position\": 7"),
        )
        .unwrap();
        let (queue, n_damaged) = opened(&folder);
        assert_eq!((queue.len(), n_damaged), (2, 1));
        fs::write(&queue.path, "anything else\n").unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let refused = DeliveryQueue::open(&directory).unwrap_err().to_string();
        assert!(refused.contains("no delivery queue"), "{refused}");
    }

    #[test]
    fn p8_the_file_does_not_grow_with_what_went() {
        let folder = tempfile::tempdir().unwrap();
        let (mut queue, _) = opened(&folder);
        let body = "x".repeat(64 * 1024);
        queue.push(vec![delivery(1000)], BTreeMap::new()).unwrap();
        for n in 0..100 {
            let id = format!("m/{n}/drift/0");
            let body = body.clone();
            queue
                .push(
                    vec![Delivery {
                        id: id.clone(),
                        body,
                    }],
                    BTreeMap::new(),
                )
                .unwrap();
            let first = queue.first().unwrap().id.clone();
            queue.remove_first(&first).unwrap();
            assert!(queue.n_bytes < 2 * DONE_BYTES_MAX, "{n}");
        }
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn p12_a_write_that_fails_is_made_good_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let watched = fails.clone();
        let disk = Disk::watched(move |change| match change {
            DiskChange::Sync(_) if watched.load(std::sync::atomic::Ordering::Relaxed) => {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            _ => Ok(ChangeOutcome::Make),
        });
        let directory = Directory::open_on(folder.path(), disk).unwrap();
        let (mut queue, _) = DeliveryQueue::open(&directory).unwrap();
        fails.store(true, std::sync::atomic::Ordering::Relaxed);
        queue.push(vec![delivery(0)], BTreeMap::new()).unwrap_err();
        assert_eq!(queue.len(), 1, "it waits in memory");
        fails.store(false, std::sync::atomic::Ordering::Relaxed);
        queue.push(vec![delivery(1)], BTreeMap::new()).unwrap();
        drop((queue, directory));
        let (queue, n_damaged) = opened(&folder);
        assert_eq!((ids(&queue), n_damaged), (vec![delivery(1).id], 0));
    }
}
