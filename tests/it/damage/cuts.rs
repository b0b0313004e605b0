//! A journal cut at a byte.
//!
//! Invariant: the expected state is computed from the bytes that are left, by their documented
//! layout: whole groups stay, a torn one goes and is reported, and where anything shows that more
//! had been synced, nothing is changed.

use std::collections::HashSet;
use std::fs;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use perennial::event::{Command, Event, Order};
use perennial::store::{Config, Error, Journal, JournalRecovery, Reader, erase, segments, verify};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::support::histories::{History, descriptions, retracted};
use crate::support::layout::groups;
use crate::support::{overwrite, syncing_nothing};

/// A journal of several segments that holds every kind of entry, with the chain after each of its
/// positions.
pub(super) struct Written {
    folder: TempDir,
    segment_bytes: u32,
    chains: Vec<blake3::Hash>,
    /// The segments' first positions and bytes.
    segments: Vec<(u64, Vec<u8>)>,
}

/// How the cuts ended.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Bytes that it was cut at.
    pub cuts: u64,
    /// Refused with position and advice, nothing changed.
    pub refused: u64,
    /// A torn last group was cut and reported.
    pub torn: u64,
    /// The rest ends with a whole group, as the journal of an earlier moment did.
    pub whole: u64,
    /// Damage before the segment of the checkpoint: opening needs none of it, verifying refuses.
    pub unread: u64,
}

/// Groups of a segment before which it is cut, the last ones.
const GROUPS: usize = 3;

fn config(segment_bytes: u32) -> Config {
    Config {
        segment_bytes,
        disk: syncing_nothing(),
    }
}

impl Written {
    /// A random history of so many steps in random groups, some of them synced; of what it took
    /// back, the payloads are erased.
    pub(super) fn new(seed: u64, n_steps: usize, segment_bytes: u32) -> Written {
        println!("seed {seed}");
        let folder = tempfile::tempdir().unwrap();
        let config = config(segment_bytes);
        let (mut journal, _) = Journal::create_or_open(folder.path(), 0, config).unwrap();
        let mut chains = vec![journal.chain()];
        let mut rng = SmallRng::seed_from_u64(seed);
        let history = History::run(&descriptions()[2], seed, n_steps);
        for entry in &history.harness.journal {
            journal.append(entry.time, &entry.event).unwrap();
            chains.push(journal.chain());
            match rng.random_range(0..6) {
                0 => drop(journal.sync().unwrap()),
                1 | 2 => drop(journal.write().unwrap()),
                _ => {}
            }
        }
        journal.close().unwrap();
        let erased = retracted(&history.harness.journal).into_iter();
        let erased = erased.map(|position| (position, 1)).collect();
        erase(&syncing_nothing(), folder.path(), &erased).unwrap();
        let read = |one: perennial::store::SegmentFile| {
            let path = path(folder.path(), one.first_position);
            (one.first_position, fs::read(path).unwrap())
        };
        let segments = segments(folder.path()).unwrap();
        let segments: Vec<_> = segments.into_iter().map(read).collect();
        assert!(segments.len() > 2, "{}", segments.len());
        assert!(kinds(folder.path()) >= N_KINDS);
        Written {
            folder,
            segment_bytes,
            chains,
            segments,
        }
    }

    /// Cuts at every `step`-th byte and where the last groups begin, without a checkpoint and with one.
    pub(super) fn cut_each(&self, step: usize) -> Found {
        let mut found = Found::default();
        for (index, (first, bytes)) in self.segments.iter().enumerate().rev() {
            let last = index + 1 == self.segments.len();
            let groups = groups(bytes).into_iter().map(|group| group.start);
            let begun = groups.rev().take(GROUPS);
            for at in (0..bytes.len()).rev().step_by(step).chain(begun) {
                found.cuts += 1;
                overwrite(&self.path(*first), &bytes[..at]);
                // A checkpoint somewhere from here on.
                let middle = first + (self.chains.len() as u64 - first) / 2;
                for checkpoint in [0, middle] {
                    if last {
                        self.check_last(*first, &bytes[..at], checkpoint, &mut found);
                    } else {
                        self.check_inner(index, &bytes[..at], checkpoint, &mut found);
                    }
                }
            }
            overwrite(&self.path(*first), bytes);
        }
        self.check_whole();
        found
    }

