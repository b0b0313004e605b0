//! The promises of a journal's writer, on disks that obey and on disks that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::{fs, io};

use tempfile::{TempDir, tempdir};

use super::super::fixture::{append, duplicate, read_all, segments_of};
use super::*;
use crate::event::{Batch, Column, Outputs, Prediction};
use crate::store::disk::{ChangeOutcome, DiskChange};

fn new() -> (TempDir, Journal) {
    let dir = tempdir().unwrap();
    let (journal, recovered) = Journal::create_or_open(dir.path(), 0, Config::default()).unwrap();
    assert_eq!(recovered.last_position, 0);
    assert_eq!(recovered.chain, genesis(&recovered.journal_id));
    (dir, journal)
}

fn reopen(dir: &TempDir, from: u64) -> Result<(Journal, JournalRecovery), Error> {
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
    let expected = JournalRecovery {
        journal_id: id,
        last_position: 4,
        last_time: Time(4),
        chain,
        from_chain: at_two,
        torn_tail: None,
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
    assert_eq!((recovered.last_position, recovered.torn_tail), (2, None));
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
    // 80 bytes of header and three groups of 32 + 96 + 21; every roll syncs the segment before it.
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
    assert_eq!((recovered.last_position, recovered.torn_tail), (20, None));
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
    let check = |fails: fn(&DiskChange) -> bool| {
        let failing = Arc::new(AtomicBool::new(false));
        let fail = failing.clone();
        let disk = Disk::watched(move |change| {
            if fails(&change) && fail.load(Relaxed) {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(ChangeOutcome::Make)
            }
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
    check(|change| matches!(change, DiskChange::Write(..)));
    check(|change| matches!(change, DiskChange::Sync(_)));
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
        let cut = recovered.torn_tail.unwrap();
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

/// The step that a change is in the making of the segment from position 4 on.
fn step(change: &DiskChange) -> Option<usize> {
    let is_next = |path: &std::path::Path| path.ends_with("00000000000000000004.seg");
    match change {
        DiskChange::Create(path) if is_next(path) => Some(0),
        DiskChange::Write(path, ..) if is_next(path) => Some(1),
        DiskChange::Sync(path) if is_next(path) => Some(2),
        DiskChange::SyncFolder(_) => Some(3),
        _ => None,
    }
}

/// A journal of three entries a segment, which is full, and a switch for failures.
fn full(fails: usize, code: i32) -> (TempDir, Journal, Arc<AtomicBool>) {
    let failing = Arc::new(AtomicBool::new(false));
    let fail = failing.clone();
    let disk = Disk::watched(move |change| {
        if !fail.load(Relaxed) || step(&change) != Some(fails) {
            return Ok(ChangeOutcome::Make);
        }
        if let DiskChange::Write(path, _, bytes) = change {
            // A short one: some of it is there.
            fs::write(path, &bytes[..bytes.len() / 2])?;
        }
        Err(io::Error::from_raw_os_error(code))
    });
    let dir = tempdir().unwrap();
    let config = Config {
        disk,
        ..segments_of(600)
    };
    let (mut journal, _) = Journal::create_or_open(dir.path(), 0, config).unwrap();
    for position in 1..=3 {
        append(&mut journal, position..=position);
        journal.write().unwrap();
    }
    (dir, journal, failing)
}

/// The journal as a crash would leave it now, opened.
fn crashed(dir: &TempDir) -> JournalRecovery {
    let copy = tempdir().unwrap();
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    reopen(&copy, 3).unwrap().1
}

#[test]
fn p12_a_segment_that_cannot_be_made_now_is_made_later() {
    for code in [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EDQUOT] {
        for fails in 0..4 {
            let (dir, mut journal, failing) = full(fails, code);
            failing.store(true, Relaxed);
            for _ in 0..3 {
                let refused = journal.append(Time(4), &duplicate(4));
                assert!(
                    matches!(refused, Err(Error::NoSegment { .. })),
                    "{code}, {fails}: {refused:?}"
                );
                // Entries appended before are safe, and can be acknowledged.
                assert_eq!(journal.synced(), 3);
                assert_eq!(journal.sync().unwrap(), 3);
                assert!(matches!(
                    journal.start_due_segment(),
                    Err(Error::NoSegment { .. })
                ));
                assert_eq!(crashed(&dir).last_position, 3);
            }
            failing.store(false, Relaxed);
            if fails % 2 == 0 {
                journal.start_due_segment().unwrap();
            }
            append(&mut journal, 4..=8);
            assert_eq!(journal.sync().unwrap(), 8);
            let bytes = journal.bytes_on_disk();
            let on_disk = segment::segments(dir.path()).unwrap();
            assert_eq!(on_disk.iter().map(|one| one.bytes).sum::<u64>(), bytes);
            journal.close().unwrap();
            assert_eq!(segment::list(dir.path()).unwrap(), [1, 4, 8]);
            let expected: Vec<_> = (1..=8).map(duplicate).collect();
            assert_eq!(read_all(dir.path()), expected);
        }
    }
}

#[test]
fn p1_a_journal_that_is_closed_before_its_next_segment_is_made_is_whole() {
    for fails in 0..4 {
        let (dir, mut journal, failing) = full(fails, libc::ENOSPC);
        failing.store(true, Relaxed);
        assert!(journal.append(Time(4), &duplicate(4)).is_err());
        let n_bytes = journal.bytes_on_disk();
        journal.close().unwrap();
        let first = segment::path(dir.path(), 1);
        assert_eq!(fs::metadata(first).unwrap().len(), n_bytes);
        let (mut journal, recovered) = reopen(&dir, 3).unwrap();
        assert_eq!(recovered.last_position, 3);
        append(&mut journal, 4..=4);
        journal.close().unwrap();
        let expected: Vec<_> = (1..=4).map(duplicate).collect();
        assert_eq!(read_all(dir.path()), expected, "{fails}");
    }
}

#[test]
fn p1_a_fault_that_does_not_pass_poisons_whatever_it_hits() {
    for fails in 0..4 {
        let (dir, mut journal, failing) = full(fails, libc::EIO);
        failing.store(true, Relaxed);
        let failed = journal.append(Time(4), &duplicate(4));
        assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
        failing.store(false, Relaxed);
        let refused = journal.append(Time(4), &duplicate(4));
        assert!(matches!(refused, Err(Error::Poisoned { .. })));
        assert_eq!(crashed(&dir).last_position, 3);
    }
}
