//! Poisoned labels: one source of ten gives wrong ones, with and without budgets of sources and a gate.
//!
//! Invariant: every run takes the same rows of elec2, each predicted, labelled and learned before the next one;
//! answers are scored by the true labels, which the learner of a poisoned run does not see. Each source is a
//! slice, and incidents of before the first wrong label are closed then, as a person would.
//!
//! `cargo bench --bench poison`, or fewer rows: `cargo bench --bench poison -- 4000`.

#[path = "learn/data.rs"]
mod data;
#[path = "../tests/it/support/mod.rs"]
mod support;

use anyhow::Result;
use perennial::event::{
    Batch, Column, Command, Disposal, Event, Feedback, Order, Outputs, Retraction, Selector,
};
use perennial::learn::Fate;
use perennial::model::argmax;
use support::histories::twin;
use support::{LearnerHarness, label};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_ROWS: usize = 16_000;
const N_SOURCES: usize = 10;
/// The source whose labels are wrong, which nobody vouches for.
const POISONED: &str = "source 9";
/// A source teaches an eighth of the examples; of ten, each sends a tenth.
const BUDGETS: [(&str, &str); 2] = [
    ("none", ""),
    ("125 of 1000", "[sources]\nbudget = 125\nper = 1000\n"),
];
const POLICIES: [&str; 2] = ["live", "gated"];

/// How many of its labels are wrong, and how many events it sends for each row of its own.
const ATTACKS: [(f64, usize); 5] = [(0.0, 1), (0.1, 1), (0.3, 1), (1.0, 1), (1.0, 9)];

fn main() -> Result<()> {
    let n_rows = std::env::args().find_map(|one| one.parse().ok());
    let n_rows = n_rows.unwrap_or(N_ROWS);
    println!("cargo bench --bench poison -- {n_rows}\n");
    let rows = match data::folder() {
        Some(folder) => data::Rows::elec2(&folder)?,
        None => {
            println!("no PERENNIAL_DATA and no ../shared/data: generated data of the same shape");
            data::Rows::generated()
        }
    };
    println!("labels of {POISONED} are wrong behind row {}\n", n_rows / 4);
    println!(
        "| wrong | its part of the events | policy | budget | accuracy | champion of row | throttled | first \
         incident | its labels | it names first | labels until it is named first | retracted: as if never there |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (share, times) in ATTACKS {
        for policy in POLICIES {
            for (name, budget) in BUDGETS {
                let toml = format!(
                    "{}[publish]\npolicy = \"{policy}\"\n{}",
                    description(&rows),
                    vouched(budget)
                );
                let run = Run::new(&toml, &rows, n_rows, (share, times));
                let part = times as f64 / (times + N_SOURCES - 1) as f64;
                println!(
                    "| {:.0} % | {:.0} % | {policy} | {name} | {} |",
                    100.0 * share,
                    100.0 * part,
                    run.line()
                );
            }
        }
    }
    Ok(())
}

fn description(rows: &data::Rows) -> String {
    let mut classes: Vec<&String> = rows.labels.iter().take(1000).collect();
    classes.sort();
    classes.dedup();
    let inputs: Vec<String> = (0..8)
        .map(|input| format!("[[input]]\nname = \"{input}\"\nkind = \"number\"\n"))
        .collect();
    format!(
        "task = \"classification\"\nclasses = {classes:?}\n{}[monitor]\nsources = true\n",
        inputs.concat()
    )
}

/// The table of budgets with the names of all honest sources.
fn vouched(budget: &str) -> String {
    let honest: Vec<String> = (0..N_SOURCES - 1)
        .map(|one| format!("source {one}"))
        .collect();
    match budget {
        "" => String::new(),
        budget => format!("{budget}vouched = {honest:?}\n"),
    }
}

/// One stream, learned to its end.
struct Run {
    harness: LearnerHarness,
    /// Rows behind the first wrong label, and those that were answered right.
    n_answered: usize,
    n_right: usize,
    /// Labels between the first wrong one and the first incident, its kind, and the source that it names
    /// first.
    incident: Option<(usize, String, String)>,
    /// Labels between the first wrong one and the first incident that names the poisoned source first.
    named: Option<usize>,
    /// Entries before the first wrong label.
    n_before: u64,
}

