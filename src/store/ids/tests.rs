//! Ids that are many, old, shared, torn and cut.

use std::collections::BTreeMap;

use tempfile::{TempDir, tempdir};

use super::*;
use crate::event::{PredictionId, Signal, Subject};
use crate::learn::feedback_key;

const HOUR: i64 = 3_600_000_000;
const JOURNAL: [u8; 16] = [7; 16];
const GROUP_MAX: usize = 100;
const LARGE: IdBounds = IdBounds {
    memory_max: 250_000,
    bytes_max: 2 << 30,
    group_max: GROUP_MAX,
};
/// A file for every ten ids.
const SMALL: IdBounds = IdBounds {
    memory_max: 10,
    bytes_max: 1 << 20,
    group_max: GROUP_MAX,
};

fn open(folder: &TempDir, last: u64) -> Result<Ids, Error> {
    Ids::open(&Disk::default(), folder.path(), JOURNAL, last)
}

fn name(n: u64) -> String {
    format!("id-{n}")
}

fn position(ids: &Ids, feedback_id: &str, now: Time) -> Option<u64> {
    let found = ids.find(feedback_id, now).expect("the files can be read");
    found.map(|record| record.position)
}

/// Ids as a writer inserts them: one a position, a second apart, from hour zero on.
fn insert(ids: &mut Ids, positions: std::ops::RangeInclusive<u64>, bounds: &IdBounds) {
    for n in positions {
        let now = Time(n as i64 * 1_000_000);
        assert_eq!(position(ids, &name(n), now), None, "{n}");
        ids.insert_key(feedback_key(&name(n)), "s", n, now);
        if ids.is_due(bounds) {
            ids.flush(n, now, bounds).unwrap();
        }
    }
}

#[test]
fn p1_three_million_ids_are_known_in_bounded_memory() {
    const N: u64 = 3_000_000;
    let folder = tempdir().unwrap();
    let mut ids = open(&folder, 0).unwrap();
    for n in 1..=N {
        ids.insert_key(feedback_key(&name(n)), "s", n, Time(n as i64));
        if ids.is_due(&LARGE) {
            ids.flush(n, Time(n as i64), &LARGE).unwrap();
        }
        assert!(ids.recent.len() < 2 * LARGE.memory_max);
    }
    ids.flush(N, Time(N as i64), &LARGE).unwrap();
    let check = |ids: &Ids| {
        let now = Time(N as i64);
        for n in (1..=N).step_by(29_989).chain([1, N]) {
            assert_eq!(position(ids, &name(n), now), Some(n));
        }
        for n in (N + 1..2 * N).step_by(29_989) {
            assert_eq!(position(ids, &name(n), now), None);
        }
    };
    check(&ids);
    drop(ids);
    let ids = open(&folder, N).unwrap();
    assert_eq!((ids.covers(), ids.len()), (N, N));
    check(&ids);
}

#[test]
fn ids_are_forgotten_by_age_alone() {
    let folder = tempdir().unwrap();
    let mut ids = open(&folder, 0).unwrap();
    insert(&mut ids, 1..=95, &SMALL);
    ids.flush(95, Time(95_000_000), &SMALL).unwrap();
    assert!(ids.runs.len() > 5, "{}", ids.runs.len());
    let at = |n: i64| Time(24 * HOUR + n * 1_000_000);
    for n in [1, 50, 95] {
        assert_eq!(position(&ids, &name(n), at(n as i64)), Some(n));
        let later = Time(at(n as i64).0 + 1);
        assert_eq!(position(&ids, &name(n), later), None);
    }
    // Whole files go once all in them are forgotten; the others stay.
    ids.flush(95, at(60), &SMALL).unwrap();
    assert!(ids.len() < 50 && position(&ids, &name(61), at(60)) == Some(61));
    ids.flush(95, at(200), &SMALL).unwrap();
    assert_eq!((ids.len(), ids.runs.len()), (0, 0));
    let reopened = open(&folder, 95).unwrap();
    assert_eq!(position(&reopened, &name(95), at(200)), None);
}

#[test]
fn p12_a_source_leaves_as_much_as_it_takes_to_others() {
    let folder = tempdir().unwrap();
    let bounds = IdBounds {
        memory_max: 1000,
        bytes_max: 4000 * RECORD_BYTES as u64,
        group_max: GROUP_MAX,
    };
    let mut ids = open(&folder, 0).unwrap();
    let mut position = 0;
    let mut send = |ids: &mut Ids, source: &str, n: usize| {
        let mut n_taken = 0;
        for _ in 0..n {
            if ids.check_quota(source, &bounds).is_ok() {
                position += 1;
                ids.insert_key(feedback_key(&name(position)), source, position, Time(0));
                n_taken += 1;
            }
            if ids.is_due(&bounds) {
                ids.flush(position, Time(0), &bounds).unwrap();
            }
        }
        n_taken
    };
    assert_eq!(send(&mut ids, "flood", 10_000), 2000);
    let (held, all) = (2000, 2000);
    let full = ids.check_quota("flood", &bounds).unwrap_err();
    assert_eq!(full, IdsFull::Source { held, all });
    assert_eq!(send(&mut ids, "honest", 100), 100);
    assert_eq!(send(&mut ids, "flood", 10), 0);
    // Names without end count together, and leave room to one that is known.
    let floods = (0..10_000).map(|n| send(&mut ids, &format!("flood {n}"), 1));
    assert!(floods.sum::<i32>() > 1000);
    // A day later all of it is free again.
    let day = Time(24 * HOUR + 1);
    ids.flush(position, day, &bounds).unwrap();
    ids.check_quota("flood", &bounds).unwrap();
}

