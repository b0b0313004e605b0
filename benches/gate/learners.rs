//! The gate as a learner has it: decisions on a stream that does not change, where no side gets worse for good.
//!
//! Invariant: the probability of each label is known, so that a side's expected loss is, whatever labels came.

use std::collections::BTreeMap;
use std::sync::Arc;

use perennial::event::{
    Batch, Column, Description, Entry, Event, Feedback, Judgement, Outputs, Signal, Subject, Time,
};
use perennial::learn::Learner;
use perennial::model::{Choice, Model, REVISION, Spec};

use super::Random;

/// Examples that come before decisions count: a new model gets better.
const LEARNED_FIRST: u64 = 50_000;
/// Examples between two copies of the candidate, of which the newest is judged at a rewind.
const COPY_EVERY: u64 = 500;
/// Rows by which a side's expected loss is measured.
const ROWS: usize = 4_000;
const INPUTS: usize = 8;
/// That of the description, which states none.
const MARGIN: f64 = 0.01;

/// A learner, and what its gate decided.
struct Run {
    learner: Learner,
    position: u64,
    /// Expected losses of the champion and of the newest copy of the candidate.
    champion: f64,
    candidate: f64,
    /// Behind the first examples: decisions, and those that were wrong.
    n_promoted: u64,
    n_worse: u64,
    n_rewound: u64,
    n_unfounded: u64,
}

/// The rows of a measurement, with the probability of the first class.
struct Rows {
    batch: Batch,
    shares: Vec<f64>,
}

/// A row and the probability of the first class.
fn row(random: &mut Random) -> (Vec<f64>, f64) {
    let x: Vec<f64> = (0..INPUTS).map(|_| 2.0 * random.uniform() - 1.0).collect();
    let sum = 3.0 * x[0] - 2.0 * x[1] + x[2] + 1.5 * x[3] * x[4];
    let share = 1.0 / (1.0 + (-sum).exp());
    (x, share)
}

fn batch(rows: &[Vec<f64>]) -> Batch {
    let column = |input: usize| Column::Numbers(rows.iter().map(|x| x[input]).collect());
    Batch {
        n_rows: rows.len(),
        columns: (0..INPUTS).map(column).collect(),
    }
}

impl Rows {
    fn new() -> Rows {
        let mut random = Random(77);
        let (rows, shares): (Vec<_>, Vec<_>) = (0..ROWS).map(|_| row(&mut random)).unzip();
        Rows {
            batch: batch(&rows),
            shares,
        }
    }

    /// The expected half Brier score.
    fn loss(&self, model: &Model) -> f64 {
        let outputs = model.predict(&self.batch, Choice::Best).expect("an answer");
        let Outputs::Probabilities(answered) = &outputs else {
            panic!("probabilities: {outputs:?}")
        };
        let pairs = answered.chunks_exact(2).zip(&self.shares);
        let losses = pairs.map(|(answer, share)| {
            let [first, other] = [answer[0], answer[1]].map(f64::from);
            let of = |right: f64, wrong: f64| ((1.0 - right).powi(2) + wrong * wrong) / 2.0;
            share * of(first, other) + (1.0 - share) * of(other, first)
        });
        losses.sum::<f64>() / ROWS as f64
    }
}

impl Run {
    fn new(toml: &str) -> Run {
        let spec = Spec::parse(toml).expect("a description");
        let mut run = Run {
            learner: Learner::new(Arc::new(spec)),
            position: 0,
            champion: f64::INFINITY,
            candidate: f64::INFINITY,
            n_promoted: 0,
            n_worse: 0,
            n_rewound: 0,
            n_unfounded: 0,
        };
        run.apply(Event::Description(Description {
            toml: Spec::pin(toml, &[], REVISION),
            build: String::new(),
            profile: String::new(),
        }));
        run
    }

