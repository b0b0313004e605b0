//! Equal states and equal entries give equal states: across restarts, processes and names.
//!
//! Invariant: every comparison is of whole states or of digests, bit for bit.

use crate::support::{AUTO, LearnerHarness, cases, gradient, label, rows};
use perennial::event::{
    Batch, Column, Command, Description, Duplicate, Entry, Event, Feedback, Order, Outputs,
    PredictionId, Signal, Subject, Time,
};
use perennial::learn::{Fate, Learner};
use perennial::model::{Choice, REVISION, Spec};

/// Rows of the fixed list.
const N_ROWS: usize = 230;
const TURN: f64 = 0.3;

/// The descriptions compared everywhere: every learner of the contract with every task, and networks with
/// updates of more than one example.
fn descriptions() -> Vec<String> {
    let batches = |toml: String| {
        let (learner, update) = ("[learner]\n", "[learner]\nexamples_per_update = 3\n");
        toml.replace(learner, update)
    };
    let mut all = vec![
        AUTO.to_owned(),
        gradient("sgd", "", "none"),
        batches(gradient("sgd", "8", "er")),
        batches(gradient("adamw", "8, 4", "der++")),
    ];
    for (learner, remembered_max) in cases::learners() {
        for task in cases::TASKS {
            let toml = cases::case(task, &learner, cases::SEED, remembered_max).toml;
            let (own, _) = toml.split_once("[versions]").expect("the last table");
            all.push(own.to_owned());
        }
    }
    // A short memory for waiting predictions, and versions by cadence.
    let limits = "[feedback]\nwaiting_max = 40\n[versions]\nevery_examples = 64\n";
    all.iter_mut().for_each(|toml| toml.push_str(limits));
    all
}

/// The truth of a row; for a bandit its reward.
fn truth(outputs: &Outputs, class: &str) -> Signal {
    let is_a = class == "a";
    match outputs {
        Outputs::Probabilities(_) | Outputs::Decisions { .. } => Signal::Label(class.to_owned()),
        Outputs::Values(_) => Signal::Value(if is_a { 3.5 } else { -1.0 }),
        Outputs::Actions { chosen, .. } => {
            Signal::Reward(f64::from(u8::from((chosen[0] == 0) == is_a)))
        }
    }
}

fn command(order: Order) -> Event {
    Event::Command(Command {
        order,
        actor: String::new(),
        note: "a test asks".to_owned(),
    })
}

fn unmatched(feedback_id: &str) -> Event {
    Event::Feedback(label(PredictionId(u128::MAX), feedback_id, "a"))
}

/// Feedback about the last of these predictions, by its index: its label, none, or a faulty one.
fn feed_back(
    harness: &mut LearnerHarness,
    index: usize,
    batch: Batch,
    (class, signal): (&str, Signal),
    ids: &[PredictionId],
) {
    let (id, feedback_id) = (ids[index], format!("label-{index}"));
    let labelled = |id| Feedback {
        signal: signal.clone(),
        ..label(id, &feedback_id, class)
    };
    match index % 16 {
        // A prediction without feedback.
        3 => {}
        // Sent twice: under the same id, then under another.
        5 => {
            harness.append(Event::Feedback(labelled(id)));
            let first_position = harness.learner.position();
            harness.append(Event::Duplicate(Duplicate {
                feedback_id,
                first_position,
            }));
            harness.submit(id, signal);
        }
        7 => {
            harness.append(unmatched(&feedback_id));
        }
        // A row that comes with its truth; a bandit's is the right action.
        9 => {
            let row = Subject::Inputs {
                batch,
                decision: None,
            };
            let mut taught = Feedback {
                subject: row,
                ..labelled(id)
            };
            if let Signal::Reward(_) = taught.signal {
                taught.signal = Signal::Label(class.to_owned());
            }
            harness.append(Event::Feedback(taught));
            harness.append(Event::Feedback(Feedback {
                feedback_id: format!("later-{index}"),
                ..labelled(id)
            }));
        }
        // Of a prediction that made room long ago, in the later rows.
        11 => {
            let old = ids[index.saturating_sub(60)];
            harness.append(Event::Feedback(labelled(old)));
        }
        13 => {
            harness.append(Event::Feedback(label(id, &feedback_id, "no class")));
        }
        _ => {
            harness.append(Event::Feedback(labelled(id)));
        }
    }
}