#[test]
fn p12_ids_that_cannot_be_written_yet_have_room_for_two_groups() {
    let folder = tempdir().unwrap();
    let mut ids = open(&folder, 0).unwrap();
    let bounds = IdBounds {
        memory_max: 1,
        ..SMALL
    };
    let n_max = bounds.unwritten_max() as u64;
    assert_eq!(n_max, 2 * GROUP_MAX as u64);
    for n in 1..=n_max {
        let source = format!("source {n}");
        ids.check_quota(&source, &bounds).unwrap();
        ids.insert_key(feedback_key(&name(n)), &source, n, Time(0));
    }
    let full = ids.check_quota("another", &bounds).unwrap_err();
    assert_eq!(full, IdsFull::Unwritten(n_max as usize));
    ids.flush(n_max, Time(0), &bounds).unwrap();
    assert_eq!(ids.n_unwritten(), 0);
    ids.check_quota("another", &bounds).unwrap();
}

#[test]
fn a_batch_that_a_crash_tore_is_written_over() {
    let folder = tempdir().unwrap();
    let mut ids = open(&folder, 0).unwrap();
    insert(&mut ids, 1..=3, &LARGE);
    ids.flush(3, Time(0), &LARGE).unwrap();
    let path = folder.path().join("tail");
    let whole = std::fs::read(&path).unwrap();
    insert(&mut ids, 4..=5, &LARGE);
    ids.flush(5, Time(0), &LARGE).unwrap();
    let longer = std::fs::read(&path).unwrap();
    drop(ids);
    for n_bytes in whole.len()..longer.len() {
        std::fs::write(&path, &longer[..n_bytes]).unwrap();
        let mut ids = open(&folder, 5).unwrap();
        assert_eq!((ids.covers(), ids.len()), (3, 3), "{n_bytes}");
        insert(&mut ids, 4..=4, &LARGE);
        ids.flush(4, Time(0), &LARGE).unwrap();
        assert_eq!(open(&folder, 4).unwrap().len(), 4);
    }
}

#[test]
fn p9_what_is_damaged_or_of_another_journal_is_refused() {
    let folder = tempdir().unwrap();
    let mut ids = open(&folder, 0).unwrap();
    insert(&mut ids, 1..=25, &SMALL);
    ids.flush(25, Time(0), &SMALL).unwrap();
    drop(ids);
    let refused = |last, journal_id, expected: &str| {
        let opened = Ids::open(&Disk::default(), folder.path(), journal_id, last);
        let error = opened.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("or remove it"), "{error}");
    };
    refused(25, [8; 16], "it is of another journal");
    let path = list(folder.path()).unwrap().remove(0);
    let sound = std::fs::read(&path).unwrap();
    for at in [0, 9, 30, 44, 60, sound.len() - 1] {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        refused(25, JOURNAL, "not what was written");
    }
    std::fs::write(&path, &sound[..sound.len() - 1]).unwrap();
    refused(25, JOURNAL, "its length is not that in its header");
    std::fs::write(&path, &sound).unwrap();
    assert_eq!(open(&folder, 25).unwrap().len(), 25);
}

#[test]
fn p1_an_id_whose_event_is_not_synced_is_not_written() {
    let folder = tempdir().unwrap();
    let mut ids = open(&folder, 0).unwrap();
    for n in 1..=15 {
        ids.insert_key(feedback_key(&name(n)), "s", n, Time(0));
    }
    ids.flush(12, Time(0), &SMALL).unwrap();
    assert_eq!(position(&ids, &name(13), Time(0)), Some(13));
    let after = open(&folder, 12).unwrap();
    assert_eq!((after.covers(), after.len(), after.runs.len()), (12, 12, 1));
    assert_eq!(position(&after, &name(13), Time(0)), None);
    ids.flush(15, Time(0), &SMALL).unwrap();
    assert_eq!(open(&folder, 15).unwrap().len(), 15);
}

#[test]
fn ids_of_events_that_the_journal_has_lost_are_not_known() {
    for last in [24, 15, 0] {
        let folder = tempdir().unwrap();
        let mut ids = open(&folder, 0).unwrap();
        insert(&mut ids, 1..=25, &SMALL);
        ids.flush(25, Time(0), &SMALL).unwrap();
        assert!(ids.runs.len() > 1);
        drop(ids);
        for _ in 0..2 {
            let ids = open(&folder, last).unwrap();
            assert_eq!((ids.covers(), ids.len()), (last, last));
            for n in 1..=25 {
                let expected = (n <= last).then_some(n);
                assert_eq!(position(&ids, &name(n), Time(0)), expected);
            }
        }
    }
}