    fn apply(&mut self, event: Event) -> Vec<Judgement> {
        self.position += 1;
        let entry = Entry {
            position: self.position,
            time: Time(self.position as i64 * 1_000_000),
            event,
        };
        let step = self.learner.apply(&entry, &mut ()).expect("it is applied");
        let judgements = step.verdicts.iter().map(|one| one.judgement).collect();
        for record in self.learner.unrecorded() {
            self.position += 1;
            let entry = Entry {
                position: self.position,
                event: record,
                ..entry.clone()
            };
            self.learner
                .apply(&entry, &mut ())
                .expect("a record is as derived");
        }
        judgements
    }

    /// The expected loss of the champion.
    fn champion_loss(&self, rows: &Rows, is_live: bool) -> f64 {
        match self.learner.unserved_model() {
            Some(unserved) if is_live => rows.loss(&unserved),
            _ => rows.loss(&self.learner.served()),
        }
    }

    /// Learns so many examples; a freeze is lifted at once.
    fn learn(&mut self, rows: &Rows, n_examples: u64, is_live: bool) {
        let mut random = Random(5);
        for number in 0..n_examples {
            let (x, share) = row(&mut random);
            let label = if random.uniform() < share { "a" } else { "b" };
            let judgements = self.apply(Event::Feedback(feedback(number, &[x], label)));
            let counts = u64::from(number >= LEARNED_FIRST.min(n_examples / 4));
            for judgement in judgements {
                match judgement {
                    Judgement::Promoted => {
                        let before = self.champion;
                        self.champion = self.champion_loss(rows, is_live);
                        self.n_promoted += counts;
                        self.n_worse += counts * u64::from(self.champion > before + MARGIN);
                    }
                    Judgement::Rewound | Judgement::Declined => {
                        self.n_rewound += counts;
                        let is_unfounded = self.candidate <= self.champion;
                        self.n_unfounded += counts * u64::from(is_unfounded);
                    }
                    Judgement::Frozen | Judgement::Rejected => {}
                }
            }
            if self.learner.is_frozen() {
                let resume = perennial::event::Command {
                    order: perennial::event::Order::Resume,
                    actor: String::new(),
                    note: String::new(),
                };
                self.apply(Event::Command(resume));
            }
            if number % COPY_EVERY == 0 {
                self.candidate = rows.loss(&self.learner.model());
                if number == 0 {
                    self.champion = self.champion_loss(rows, is_live);
                }
            }
        }
    }
}

fn feedback(number: u64, rows: &[Vec<f64>], label: &str) -> Feedback {
    Feedback {
        feedback_id: number.to_string(),
        subject: Subject::Inputs {
            batch: batch(rows),
            decision: None,
        },
        signal: Signal::Label(label.to_owned()),
        source: "web".to_owned(),
        event_time: None,
        tags: BTreeMap::new(),
        actor: String::new(),
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    }
}

/// Prints the decisions of each kind of learner under each policy.
pub(super) fn print(n_examples: u64) {
    let rows = Rows::new();
    println!(
        "decisions of the gate at its defaults, {n_examples} examples of a stream that does not change, a \
         million counted behind the first"
    );
    for kind in ["auto", "gradient", "analytic"] {
        for policy in ["live", "gated"] {
            let inputs: Vec<String> = (0..INPUTS)
                .map(|input| format!("[[input]]\nname = '{input}'\nkind = 'number'\n"))
                .collect();
            let toml = format!(
                "task = 'classification'\nclasses = ['a', 'b']\n{}[learner]\nkind = '{kind}'\n\
                 [publish]\npolicy = '{policy}'\n",
                inputs.concat()
            );
            let mut run = Run::new(&toml);
            run.learn(&rows, n_examples, policy == "live");
            let per_million = |n: u64| n as f64 * 1e6 / (n_examples as f64);
            println!(
                "  {kind:9} {policy:6} promoted {:7.2} in 1,000,000, of which worse by more than the margin \
                 {:5.2}; proved worse {:5.2}, of which no worse {:5.2}",
                per_million(run.n_promoted),
                per_million(run.n_worse),
                per_million(run.n_rewound),
                per_million(run.n_unfounded),
            );
        }
    }
}
