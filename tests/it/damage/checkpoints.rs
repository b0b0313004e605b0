//! Checkpoints that do not belong: truncated, renamed, copied, of another journal or of a newer
//! program, or ahead of their journal.
//!
//! Invariant: one that cannot be used is passed over with a warning, where an older one leads to
//! the same.

use std::fs;

use perennial::engine::Readiness;

use crate::damage::case::{Case, check_sentence, large, restore, stranger, taught, truncate};
use crate::support::copy;
use crate::support::server::{run, text};

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_truncated_file_of_a_checkpoint() {
    for file in [
        "manifest.json",
        "weights.safetensors",
        "learner.safetensors",
    ] {
        let case = Case::new();
        let [.., second, newest] = &case.checkpoints()[..] else {
            panic!("three")
        };
        truncate(&second.join(file));
        truncate(&newest.join(file));
        let log = case.comes_back().await;
        let words = [
            file,
            "passing over a damaged checkpoint",
            "restore the file from a copy",
        ];
        words
            .iter()
            .for_each(|word| assert!(log.contains(word), "{log}"));
        // Applied again from version 1, version 2 is whole again.
        restore(&case, 2).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_damaged_version_is_not_restored_and_restored_once_mended() {
    let case = Case::new();
    let weights = case.checkpoints()[1].join("weights.safetensors");
    let bytes = truncate(&weights);
    let before = case.files();
    let refused = restore(&case, 2).unwrap_err();
    check_sentence(
        &refused,
        &[
            "weights.safetensors",
            "use another checkpoint or restore the file",
        ],
    );
    assert!(case.files() == before);
    case.comes_back().await;
    fs::write(&weights, bytes).unwrap();
    restore(&case, 2).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_renamed_or_copied_checkpoint() {
    let case = Case::new();
    let newest = case.checkpoints().pop().unwrap();
    let other = newest.with_file_name("00000000000000000100");
    fs::rename(&newest, &other).unwrap();
    assert!(
        case.listed().contains("its folder of 100"),
        "{}",
        case.listed()
    );
    let log = case.comes_back().await;
    assert!(
        log.contains("passing over") && log.contains("its folder of 100"),
        "{log}"
    );

    let case = Case::new();
    let newest = case.checkpoints().pop().unwrap();
    let stray = newest.with_file_name("backup of yesterday");
    copy(&newest, &stray);
    case.refuses(&[
        "not a checkpoint; move it out of this folder",
        "backup of yesterday",
    ])
    .await;
    fs::remove_dir_all(stray).unwrap();
    case.comes_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_checkpoint_of_another_journal() {
    // Whole, under the number of a version that is gone: it is not taken for it.
    let case = Case::new();
    let second = case.checkpoints().swap_remove(1);
    let theirs = stranger().workspace.data().join("m/checkpoints");
    fs::remove_dir_all(&second).unwrap();
    copy(&theirs.join(second.file_name().unwrap()), &second);
    let words = "is of another journal; move it out of this folder";
    assert!(case.listed().contains(words), "{}", case.listed());
    damaged(&case, words);
    let refused = restore(&case, 2).unwrap_err();
    check_sentence(&refused, &["version 2 is no longer kept"]);
    case.comes_back().await;
    restore(&case, 1).unwrap();

    // In the place of the newest, it is not gone on from.
    let case = Case::new();
    let newest = case.checkpoints().pop().unwrap();
    let theirs = stranger().workspace.data().join("m/checkpoints");
    let theirs = theirs.join(newest.file_name().unwrap());
    let away = case.0.data().join("away");
    fs::rename(&newest, &away).unwrap();
    copy(&theirs, &newest);
    case.refuses(&[
        "is of another journal",
        "put back the checkpoints and the journal",
    ])
    .await;
    fs::remove_dir_all(&newest).unwrap();
    fs::rename(&away, &newest).unwrap();
    // One of its files alone.
    let weights = "weights.safetensors";
    fs::copy(theirs.join(weights), newest.join(weights)).unwrap();
    let log = case.comes_back().await;
    assert!(
        log.contains("the file is not the one that the manifest names"),
        "{log}"
    );
}

/// The program verifies that all is sound but this.
fn damaged(case: &Case, words: &str) {
    let (data, before) = (case.0.data(), case.files());
    let (stdout, stderr) = run(&["verify", "--data", text(&data)], 1);
    assert!(stderr.contains("1 of 2 models are damaged"), "{stderr}");
    let [m, other] = stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("a line each: {stdout}")
    };
    assert!(m.starts_with("m: damaged: ") && m.contains(words), "{m}");
    assert!(other.starts_with("other: sound: "), "{other}");
    assert!(case.files() == before, "verify changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_checkpoint_of_a_newer_program() {
    let case = Case::new();
    let manifest = case.checkpoints().pop().unwrap().join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let newer = text.replace("\"format\": 1", "\"format\": 4");
    let sealed = &newer[..newer.rfind("  \"checksum\"").unwrap()];
    let checksum = blake3::hash(sealed.as_bytes()).to_hex();
    fs::write(
        &manifest,
        format!("{sealed}  \"checksum\": \"{checksum}\"\n}}\n"),
    )
    .unwrap();
    let log = case.comes_back().await;
    let words = [
        "manifest format 4, expected",
        "a newer version of the program wrote it",
    ];
    words
        .iter()
        .for_each(|word| assert!(log.contains(word), "{log}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_checkpoint_ahead_of_its_journal_goes_as_the_sentence_says() {
    let case = Case::new();
    fs::remove_file(case.segment(2)).unwrap();
    damaged(&case, "but the journal ends at");
    case.refuses(&[
        "the checkpoint stands at position",
        "but the journal ends at",
    ])
    .await;
    // The advice is taken: the entries of the lost segment are lost, the rest goes on.
    let newest = case.checkpoints().pop().unwrap();
    fs::remove_dir_all(newest).unwrap();
    let (engine, _) = case.open();
    let model = engine.model("m").unwrap();
    assert_eq!(model.status(false).state, Readiness::Ready);
    assert!(model.status(false).position < taught().last_position());
    large(model, 61).await;
}