#[test]
fn what_a_crash_left_sorted_and_unsorted_counts_once() {
    let folder = tempdir().unwrap();
    let mut ids = open(&folder, 0).unwrap();
    insert(&mut ids, 1..=9, &LARGE);
    ids.flush(9, Time(0), &LARGE).unwrap();
    let tail = std::fs::read(folder.path().join("tail")).unwrap();
    ids.seal(9, &SMALL).unwrap();
    drop(ids);
    std::fs::write(folder.path().join("tail"), tail).unwrap();
    let ids = open(&folder, 9).unwrap();
    assert_eq!((ids.len(), ids.recent.len()), (9, 0));
    assert_eq!(position(&ids, &name(4), Time(0)), Some(4));
    assert_eq!(ids.runs[0].find(feedback_key("none")).unwrap(), None);
}

#[test]
fn p6_which_ids_were_taken_back_is_known_and_damage_to_it_is_named() {
    let folder = tempdir().unwrap();
    let mut ids = open(&folder, 0).unwrap();
    insert(&mut ids, 1..=20, &SMALL);
    ids.flush(20, Time(20_000_000), &SMALL).unwrap();
    ids.write_retracted([3, 7, 20].into()).unwrap();
    assert_eq!(open(&folder, 20).unwrap().retracted(), &[3, 7, 20].into());
    assert!(verify(folder.path(), &JOURNAL).is_ok());
    // The journal has lost the last one.
    assert_eq!(open(&folder, 19).unwrap().retracted(), &[3, 7].into());
    let path = folder.path().join("retracted");
    let sound = std::fs::read(&path).unwrap();
    for place in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[place] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = open(&folder, 20).unwrap_err().to_string();
        assert!(error.contains("/retracted: "), "{place}: {error}");
        std::fs::write(&path, &sound[..place]).unwrap();
        assert!(open(&folder, 20).is_err(), "{place}");
        assert!(verify(folder.path(), &JOURNAL).is_err(), "{place}");
    }
}

#[test]
fn p9_damage_to_ids_is_found_and_a_torn_end_is_none() {
    let folder = tempdir().unwrap();
    let absent = folder.path().join("none");
    assert!(verify(&absent, &JOURNAL).is_ok());
    let mut ids = open(&folder, 0).unwrap();
    insert(&mut ids, 1..=14, &SMALL);
    ids.flush(14, Time(14_000_000), &SMALL).unwrap();
    drop(ids);
    assert!(verify(folder.path(), &JOURNAL).is_ok());
    assert!(verify(folder.path(), &[8; 16]).is_err());
    let sorted = list(folder.path()).unwrap().remove(0);
    for path in [sorted, folder.path().join(TAIL)] {
        let sound = std::fs::read(&path).unwrap();
        // The last batch of the newest ids may be torn.
        let is_sure = |place: usize| path.extension().is_some() || place < 24;
        for place in (0..sound.len()).filter(|place| is_sure(*place)) {
            let mut bytes = sound.clone();
            bytes[place] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let error = verify(folder.path(), &JOURNAL).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
        }
        std::fs::write(&path, &sound).unwrap();
    }
    // A batch before the last one is never torn.
    let path = folder.path().join(TAIL);
    let mut bytes = std::fs::read(&path).unwrap();
    let sound = bytes.clone();
    bytes.truncate(sound.len() - 1);
    std::fs::write(&path, &bytes).unwrap();
    assert!(verify(folder.path(), &JOURNAL).is_ok());
    bytes = sound;
    bytes[24 + 8] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = verify(folder.path(), &JOURNAL).unwrap_err().to_string();
    assert!(error.contains("a batch is not what was written"), "{error}");
}

/// The mark of the content survives files that are sorted, a restart, and another event time; a file
/// of a program that wrote none has 0.
#[test]
fn an_id_knows_the_mark_of_its_content() {
    let folder = tempdir().unwrap();
    let mut ids = open(&folder, 0).unwrap();
    let feedback = |n: u64, value: f64| Feedback {
        feedback_id: name(n),
        subject: Subject::Prediction(PredictionId(n.into())),
        signal: Signal::Value(value),
        source: "s".to_owned(),
        event_time: Some(Time(n as i64)),
        tags: BTreeMap::new(),
        actor: String::new(),
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    };
    for n in 1..=25 {
        ids.insert(&feedback(n, 0.5), n, Time(0));
        ids.flush(n, Time(0), &SMALL).unwrap();
    }
    let reopened = open(&folder, 25).unwrap();
    assert!(!reopened.runs.is_empty());
    for n in 1..=25 {
        let found = reopened.find(&name(n), Time(0)).unwrap().unwrap();
        let later = Feedback {
            event_time: None,
            ..feedback(n, 0.5)
        };
        assert_eq!(found.mark, mark(&later));
        assert_ne!(found.mark, mark(&feedback(n, 0.25)));
        assert_ne!(found.mark, mark(&feedback(n + 1, 0.5)));
    }
    ids.insert_key(feedback_key("other"), "s", 26, Time(0));
    assert_eq!(ids.find("other", Time(0)).unwrap().unwrap().mark, 0);
}