    fn path(&self, first: u64) -> PathBuf {
        path(self.folder.path(), first)
    }

    fn open(&self, checkpoint: u64) -> Result<JournalRecovery, Error> {
        let config = config(self.segment_bytes);
        let opened = Journal::create_or_open(self.folder.path(), checkpoint, config);
        opened.map(|(_, recovered)| recovered)
    }

    /// The last segment is cut: the groups that are whole are there.
    fn check_last(&self, first: u64, left: &[u8], checkpoint: u64, found: &mut Found) {
        let whole = groups(left);
        let n_entries: usize = whole.iter().map(|group| group.entries.len()).sum();
        let last = first - 1 + n_entries as u64;
        let end = match (left.len() < 80, whole.last()) {
            (true, _) => 0,
            (false, None) => 80,
            (false, Some(group)) => group.end,
        };
        let known = whole.iter().map(|group| group.synced_position).max();
        assert!(known.unwrap_or(0) <= last, "what is left shows no more");
        let opened = self.open(checkpoint);
        let place = format!("{first} cut at {}, checkpoint {checkpoint}", left.len());
        if checkpoint > last {
            let error = opened.expect_err(&place);
            self.check_refused(&error, first, left, found);
            return;
        }
        let recovered = opened.expect(&place);
        assert_eq!(recovered.last_position, last, "{place}");
        assert_eq!(recovered.chain, self.chains[last as usize], "{place}");
        let n_torn = (left.len() - end) as u64;
        match recovered.torn_tail {
            None => {
                assert_eq!(n_torn, 0, "{place}");
                found.whole += 1;
            }
            Some(cut) => {
                let check_sentence = (cut.position, cut.offset, cut.bytes);
                assert_eq!(check_sentence, (last + 1, end as u64, n_torn), "{place}");
                found.torn += 1;
            }
        }
        // It was taken away; the next one looks at the same cut.
        overwrite(&self.path(first), left);
    }

    /// A segment before the last is cut: all of it had been synced. A checkpoint behind it needs
    /// none of it, and loses nothing.
    fn check_inner(&self, index: usize, left: &[u8], checkpoint: u64, found: &mut Found) {
        let (first, next) = (self.segments[index].0, self.segments[index + 1].0);
        let opened = self.open(checkpoint);
        let place = format!("{first} cut at {}, checkpoint {checkpoint}", left.len());
        if checkpoint < next || left.len() < 80 {
            self.check_refused(&opened.expect_err(&place), first, left, found);
            return;
        }
        let recovered = opened.expect(&place);
        assert_eq!(Some(&recovered.chain), self.chains.last(), "{place}");
        assert_eq!(recovered.torn_tail, None, "{place}");
        found.unread += 1;
    }

    /// The sentence has the place and the remedy, and nothing was changed.
    fn check_refused(&self, error: &Error, first: u64, left: &[u8], found: &mut Found) {
        let check_sentence = error.to_string();
        let place = match error {
            Error::Damaged { .. } => "position ",
            Error::CheckpointAhead { .. } => "stands at position ",
            other => panic!("{other}"),
        };
        assert!(
            check_sentence.contains(place) && check_sentence.contains("restore the"),
            "{check_sentence}"
        );
        assert!(
            fs::read(self.path(first)).unwrap() == left,
            "{check_sentence}"
        );
        found.refused += 1;
    }

    fn check_whole(&self) {
        let report = verify(self.folder.path()).unwrap();
        assert_eq!(report.last_position + 1, self.chains.len() as u64);
        assert!(report.torn_tail.is_none());
    }
}

/// Kinds of entries at least, where each kind of command is one.
const N_KINDS: usize = 10;

fn kinds(journal: &Path) -> usize {
    let last = verify(journal).unwrap().last_position;
    let mut reader = Reader::open(journal, 1, last).unwrap();
    let mut found = HashSet::new();
    while let Some(entry) = reader.next(last).unwrap() {
        let order = match &entry.event {
            Event::Command(Command { order, .. }) => Some(discriminant::<Order>(order)),
            _ => None,
        };
        found.insert((discriminant(&entry.event), order));
    }
    found.len()
}

fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.seg"))
}