/// About five hundred entries: labels, some of them late, double, wrong or without a prediction,
/// rows that come with their label, commands, and a restore to the first version by command.
fn varied_history(toml: &str) -> LearnerHarness {
    let mut harness = LearnerHarness::new(toml);
    let mut ids = Vec::new();
    let mut checkpoint = 0;
    for (index, (batch, class)) in rows(N_ROWS, TURN).enumerate() {
        let prediction = harness.predict(batch.clone());
        let (id, signal) = (prediction.ids[0], truth(&prediction.outputs, class));
        ids.push(id);
        feed_back(&mut harness, index, batch, (class, signal), &ids);
        match index {
            80 | 170 => {
                let step = harness.append(command(Order::Checkpoint));
                checkpoint = step.version.unwrap().version;
            }
            120 | 200 => {
                let version = checkpoint;
                harness.append(command(Order::Restore { version }));
            }
            _ => {}
        }
    }
    harness
}

/// The learner of the same entries from the start; between them, `between` may do what it likes.
fn replay(
    toml: &str,
    journal: &[Entry],
    mut between: impl FnMut(&mut LearnerHarness),
) -> LearnerHarness {
    let mut harness = LearnerHarness::empty(&Spec::pin(toml, &[], REVISION));
    for entry in journal {
        harness.apply(entry.clone());
        between(&mut harness);
    }
    harness
}

fn check_equal(one: &LearnerHarness, other: &LearnerHarness, toml: &str) {
    let (one, other) = (&one.learner, &other.learner);
    assert_eq!(one.learned().digest(), other.learned().digest(), "{toml}");
    assert_eq!(one.evaluation(), other.evaluation(), "{toml}");
    assert_eq!(one.ledger(), other.ledger(), "{toml}");
    assert!(one == other, "{toml}");
}

/// Everything that a process can tell another of a state.
fn summary(learner: &Learner) -> String {
    let (learned, state) = (learner.learned().digest(), learner.state().digest());
    format!("digest {learned} {state}")
}

#[test]
fn p2_the_fixed_list_meets_every_fate_it_is_meant_to() {
    for toml in descriptions() {
        let harness = varied_history(&toml);
        let n_entries = harness.journal.len();
        assert!((450..550).contains(&n_entries), "{n_entries} entries");
        let ledger = harness.learner.ledger();
        let fates = [
            Fate::Applied,
            Fate::Duplicate,
            Fate::Unmatched,
            Fate::Expired,
            Fate::Undone,
        ];
        for fate in fates {
            assert!(ledger.count(fate) > 0, "{fate:?}: {ledger:?}: {toml}");
        }
    }
}

#[test]
fn p2_a_replay_from_the_start_is_equal() {
    for toml in descriptions() {
        let harness = varied_history(&toml);
        check_equal(&replay(&toml, &harness.journal, |_| {}), &harness, &toml);
    }
}

#[test]
fn p2_going_on_from_what_was_saved_is_never_having_stopped() {
    for toml in descriptions() {
        let harness = varied_history(&toml);
        // Once at each place, and once at all of them.
        for stop in (50..harness.journal.len() as u64).step_by(50) {
            let resumed = replay(&toml, &harness.journal, |harness| {
                if harness.learner.position() == stop {
                    harness.reload();
                }
            });
            check_equal(&resumed, &harness, &toml);
        }
        let resumed = replay(&toml, &harness.journal, |harness| {
            if harness.learner.position().is_multiple_of(50) {
                harness.reload();
            }
        });
        check_equal(&resumed, &harness, &toml);
    }
}

#[test]
fn p2_summaries_are_printed() {
    for toml in descriptions() {
        println!("\n{}", summary(&varied_history(&toml).learner));
    }
}

/// The lines that a test of this module prints in a process of its own, which is given so many
/// threads by the variables that rayon and candle read; by none of them where none are given.
fn printed(test: &str, n_threads: Option<usize>) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(program);
    child.args(["--exact", &format!("determinism::{test}"), "--nocapture"]);
    for variable in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        match n_threads {
            Some(n_threads) => child.env(variable, n_threads.to_string()),
            None => child.env_remove(variable),
        };
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let digests = text.lines().filter(|line| line.starts_with("digest "));
    digests.map(str::to_owned).collect()
}

