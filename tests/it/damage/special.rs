//! Special files in the place of a file of a data directory: a pipe, a device, a socket, a folder, a
//! file without end, a link that leads elsewhere.
//!
//! Invariant: nobody waits for it and nobody reads it; a sentence names it, and the other model
//! goes on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use perennial::engine::{Config, Disposal, Engine, Offline, Readiness, RetractionRequest};
use perennial::event::Selector;

use crate::damage::case::{Case, below, check_sentence, taught};
use crate::damage::log::warnings;
use crate::support::server::{run, text};
use crate::support::special::{ALL, Special, each};
use crate::support::{AUTO, Workspace, digest, syncing_nothing, teach_rows};

/// The output of `verify` on a faulty data directory.
fn verify(data: &Path, models: &Path) -> String {
    let args = ["verify", "--data", text(data), "--models", text(models)];
    let (stdout, stderr) = run(&args, 1);
    stdout + &stderr
}

impl Case {
    fn verify(&self) -> String {
        verify(&self.0.data(), &self.0.models())
    }

    /// The model is not served, and both the start and the check give the reason in a sentence.
    fn is_refused(&self, place: &Path, words: &str) {
        let name = place.file_name().unwrap().to_str().unwrap();
        let found = self.verify();
        assert!(found.contains("m: damaged: "), "{found}");
        check_sentence(&found.replace('\n', " "), &[name, words]);
        assert!(found.contains("other: sound: "), "{found}");
        let (engine, _) = self.open();
        let Readiness::Unavailable(reason) = engine.model("m").unwrap().status(false).state else {
            panic!("it cannot be served: {words}")
        };
        check_sentence(&reason, &[name, words]);
        let other = engine.model("other").unwrap();
        assert_eq!(other.status(false).state, Readiness::Ready);
    }

