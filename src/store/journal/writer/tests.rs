//! What the writer of a journal promises, on disks that do and do not do as they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::{fs, io};

use tempfile::{TempDir, tempdir};

use super::super::fixture::{append, duplicate, read_all, segments_of};
use super::*;
use crate::event::{Batch, Column, Outputs, Prediction};
use crate::store::disk::{Change, Then};

fn new() -> (TempDir, Journal) {
    let dir = tempdir().unwrap();
    let (journal, recovered) = Journal::create_or_open(dir.path(), 0, Config::default()).unwrap();
    assert_eq!(recovered.last_position, 0);
    assert_eq!(recovered.chain, genesis(&recovered.journal_id));
    (dir, journal)
}

fn reopen(dir: &TempDir, from: u64) -> Result<(Journal, Recovered), Error> {
    Journal::create_or_open(dir.path(), from, Config::default())
}

#[test]
fn what_was_synced_is_there_after_opening_again() {
    let (dir, mut journal) = new();
    append(&mut journal, 1..=3);
    assert_eq!(journal.synced(), 0);
    assert_eq!(journal.sync().unwrap(), 3);
    assert_eq!(journal.synced(), 3);
    append(&mut journal, 4..=4);
    let (id, chain) = (journal.journal_id(), journal.chain());
    journal.close().unwrap();

    let (mut journal, recovered) = reopen(&dir, 2).unwrap();
    let at_two = recovered.from_chain;
    let expected = Recovered {
        journal_id: id,
        last_position: 4,
        last_time: Time(4),
        chain,
        from_chain: at_two,
        cut: None,
    };
    assert_eq!(recovered, expected);
    assert_ne!(at_two, chain);
    assert_eq!(journal.synced(), 4);
    append(&mut journal, 5..=5);
    journal.close().unwrap();
    assert_eq!(
        read_all(dir.path()),
        (1..=5).map(duplicate).collect::<Vec<_>>()
    );
}

#[test]
fn what_was_only_appended_is_lost_with_the_process() {
    let (dir, mut journal) = new();
    append(&mut journal, 1..=2);
    journal.sync().unwrap();
    append(&mut journal, 3..=3);
    drop(journal);
    let (_, recovered) = reopen(&dir, 0).unwrap();
    assert_eq!((recovered.last_position, recovered.cut), (2, None));
}

#[test]
fn journal_time_never_goes_back() {
    let (dir, mut journal) = new();
    for time in [5, 3, 9, -1] {
        journal.append(Time(time), &duplicate(1)).unwrap();
    }
    journal.close().unwrap();
    let (mut journal, recovered) = reopen(&dir, 0).unwrap();
    assert_eq!(recovered.last_time, Time(9));
    journal.append(Time(2), &duplicate(1)).unwrap();
    journal.close().unwrap();
    let mut reader = super::super::Reader::open(dir.path(), 1, 5).unwrap();
    let times = (1..=5).map(|_| reader.next(5).unwrap().unwrap().time.0);
    assert_eq!(times.collect::<Vec<_>>(), [5, 5, 9, 9, 9]);
}