#[test]
fn p2_a_second_process_comes_to_the_same() {
    let output = printed("p2_summaries_are_printed", None);
    let own: Vec<String> = descriptions()
        .iter()
        .map(|toml| summary(&varied_history(toml).learner))
        .collect();
    assert_eq!(output, own);
}

/// Networks so wide that candle would spread their products over threads: learned in updates of
/// many rows, on the processor and by the steps of a device, then asked for many rows at once.
fn wide_summaries() -> Vec<String> {
    const WIDTH: usize = 256;
    let summary = |device: &str| {
        let toml = format!(
            "task = 'classification'\nclasses = ['a', 'b', 'c']\n\
             [[input]]\nname = 'v'\nkind = 'vector'\nlength = {WIDTH}\n\
             [network]\nkind = 'mlp'\nhidden = [{WIDTH}, {WIDTH}]\n\
             [learner]\nkind = 'gradient'\nexamples_per_update = 32\n\
             [backend]\ndevice = '{device}'\n"
        );
        let spec = std::sync::Arc::new(Spec::parse(&toml).unwrap());
        let mut learner = Learner::new(spec);
        let values = |row: u64| {
            let value = move |place: usize| ((row as f32 + 1.0) * (place as f32 + 0.5)).sin();
            (0..WIDTH).flat_map(move |place| value(place).to_le_bytes())
        };
        let batch = |rows: std::ops::Range<u64>| Batch {
            n_rows: (rows.end - rows.start) as usize,
            columns: vec![Column::Vectors(
                rows.flat_map(values).collect::<Vec<u8>>().into(),
            )],
        };
        for position in 1..=96 {
            let feedback = Feedback {
                feedback_id: position.to_string(),
                subject: Subject::Inputs {
                    batch: batch(position..position + 1),
                    decision: None,
                },
                signal: Signal::Label(["a", "b", "c"][position as usize % 3].to_owned()),
                source: String::new(),
                event_time: None,
                tags: Default::default(),
                actor: String::new(),
                weight: 1.0,
                comment: String::new(),
                may_correct: false,
            };
            let entry = Entry {
                position,
                time: Time(0),
                event: Event::Feedback(feedback),
            };
            learner.apply(&entry, &mut ()).unwrap();
        }
        let outputs = learner
            .model()
            .predict(&batch(0..300), Choice::Best)
            .unwrap();
        let Outputs::Probabilities(p) = outputs else {
            panic!("{outputs:?}");
        };
        let bits: Vec<u8> = p.iter().flat_map(|p| p.to_bits().to_le_bytes()).collect();
        let answered = blake3::hash(&bits).to_hex();
        format!("digest {} {answered}", learner.learned().digest())
    };
    ["cpu", "candle"].into_iter().map(summary).collect()
}

#[test]
fn p2_wide_summaries_are_printed() {
    wide_summaries()
        .iter()
        .for_each(|summary| println!("\n{summary}"));
}

#[test]
fn p2_the_number_of_threads_changes_no_digest() {
    let own = wide_summaries();
    for n_threads in [None, Some(1), Some(8)] {
        let printed = printed("p2_wide_summaries_are_printed", n_threads);
        assert_eq!(printed, own, "{n_threads:?}");
    }
}

/// The fact under other names, whose order is the same.
fn rename(event: &Event) -> Event {
    let rename_id = |id: PredictionId| match id.0 {
        u128::MAX => id,
        number => PredictionId(number * 7 + 1_000_000),
    };
    let mut event = event.clone();
    match &mut event {
        Event::Prediction(prediction) => {
            prediction
                .ids
                .iter_mut()
                .for_each(|id| *id = rename_id(*id));
        }
        Event::Feedback(feedback) => {
            feedback.feedback_id = format!("other-{}", feedback.feedback_id);
            if let Subject::Prediction(id) = &mut feedback.subject {
                *id = rename_id(*id);
            }
            if let Signal::PreferredOver(id) = &mut feedback.signal {
                *id = rename_id(*id);
            }
        }
        Event::Duplicate(duplicate) => {
            duplicate.feedback_id = format!("other-{}", duplicate.feedback_id);
        }
        Event::Description(description) => {
            *description = Description {
                build: "another build".to_owned(),
                ..description.clone()
            };
        }
        Event::Tick(_)
        | Event::Command(_)
        | Event::Version(_)
        | Event::Verdict(_)
        | Event::Drift(_)
        | Event::Refusal(_)
        | Event::Erasure(_)
        | Event::Erased(_) => {}
    }
    event
}

