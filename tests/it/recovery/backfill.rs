//! Declared backfills: a row of any age is learned once, whatever comes between.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use perennial::engine::{Acknowledgement, Engine, Error, ServedModel};
use perennial::event::{BACKFILL_TAG, Event, Feedback, Signal, Subject, Time};
use perennial::store::{self, Disk, Journal};

use super::clocked::Clocked;
use crate::support::{AUTO, copy, rows};

const DAY: i64 = 24 * 60;
const N_ROWS: usize = 30;

fn open(clocked: &Clocked, data: PathBuf) -> Arc<Engine> {
    let config = clocked.on(Disk::default(), data);
    Engine::open(config).expect("the engine opens")
}

/// Row `n` of a night's export, a year old.
fn event(n: usize, backfill: Option<&str>) -> Feedback {
    let (batch, class) = rows(n + 1, 0.0).nth(n).expect("rows go on");
    let tag = backfill.map(|name| (BACKFILL_TAG.to_owned(), name.to_owned()));
    Feedback {
        feedback_id: format!("row-{n}"),
        subject: Subject::Inputs {
            batch,
            decision: None,
        },
        signal: Signal::Label(class.to_owned()),
        source: "export".to_owned(),
        event_time: Some(Time(1_668_000_000_000_000 + n as i64)),
        tags: tag.into_iter().collect(),
        actor: String::new(),
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    }
}

async fn send(model: &ServedModel, event: Feedback) -> Result<Acknowledgement, Error> {
    let accepted = model.accept(event)?.wait().await?;
    if let Acknowledgement::Accepted { position } = accepted {
        model.wait_for_position(position).await?;
    }
    Ok(accepted)
}

/// Sends every row of a backfill; how many of them were new.
async fn send_all(model: &ServedModel, name: &str) -> usize {
    let mut n_new = 0;
    for n in 0..N_ROWS {
        match send(model, event(n, Some(name))).await.expect("room") {
            Acknowledgement::Accepted { .. } => n_new += 1,
            Acknowledgement::Duplicate { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    n_new
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_backfill_is_learned_once_after_thirty_days_a_kill_and_a_restart() {
    let clocked = Clocked::new("");
    let data = clocked.workspace.data();
    let engine = open(&clocked, data.clone());
    let model = engine.model("m").unwrap();
    assert_eq!(send_all(model, "may").await, N_ROWS);
    assert_eq!(send_all(model, "may").await, 0);
    let mut other = event(40, None);
    assert!(matches!(
        send(model, other.clone()).await,
        Ok(Acknowledgement::Accepted { .. })
    ));
    clocked.pass(30 * DAY);
    assert_eq!(send_all(model, "may").await, 0);
    assert_eq!(send_all(model, "june").await, 0, "an id is of the model");
    // The id of an event of no backfill is known for a day.
    other.signal = Signal::Label("b".to_owned());
    assert!(matches!(
        send(model, other).await,
        Ok(Acknowledgement::Accepted { .. })
    ));
    let examples = model.status(false).examples;
    assert_eq!(examples, N_ROWS as u64 + 2);
    // Under an id of a backfill nothing else is taken.
    let mut changed = event(3, Some("may"));
    changed.signal = Signal::Label("never".to_owned());
    let refused = send(model, changed).await.unwrap_err().to_string();
    assert!(refused.contains("another subject or signal"), "{refused}");

    // As a kill leaves the files.
    let image = clocked.workspace.data().with_file_name("image");
    copy(&data, &image);
    let rebuilt = clocked.workspace.data().with_file_name("rebuilt");
    copy(&data, &rebuilt);
    fs::remove_dir_all(rebuilt.join("m/ids")).expect("the ids");
    engine.close();
    drop(engine);
    for data in [image, rebuilt, data] {
        for _ in 0..2 {
            let engine = open(&clocked, data.clone());
            let model = engine.model("m").unwrap();
            assert_eq!(send_all(model, "may").await, 0, "{}", data.display());
            assert_eq!(model.status(false).examples, examples);
            engine.close();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_ids_of_backfills_are_bounded_in_bytes() {
    let toml = format!(
        "{AUTO}[learner]\nkind = \"neighbours\"\nexamples = 10\n[journal]\nbackfill_bytes_max = \"1MiB\"\n"
    );
    let clocked = Clocked::of(&toml);
    let data = clocked.workspace.data();
    let engine = open(&clocked, data.clone());
    engine.close();
    drop(engine);
    let path = data.join("m/journal");
    let (mut journal, found) =
        Journal::create_or_open(&path, 0, store::Config::default()).expect("a journal");
    let template = event(0, Some("may"));
    let n_max = (1 << 20) / 40;
    for n in 0..n_max - 1 {
        let event = Feedback {
            feedback_id: format!("old-{n}"),
            ..template.clone()
        };
        journal
            .append(found.last_time, &Event::Feedback(event))
            .expect("an entry");
    }
    journal.close().expect("it is synced");
    let engine = open(&clocked, data);
    let model = engine.model("m").unwrap();
    assert!(send(model, event(1, Some("may"))).await.is_ok());
    let refused = send(model, event(2, Some("may"))).await.unwrap_err();
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    assert!(
        refused.to_string().contains("journal.backfill_bytes_max"),
        "{refused}"
    );
    // Other feedback, and known backfills, are taken all the same.
    assert!(send(model, event(2, None)).await.is_ok());
    let known = send(model, event(1, Some("may"))).await;
    assert!(matches!(known, Ok(Acknowledgement::Duplicate { .. })));
    let bounds = model.bounds();
    let bound = bounds.iter().find(|bound| bound.name == "backfill_ids");
    assert!(bound.is_some_and(|bound| bound.used > 0.99), "{bounds:?}");
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_long_ago_is_learned_and_is_no_evidence() {
    let clocked = Clocked::new("[publish]\nscore_every = 1\n");
    let engine = open(&clocked, clocked.workspace.data());
    let model = engine.model("m").unwrap();
    let judged = || model.status(false).gate.expect("a gate").decline.labels;
    assert_eq!(send_all(model, "may").await, N_ROWS);
    assert_eq!((model.status(false).examples, judged()), (30, 0));
    let mut now = event(N_ROWS, None);
    now.event_time = Some(Time(1_700_000_000_000_000));
    let sent = send(model, now).await;
    assert!(
        matches!(sent, Ok(Acknowledgement::Accepted { .. })),
        "{sent:?}"
    );
    assert_eq!((model.status(false).examples, judged()), (31, 1));
    engine.close();
}