#[test]
fn a_checkpoint_ahead_of_its_journal_is_refused() {
    let (dir, mut journal) = new();
    append(&mut journal, 1..=3);
    journal.close().unwrap();
    assert!(reopen(&dir, 3).is_ok());
    let error = reopen(&dir, 4).err().unwrap();
    let sees = matches!(
        error,
        Error::CheckpointAhead {
            checkpoint: 4,
            last: 3,
            ..
        }
    );
    assert!(sees, "{error}");
    let empty = tempdir().unwrap();
    assert!(matches!(
        reopen(&empty, 1),
        Err(Error::CheckpointAhead { last: 0, .. })
    ));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn groups_fill_segments_up_to_their_size() {
    let dir = tempdir().unwrap();
    let config = segments_of(600);
    let (mut journal, _) = Journal::create_or_open(dir.path(), 0, config.clone()).unwrap();
    for n in 1..=20 {
        append(&mut journal, n..=n);
        assert_eq!(journal.write().unwrap(), n);
    }
    // 80 bytes of header and three groups of 32 + 96 + 21; every roll syncs what is before.
    assert_eq!(
        segment::list(dir.path()).unwrap(),
        [1, 4, 7, 10, 13, 16, 19]
    );
    assert_eq!(journal.synced(), 18);
    let on_disk = |dir: &Path| -> u64 {
        let files = fs::read_dir(dir).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    assert_eq!(journal.bytes_on_disk(), on_disk(dir.path()));
    journal.close().unwrap();
    let (journal, recovered) = Journal::create_or_open(dir.path(), 0, config).unwrap();
    assert_eq!((recovered.last_position, recovered.cut), (20, None));
    assert_eq!(journal.bytes_on_disk(), on_disk(dir.path()));
    assert_eq!(
        read_all(dir.path()),
        (1..=20).map(duplicate).collect::<Vec<_>>()
    );
}

#[test]
fn a_large_event_is_refused_alone() {
    let (_dir, mut journal) = new();
    append(&mut journal, 1..=1);
    let prediction = |n_bytes: usize, n_rows: usize| {
        Event::Prediction(Prediction {
            ids: vec![crate::event::PredictionId(1)],
            batch: Batch {
                n_rows,
                columns: vec![Column::Vectors(vec![0; n_bytes].into())],
            },
            outputs: Outputs::Values(vec![0.0]),
            labels: Default::default(),
            version: 1,
            position: 1,
        })
    };
    let large = journal.append(Time(1), &prediction(PAYLOAD_BYTES_MAX, 1));
    assert!(matches!(large, Err(Error::TooLarge { .. })));
    let misfit = journal.append(Time(1), &prediction(4, 2));
    assert!(matches!(misfit, Err(Error::Entry { position: 2, .. })));
    append(&mut journal, 2..=2);
    assert_eq!(journal.sync().unwrap(), 2);
    journal
        .append(Time(2), &prediction(GROUP_BYTES_FULL, 1))
        .unwrap();
    append(&mut journal, 4..=4);
    // The full group was written without being asked for.
    assert_eq!(journal.written.position, 3);
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_written_again() {
    let check = |fails: fn(&Change) -> bool| {
        let failing = Arc::new(AtomicBool::new(false));
        let fail = failing.clone();
        let disk = Disk::watched(move |change| match fails(&change) && fail.load(Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(Then::Make),
        });
        let dir = tempdir().unwrap();
        let config = Config {
            disk,
            ..Config::default()
        };
        let (mut journal, _) = Journal::create_or_open(dir.path(), 0, config).unwrap();
        append(&mut journal, 1..=2);
        journal.sync().unwrap();
        failing.store(true, Relaxed);
        append(&mut journal, 3..=3);
        let error = journal.sync().unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        failing.store(false, Relaxed);
        let refused = journal.append(Time(9), &duplicate(9));
        assert!(matches!(refused, Err(Error::Poisoned { .. })));
        assert!(matches!(journal.write(), Err(Error::Poisoned { .. })));
        assert!(matches!(journal.sync(), Err(Error::Poisoned { .. })));
        assert_eq!(journal.synced(), 2);
        assert!(matches!(journal.close(), Err(Error::Poisoned { .. })));
        let last = reopen(&dir, 2).unwrap().1.last_position;
        assert!((2..=3).contains(&last), "{last}");
    };
    check(|change| matches!(change, Change::Write(..)));
    check(|change| matches!(change, Change::Sync(_)));
}

#[test]
fn a_torn_new_segment_is_removed_and_written_again() {
    let (dir, mut journal) = new();
    append(&mut journal, 1..=2);
    journal.sync().unwrap();
    drop(journal);
    let torn = segment::path(dir.path(), 3);
    for n_bytes in [0, 1, 79, 80] {
        fs::write(&torn, vec![0; n_bytes]).unwrap();
        let (_, recovered) = reopen(&dir, 2).unwrap();
        let cut = recovered.cut.unwrap();
        assert_eq!(
            (cut.position, cut.bytes, cut.path),
            (3, n_bytes as u64, torn.clone())
        );
        assert!(!torn.exists());
    }
    fs::write(&torn, [0; 80]).unwrap();
    assert!(matches!(
        reopen(&dir, 3),
        Err(Error::CheckpointAhead { .. })
    ));
    fs::write(&torn, [0; 81]).unwrap();
    assert!(matches!(reopen(&dir, 2), Err(Error::Damaged { .. })));
    fs::remove_file(&torn).unwrap();
    fs::write(segment::path(dir.path(), 4), []).unwrap();
    assert!(matches!(
        reopen(&dir, 2),
        Err(Error::Missing { position: 3, .. })
    ));
}