#[test]
fn p2_what_is_learned_knows_no_names_and_no_positions() {
    for toml in descriptions() {
        let harness = varied_history(&toml);
        let mut other = LearnerHarness::empty(&Spec::pin(&toml, &[], REVISION));
        let mut n_more = 0;
        // Records are derived again.
        let causes = harness.journal.iter().map(|entry| &entry.event);
        for cause in causes.filter(|event| !matches!(event, Event::Version(_) | Event::Verdict(_)))
        {
            other.append(rename(cause));
            if other.learner.position().is_multiple_of(3) {
                other.append(unmatched(&format!("more-{n_more}")));
                n_more += 1;
            }
        }
        assert!(n_more > 100);
        assert!(other.learner.position() > harness.learner.position());
        let digest = |harness: &LearnerHarness| harness.learner.learned().digest().to_string();
        assert_eq!(digest(&other), digest(&harness), "{toml}");
        assert_eq!(
            other.learner.evaluation(),
            harness.learner.evaluation(),
            "{toml}"
        );
    }
}

#[test]
fn p10_every_accepted_event_has_one_fate_at_every_moment() {
    for toml in descriptions() {
        let harness = varied_history(&toml);
        let mut n_accepted = 0;
        replay(&toml, &harness.journal, |harness| {
            let last = harness.journal.last().unwrap();
            let accepted = matches!(last.event, Event::Feedback(_) | Event::Duplicate(_));
            n_accepted += u64::from(accepted);
            let ledger = harness.learner.ledger();
            let counts = Fate::ALL.map(|fate| ledger.count(fate));
            assert_eq!(counts.iter().sum::<u64>(), n_accepted, "{counts:?}: {toml}");
            assert_eq!(ledger.total(), n_accepted);
            let n_learned = harness.learner.learned().n_examples();
            assert_eq!(ledger.count(Fate::Applied), n_learned, "{counts:?}: {toml}");
        });
        assert!(n_accepted > 200, "{n_accepted}");
    }
}

#[test]
fn p10_rewards_count_once_and_only_within_their_window() {
    let toml = AUTO
        .replace("classification", "bandit")
        .replace("classes", "actions");
    let toml = format!("{toml}[feedback]\nwindow_s = 6\n");
    let mut harness = LearnerHarness::new(&toml);
    let mut waiting = Vec::new();
    for (index, (batch, _)) in rows(60, TURN).enumerate() {
        let id = harness.predict(batch).ids[0];
        match index % 3 {
            0 => waiting.push(id),
            1 => {
                harness.submit(id, Signal::Reward(1.0));
                let again = harness.submit(id, Signal::Reward(1.0));
                assert_eq!(again.fate, Some(Fate::Duplicate));
            }
            // The truth joins besides a reward, and whenever it comes.
            _ => {
                harness.submit(id, Signal::Reward(0.0));
                let labelled = harness.submit(waiting[index / 6], Signal::Label("a".to_owned()));
                let expected = [Fate::Applied, Fate::Duplicate][usize::from(index % 6 == 5)];
                assert_eq!(labelled.fate, Some(expected), "{index}");
            }
        }
    }
    for id in &waiting[..15] {
        assert_eq!(
            harness.submit(*id, Signal::Reward(1.0)).fate,
            Some(Fate::Late)
        );
    }
    let ledger = harness.learner.ledger();
    let met = [Fate::Applied, Fate::Duplicate, Fate::Late].map(|fate| ledger.count(fate));
    assert_eq!(met, [20 + 20 + 10, 20 + 10, 15]);
    assert_eq!(ledger.total(), met.iter().sum::<u64>());
    check_equal(
        &replay(&toml, &harness.journal, LearnerHarness::reload),
        &harness,
        &toml,
    );
}
