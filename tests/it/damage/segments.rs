//! Segments that do not belong: truncated, gone, renamed, copied, of another journal or of a newer
//! program.
//!
//! Invariant: a sentence names the segment and the remedy, and the remedy mends it.

use std::fs;

use perennial::engine::Readiness;

use crate::damage::case::{Case, check_sentence, truncate};
use crate::support::copy;
use crate::support::layout::groups;

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_truncated_segment() {
    let case = Case::new();
    let last = case.segment(2);
    let bytes = truncate(&last);
    let synced = [
        "damaged at byte",
        "a checkpoint stands at",
        "nothing was changed, restore the file from a copy",
    ];
    case.refuses(&synced).await;
    fs::write(&last, bytes).unwrap();
    case.comes_back().await;

    // Inside the journal it is found by who reads that far, or looks at everything.
    let inner = [
        "damaged at byte",
        "position",
        "restore the file from a copy",
    ];
    let case = Case::new();
    let first = case.segment(0);
    let bytes = truncate(&first);
    case.refuses_to_be_looked_at(&inner);
    let case = case.forget(1);
    case.refuses(&inner).await;
    fs::write(&first, &bytes[..40]).unwrap();
    case.refuses(&["ends in its segment header"]).await;
    fs::write(&first, bytes).unwrap();
    case.comes_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_segment_that_is_gone() {
    let case = Case::new().forget(1);
    let (second, away) = (case.segment(1), case.0.data().join("away"));
    fs::rename(&second, &away).unwrap();
    case.refuses(&["the journal before it ends at position", "restore the file"])
        .await;
    fs::rename(&away, &second).unwrap();
    let first = case.segment(0);
    fs::rename(&first, &away).unwrap();
    case.refuses(&["position 2 is not in this journal", "its segment is lost"])
        .await;
    fs::rename(&away, &first).unwrap();
    case.comes_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_renamed_segment() {
    let case = Case::new();
    let second = case.segment(1);
    let other = second.with_file_name("00000000000000000077.seg");
    fs::rename(&second, &other).unwrap();
    let words = [
        "its name has position 77, its header",
        "give it its name back",
    ];
    case.refuses(&words).await;
    case.refuses_to_be_looked_at(&words);
    let stray = second.with_file_name("old.seg");
    fs::rename(&other, &stray).unwrap();
    case.refuses(&["old.seg: not a segment of a journal; move it out"])
        .await;
    fs::rename(&stray, &second).unwrap();
    case.comes_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_copied_segment() {
    let case = Case::new();
    let second = case.segment(1);
    for (name, words) in [
        (
            "00000000000000000005.seg",
            "or move it away if it is a copy",
        ),
        ("99999999999999999999.seg", "not a segment of a journal"),
        ("00000000000000000001.seg.bak", "move it out of this folder"),
    ] {
        let copied = second.with_file_name(name);
        fs::copy(&second, &copied).unwrap();
        case.refuses(&[name, words]).await;
        fs::remove_file(copied).unwrap();
    }
    case.comes_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_segment_of_another_journal() {
    let case = Case::new();
    let (first, data) = (case.segment(0), case.0.data());
    let (bytes, name) = (fs::read(&first).unwrap(), first.file_name().unwrap());
    fs::copy(data.join("other/journal").join(name), &first).unwrap();
    let words = [
        "belongs to another journal than the segment before it",
        "move it away",
    ];
    case.refuses(&words).await;
    case.refuses_to_be_looked_at(&words);
    fs::write(&first, bytes).unwrap();
    case.comes_back().await;

    // A whole journal in the place of another.
    let case = Case::new();
    let (mine, others) = (
        case.0.data().join("m/journal"),
        case.0.data().join("other/journal"),
    );
    let away = case.0.data().join("away");
    fs::rename(&others, &away).unwrap();
    copy(&mine, &others);
    let (engine, _) = case.open();
    let Readiness::Unavailable(reason) = engine.model("other").unwrap().status(false).state else {
        panic!("its checkpoints are not of this journal")
    };
    check_sentence(
        &reason,
        &[
            "is of another journal",
            "put back the checkpoints and the journal",
        ],
    );
    drop(engine);
    case.comes_back().await;
    fs::remove_dir_all(&others).unwrap();
    fs::rename(&away, &others).unwrap();
    let (engine, _) = case.open();
    assert_eq!(
        engine.model("other").unwrap().status(false).state,
        Readiness::Ready
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_segment_of_a_newer_program() {
    let case = Case::new();
    let last = case.segment(2);
    let bytes = fs::read(&last).unwrap();
    let mut newer = bytes.clone();
    newer[12..16].copy_from_slice(&2u32.to_le_bytes());
    let checksum = crc32c::crc32c(&newer[12..80]);
    newer[8..12].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&last, &newer).unwrap();
    let words = [
        "segment format 2, expected 1",
        "a newer version of the program wrote it",
    ];
    case.refuses(&words).await;
    case.refuses_to_be_looked_at(&words);
    fs::write(&last, &bytes).unwrap();
    case.comes_back().await;

    // One entry of it, whole and in its place.
    let case = Case::new().forget(2);
    let last = case.segment(2);
    let (position, newer) = with_newer_entry(&bytes);
    fs::write(&last, newer).unwrap();
    let position = format!("position {position}: kind ");
    let words = [
        position.as_str(),
        "format version 9, expected at most 3",
        "a newer version",
    ];
    case.refuses(&words).await;
    case.refuses_to_be_looked_at(&words);
    fs::write(&last, bytes).unwrap();
    case.comes_back().await;
}

/// The last entry says that it is of format 9, and is as whole as before.
fn with_newer_entry(segment: &[u8]) -> (u64, Vec<u8>) {
    let mut starts = Vec::new();
    for group in groups(segment) {
        let mut at = group.start + 32;
        for entry in group.entries {
            starts.push((at, entry.position));
            at += 96 + entry.payload_bytes;
        }
    }
    let [.., (before, _), (at, position)] = starts[..] else {
        panic!("two entries at least")
    };
    let mut newer = segment.to_vec();
    newer[at + 25] = 9;
    let mut chain = newer[before + 64..before + 96].to_vec();
    chain.extend(&newer[at + 4..at + 64]);
    newer[at + 64..at + 96].copy_from_slice(blake3::hash(&chain).as_bytes());
    let checksum = crc32c::crc32c(&newer[at + 4..at + 96]);
    newer[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
    (position, newer)
}