impl Run {
    fn new(toml: &str, rows: &data::Rows, n_rows: usize, (share, times): (f64, usize)) -> Run {
        let mut run = Run {
            harness: LearnerHarness::new(toml),
            n_answered: 0,
            n_right: 0,
            incident: None,
            named: None,
            n_before: u64::MAX,
        };
        let mut n_labels = 0;
        for row in 0..n_rows {
            let is_poisoned = row >= n_rows / 4;
            if row == n_rows / 4 {
                run.close_incidents();
            }
            let source = format!("source {}", row % N_SOURCES);
            let n_events = if source == POISONED { times } else { 1 };
            for event in 0..n_events {
                let is_wrong = is_poisoned && source == POISONED && is_chosen(row, event, share);
                run.teach(
                    rows,
                    row,
                    (&source, event),
                    (is_poisoned && event == 0, is_wrong),
                );
                n_labels += usize::from(is_poisoned);
                run.note_incident(n_labels);
            }
        }
        run
    }

    /// Answers a row, scores the answer by its true label, and learns the label of the source.
    fn teach(
        &mut self,
        rows: &data::Rows,
        row: usize,
        (source, event): (&str, usize),
        (is_scored, is_wrong): (bool, bool),
    ) {
        let columns = rows.numbers[row].iter();
        let columns = columns.map(|value| Column::Numbers(vec![*value])).collect();
        let prediction = self.harness.predict(Batch { n_rows: 1, columns });
        let names = self.harness.learner.spec().task.names().to_vec();
        let Outputs::Probabilities(shares) = &prediction.outputs else {
            panic!("a classification answers with probabilities");
        };
        let truth = &rows.labels[row];
        if is_scored {
            self.n_answered += 1;
            self.n_right += usize::from(names[argmax(shares)] == *truth);
        }
        let other = names.iter().find(|name| *name != truth);
        let given_label = if is_wrong {
            other.expect("two classes")
        } else {
            truth
        };
        self.harness.append(Event::Feedback(Feedback {
            source: source.to_owned(),
            ..label(
                prediction.ids[0],
                &format!("row-{row}-{event}"),
                given_label,
            )
        }));
    }

    /// Closes the incidents of before the first wrong label.
    fn close_incidents(&mut self) {
        let incidents: Vec<u64> = {
            let incidents = self.harness.learner.incidents().iter();
            incidents.map(|one| one.position).collect()
        };
        for incident in incidents {
            self.harness.append(Event::Command(Command {
                order: Order::Close { incident },
                actor: String::new(),
                note: String::new(),
            }));
        }
        self.n_before = self.harness.learner.position();
    }

    fn note_incident(&mut self, n_labels: usize) {
        let incidents = self.harness.learner.incidents().iter();
        for one in incidents.filter(|one| one.position > self.n_before) {
            let suspect = one.suspects.first().map_or("", |one| &one.source);
            if self.incident.is_none() {
                let kind = one.kind.word().to_owned();
                self.incident = Some((n_labels, kind, suspect.to_owned()));
            }
            if self.named.is_none() && suspect == POISONED {
                self.named = Some(n_labels);
            }
        }
    }

    /// The columns of the table.
    fn line(mut self) -> String {
        let accuracy = self.n_right as f64 / self.n_answered as f64;
        let throttled = self.harness.learner.ledger().count(Fate::Throttled);
        let incident = match &self.incident {
            None => "none |  | ".to_owned(),
            Some((labels, kind, named)) => format!("{kind} | {labels} | {named}"),
        };
        let named = self
            .named
            .map_or("never".to_owned(), |labels| labels.to_string());
        // Two entries a row: the prediction, and the label of the source.
        let (_, champion) = self.harness.learner.champion().unwrap_or_default();
        let is_first = |one: &&perennial::event::Entry| match &one.event {
            Event::Feedback(feedback) => feedback.source == POISONED,
            _ => false,
        };
        let first = self
            .harness
            .journal
            .iter()
            .find(is_first)
            .expect("it sends");
        let retraction = Retraction {
            selector: Selector::Source(POISONED.to_owned()),
            first_position: first.position,
            disposal: Disposal::Keep,
        };
        self.harness.append(Event::Command(Command {
            order: Order::Retract(retraction),
            actor: String::new(),
            note: String::new(),
        }));
        let never = twin(&self.harness.journal);
        let digests = [&self.harness, &never].map(|one| {
            (
                one.learner.learned().digest(),
                one.learner.champion_digest(),
            )
        });
        let same = if digests[0] == digests[1] {
            "yes"
        } else {
            "NO"
        };
        format!(
            "{accuracy:.3} | {} | {throttled} | {incident} | {named} | {same}",
            champion / 2
        )
    }
}

/// True of a share of the events, spread by a hash.
fn is_chosen(row: usize, event: usize, share: f64) -> bool {
    let mixed = ((row * 31 + event) as u64 ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 11) as f64 / (1_u64 << 53) as f64) < share
}