    fn file(&self, path: &str) -> PathBuf {
        self.0.data().join(path)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_what_is_no_segment_is_refused_unread() {
    let case = Case::new();
    for segment in case.segments() {
        each(&segment, &ALL, |special| {
            case.is_refused(&segment, special.words());
        });
    }
    let list = case.file("m/journal/erasing");
    each(&list, &ALL, |special| {
        case.is_refused(&list, special.words());
    });
    case.comes_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_what_is_no_file_of_a_checkpoint_is_passed_over_with_a_warning() {
    for name in [
        "manifest.json",
        "weights.safetensors",
        "learner.safetensors",
    ] {
        for special in ALL {
            // A stop puts another checkpoint in its place, so each is a case of its own.
            let case = Case::new();
            let place = case.checkpoints().pop().unwrap().join(name);
            each(&place, &[special], |special| {
                let found = case.verify();
                check_sentence(&found.replace('\n', " "), &[name, special.words()]);
                let (engine, log) = case.open();
                let model = engine.model("m").unwrap();
                assert_eq!(model.status(false).state, Readiness::Ready);
                assert_eq!(digest(model), taught().digest);
                assert!(log.contains("passing over a damaged checkpoint"), "{log}");
                assert!(log.contains(special.words()), "{log}");
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_what_is_no_file_of_feedback_ids_is_refused_unread() {
    let case = Case::new();
    for name in ["tail", "retracted", "backfill", "00000000000000000001.ids"] {
        let place = case.file("m/ids").join(name);
        each(&place, &ALL, |special| {
            let words = match special {
                // Its header comes first.
                Special::Sparse if name.ends_with(".ids") => "its header is not what was written",
                special => special.words(),
            };
            case.is_refused(&place, words);
        });
    }
    case.comes_back().await;
}

/// A champion and a contender that a retraction brought beside the candidate.
async fn frozen() -> (Workspace, Vec<PathBuf>, blake3::Hash) {
    let gated =
        "[publish]\npolicy = \"gated\"\nevery_examples = 4\n[versions]\nevery_examples = 1000\n";
    let workspace = Workspace::new(&[("m", &format!("{AUTO}{gated}")), ("other", AUTO)]);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").unwrap();
    teach_rows(model, 12, 0.3, "row").await;
    let request = RetractionRequest {
        selector: Selector::FeedbackId("row-1".to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    model.retract(request).await.unwrap();
    let learned = digest(model);
    engine.close();
    let states = below(&workspace.data().join("m/frozen"));
    assert!(!states.is_empty(), "the sides are frozen");
    (workspace, states, learned)
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_what_is_no_file_of_a_frozen_state_is_passed_over_unread() {
    for name in [
        "manifest.json",
        "weights.safetensors",
        "learner.safetensors",
    ] {
        let (workspace, states, learned) = frozen().await;
        let place = states[0].join(name);
        each(&place, &ALL, |special| {
            let found = verify(&workspace.data(), &workspace.models());
            check_sentence(&found.replace('\n', " "), &[name, special.words()]);
            let (engine, log) = warnings(|| workspace.open_on(syncing_nothing()));
            let model = engine.model("m").unwrap();
            assert_eq!(model.status(false).state, Readiness::Ready, "{log}");
            assert_eq!(digest(model), learned);
            engine.close();
        });
    }
}

#[test]
fn p9_what_is_no_queue_of_a_webhook_is_refused_unread() {
    let case = Case::new();
    let place = case.file("_webhook.queue");
    let config = || Config {
        webhook_queue_max: Some(10),
        ..case.0.config()
    };
    each(&place, &ALL, |special| {
        let error = Engine::open(config()).err().expect("it is no queue");
        check_sentence(&error.to_string(), &["_webhook.queue", special.words()]);
    });
    let engine = Engine::open(config()).expect("a queue is begun");
    assert_eq!(digest(engine.model("m").unwrap()), taught().digest);
}

#[test]
fn p9_what_is_no_lock_is_not_locked() {
    let case = Case::new();
    let lock = case.file("LOCK");
    let kinds: Vec<Special> = ALL
        .into_iter()
        .filter(|one| *one != Special::Sparse)
        .collect();
    each(&lock, &kinds, |special| {
        let words = ["LOCK: cannot open it: ", special.words()];
        check_sentence(
            &Engine::open(case.0.config()).err().unwrap().to_string(),
            &words,
        );
        let offline = Offline::open(&case.0.data(), "m");
        check_sentence(&offline.unwrap_err().to_string(), &words);
        check_sentence(case.verify().trim_end(), &words);
    });
    case.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_folders_that_lead_elsewhere_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    for path in ["m", "m/journal", "m/checkpoints"] {
        let case = Case::new();
        let (place, moved) = (case.file(path), outside.path().join(path.replace('/', "-")));
        fs::rename(&place, &moved).unwrap();
        symlink(&moved, &place).unwrap();
        case.is_refused(&place, "a link leads to ");
        fs::remove_file(&place).unwrap();
        // Within the data directory it may lead where it likes, and the directory may be a link.
        let inner = case.file("elsewhere");
        fs::rename(&moved, &inner).unwrap();
        symlink(&inner, &place).unwrap();
        let data = outside.path().join("data");
        symlink(case.0.data(), &data).unwrap();
        let mut config = case.0.config();
        config.data = data.clone();
        let engine = Engine::open(config).unwrap();
        assert_eq!(
            digest(engine.model("m").unwrap()),
            taught().digest,
            "{path}"
        );
        drop(engine);
        fs::remove_file(&data).unwrap();
    }
    let case = Case::new();
    let newest = case.checkpoints().pop().unwrap();
    let moved = outside.path().join("newest");
    fs::rename(&newest, &moved).unwrap();
    symlink(&moved, &newest).unwrap();
    check_sentence(
        &case.verify().replace('\n', " "),
        &["manifest.json", "a link leads to "],
    );
    let (engine, log) = case.open();
    assert_eq!(digest(engine.model("m").unwrap()), taught().digest);
    assert!(log.contains("a link leads to "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_journal_that_is_gone_is_not_begun_anew() {
    let case = Case::new();
    let journal = case.file("m/journal");
    let moved = case.file("m/moved");
    fs::rename(&journal, &moved).unwrap();
    case.is_refused(&journal, "the journal is gone, and ");
    case.refuses_to_be_looked_at(&["m/journal: the journal is gone, and "]);
    assert!(!journal.exists());
    fs::rename(&moved, &journal).unwrap();
    case.comes_back().await;
}

#[test]
fn p1_a_model_with_data_and_no_description_is_told_of() {
    let case = Case::new();
    fs::remove_file(case.0.models().join("m/model.toml")).unwrap();
    let (data, models) = (case.0.data(), case.0.models());
    let args = ["verify", "--data", text(&data), "--models", text(&models)];
    let (stdout, stderr) = run(&args, 0);
    assert!(stdout.contains("m: sound: "), "{stdout}");
    let sentence = "m has data, and no model.toml: it is not served";
    assert!(stderr.contains(sentence), "{stderr}");
    let (engine, log) = case.open();
    let Readiness::Unavailable(reason) = engine.model("m").unwrap().status(false).state else {
        panic!("it has no description")
    };
    let words = [
        "it has data and no description: cannot read ",
        "m/model.toml: No such file",
        "; put the file back, or move ",
    ];
    check_sentence(&reason, &words);
    assert!(log.contains(words[0]), "{log}");
}
