//! The disk refuses: each change in turn, once and from then on.
//!
//! Invariant: after the journal's failure nothing is acknowledged, every prediction is answered as
//! what was learned says, and a restart finds everything that was acknowledged.

use perennial::engine::{Accepted, Engine, Hosted, Manner, State};
use perennial::event::{Event, Order, Outputs, PredictionId};
use perennial::store::Reader;

use super::disk::{Fault, Recording};
use crate::common::{AUTO, House, answers, digest, label, order, rows};
use crate::replay::replayed;

const N_ROWS: usize = 10;

/// What one run of the workload came to.
#[derive(Default)]
struct Run {
    /// Feedback ids and positions.
    acknowledged: Vec<(String, u64)>,
    /// Whether anything was acknowledged after the journal had failed.
    after_failure: bool,
    failed: bool,
    /// What fifty rows are answered, after each row learned.
    answers: Vec<Vec<Outputs>>,
    n_changes: usize,
}

/// Predicts and feeds back row by row; a checkpoint in between.
async fn work(model: &Hosted, run: &mut Run) {
    run.answers.push(answers(model));
    for (index, (batch, truth)) in rows(N_ROWS, 0.3).enumerate() {
        let snapshot = model.snapshot("").unwrap();
        let answer = model.predict(&snapshot, batch, Manner::default());
        let Outputs::Probabilities(said) = &answer.outputs else {
            panic!("a classification")
        };
        assert_eq!(said.len(), 2, "predictions go on");
        let feedback_id = format!("row-{index}");
        let Some(id) = answer.ids.first() else {
            // A record or a sync of predictions may have failed meanwhile.
            says_so(model);
            run.failed = true;
            let event = label(PredictionId(1), &feedback_id, truth);
            assert!(model.accept(event).is_err());
            continue;
        };
        let accepted = match model.accept(label(*id, &feedback_id, truth)) {
            Ok(receipt) => receipt.wait().await,
            Err(error) => Err(error),
        };
        match accepted {
            Ok(Accepted::Accepted { position }) => {
                run.after_failure |= run.failed;
                run.acknowledged.push((feedback_id, position));
                model.reach(position).await.unwrap();
                run.answers.push(answers(model));
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => {
                says_so(model);
                run.failed = true;
            }
        }
        if index == N_ROWS / 2 && !run.failed {
            // Its checkpoint may be refused; that is no failure of the journal.
            let command = perennial::event::Command {
                order: Order::Checkpoint,
                actor: String::new(),
                note: String::new(),
            };
            let _ = model.command(command).await;
        }
    }
    let last = run.answers.last().unwrap();
    assert_eq!(
        *last,
        answers(model),
        "answers are those of what was learned"
    );
}

/// The status says that the journal failed.
fn says_so(model: &Hosted) {
    let State::Unavailable(reason) = model.status(false).state else {
        panic!("the status says that all is well")
    };
    assert!(reason.contains("journal failed"), "{reason}");
}

async fn run(house: &House, fault: Option<Fault>) -> Run {
    let root = house.data().parent().unwrap().to_owned();
    let (recording, disk) = Recording::failing(&root, fault);
    let mut run = Run::default();
    let config = perennial::engine::Config {
        disk,
        ..house.config()
    };
    match Engine::open(config) {
        Err(error) => assert!(error.to_string().contains("cannot "), "{error}"),
        Ok(engine) => {
            let model = engine.model("m").unwrap();
            match model.snapshot("") {
                Ok(_) => work(model, &mut run).await,
                Err(error) => assert!(error.to_string().contains("cannot "), "{error}"),
            }
            engine.close();
        }
    }
    run.n_changes = recording.len();
    run
}

/// The disk is well again: everything acknowledged is there, and it goes on.
async fn recovers(house: &House, run: &Run, what: &str) {
    let (_, disk) = Recording::of(&house.data());
    let engine = house.open_on(disk);
    let model = engine.model("m").unwrap();
    assert_eq!(model.status(false).state, State::Ready, "{what}");
    let (journal, last) = (
        house.data().join("m/journal"),
        model.status(false).journal_position,
    );
    let mut reader = Reader::open(&journal, 1, last).unwrap();
    for (feedback_id, position) in &run.acknowledged {
        let entry = reader.read(*position).unwrap();
        let Event::Feedback(feedback) = entry.event else {
            panic!("{what}: {position} is no feedback")
        };
        assert_eq!(feedback.feedback_id, *feedback_id, "{what}");
    }
    assert_eq!(replayed(&journal, last).unwrap(), digest(model), "{what}");
    order(model, Order::Checkpoint).await;
}

/// Each change in turn fails like this.
async fn each(error: i32, for_ever: bool) {
    let sound = run(&House::new(&[("m", AUTO)]), None).await;
    assert!(!sound.failed);
    assert_eq!(sound.acknowledged.len(), N_ROWS);
    let mut n_failed = 0;
    for at in 1.. {
        let house = House::new(&[("m", AUTO)]);
        let fault = Fault {
            at,
            error,
            for_ever,
        };
        let run = run(&house, Some(fault)).await;
        let what = format!("{fault:?}");
        assert!(!run.after_failure, "{what}");
        assert_eq!(run.answers, sound.answers[..run.answers.len()], "{what}");
        recovers(&house, &run, &what).await;
        n_failed += usize::from(run.failed);
        if run.n_changes < at {
            println!("{at} faults, {n_failed} of them stopped feedback");
            break;
        }
        assert!(at < 1000, "the workload has about a hundred changes");
    }
    assert!(n_failed > N_ROWS, "{n_failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_change_that_fails_once_stops_feedback_and_nothing_else() {
    each(libc::EIO, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_disk_that_is_full_from_any_change_on_stops_feedback_and_nothing_else() {
    each(libc::ENOSPC, true).await;
}
