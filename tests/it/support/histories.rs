//! Random histories of one model: answers, feedback of several sources, silence, versions,
//! restores, retractions and restarts, decided by a seed.

use std::collections::{BTreeMap, BTreeSet};

use perennial::event::{
    Command, Disposal, Duplicate, Entry, Event, Feedback, Order, Outputs, Prediction, PredictionId,
    Reason, Retraction, Selector, Signal, Subject, Time, Version,
};
use perennial::learn::Fate;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{LearnerHarness, label, rows};

pub(crate) const SOURCES: [&str; 3] = ["people", "clicks", "batch"];
const SECOND: i64 = 1_000_000;

/// The task of values.
const VALUES: &str = "task = \"regression\"\n";

/// Budgets that are spent soon, of which one counts no more after a while.
const BUDGET: &str = "[sources]\nbudget = 4\nper = 16\nwithin = \"1m\"\nvouched = [\"people\"]\n";

/// A quarantine in which little has room.
const QUARANTINE: &str = "[quarantine]\noutliers = 3\nflood = 5\nwaiting_max = 6\n";

/// The descriptions that histories are of.
pub(crate) fn descriptions() -> Vec<String> {
    named().into_iter().map(|(_, toml)| toml).collect()
}

/// The descriptions, each with a name for tests that choose among them.
pub(crate) fn named() -> Vec<(&'static str, String)> {
    let inputs = "[[input]]\nname = \"x\"\nkind = \"number\"\n\
        [[input]]\nname = \"y\"\nkind = \"number\"\n\
        [[input]]\nname = \"c\"\nkind = \"category\"\n";
    let classes = "task = \"classification\"\nclasses = [\"a\", \"b\"]\nclasses_max = 4\n";
    let actions = "task = \"bandit\"\nactions = [\"a\", \"b\"]\n";
    let network = "[network]\nkind = \"mlp\"\nhidden = [6]\n[learner]\nkind = \"gradient\"\n\
        examples_per_update = 2\n[memory]\nstrategy = \"der++\"\nlong_term = 12\nreplay = 3\n";
    let analytic = "[learner]\nkind = \"analytic\"\nfeatures = 12\n";
    let silence = "[feedback]\nwindow_s = 20\ndefault_reward = 0.0\naggregate = \"sum\"\n";
    let short = "[feedback]\nwindow_s = 20\nwaiting_max = 12\n";
    let device = "[backend]\ndevice = \"candle\"\n";
    let explores = "[policy]\nkind = \"epsilon\"\nepsilon = 0.5\n";
    let versions = "[versions]\nevery_examples = 16\n";
    let slices = "[monitor]\ninputs = [\"c\"]\ntags = [\"team\"]\nvalues_max = 2\n";
    let with = |name, task: &str, rest: &str| (name, format!("{task}{inputs}{versions}{rest}"));
    let join = |parts: &[&str]| parts.concat();
    let gated = gate("gated");
    vec![
        with("auto", classes, short),
        with("network", classes, network),
        with("rewards", actions, &join(&[silence, network])),
        with("analytic", actions, &join(&[silence, analytic])),
        with("device", classes, &join(&[network, device])),
        with("series", VALUES, "[series]\nkey = \"c\"\nkeys_max = 2\n"),
        with("live", classes, &join(&[analytic, &gate("live")])),
        with("gated", classes, &join(&[network, slices, &gated])),
        with("gated-values", VALUES, &join(&[slices, &gated])),
        with(
            "gated-actions",
            actions,
            &join(&[analytic, explores, slices, &gated]),
        ),
        with("manual", classes, &join(&[analytic, &gate("manual")])),
        with(
            "budget-actions",
            actions,
            &join(&[silence, analytic, BUDGET]),
        ),
        with("budget", classes, &join(&[network, BUDGET, &gated])),
        with(
            "quarantine",
            classes,
            &join(&[analytic, BUDGET, QUARANTINE]),
        ),
        with("quarantine-values", VALUES, &join(&[QUARANTINE, &gated])),
    ]
}

/// A gate that decides on as little evidence as it can.
fn gate(policy: &str) -> String {
    format!(
        "[publish]\npolicy = \"{policy}\"\nevery_examples = 4\nscore_every = 1\nmargin = 0.5\nalpha = 0.5\n\
         freeze_within = 30\n"
    )
}

/// One history, by its seed: a learner that lived through it, and its journal.
pub(crate) struct History {
    pub harness: LearnerHarness,
    rng: ChaCha8Rng,
    /// Predictions that were served, and the number of feedback events.
    served: Vec<Prediction>,
    n_submitted: usize,
    /// Whether versions are asked for that hold the retracted feedback, which is refused.
    asks_tainted: bool,
    /// Whether people give orders about evidence.
    is_judged: bool,
    /// Whether events have weights.
    is_weighted: bool,
    /// Whether people decide on quarantined feedback, and some feedback is wild.
    is_reviewed: bool,
    /// Draws of its own, so that all else is as without names.
    names: ChaCha8Rng,
}

impl History {
    /// Lives through `n_steps`.
    pub(crate) fn run(toml: &str, seed: u64, n_steps: usize) -> History {
        let mut history = History {
            harness: LearnerHarness::new(toml),
            rng: ChaCha8Rng::seed_from_u64(seed),
            served: Vec::new(),
            n_submitted: 0,
            asks_tainted: seed.is_multiple_of(4),
            is_judged: toml.contains("[publish]"),
            is_weighted: toml.contains("[sources]"),
            is_reviewed: toml.contains("[quarantine]"),
            names: ChaCha8Rng::seed_from_u64(!seed),
        };
        for _ in 0..n_steps {
            history.step();
        }
        history
    }

    fn step(&mut self) {
        if self.is_judged && self.rng.random_bool(0.08) {
            self.judge();
        }
        if self.is_reviewed && self.rng.random_bool(0.05) {
            self.review();
        }
        match self.rng.random_range(0..100) {
            0..30 => self.predict(),
            30..70 => self.submit(),
            70..78 => self.bring(),
            78..82 => self.repeat(),
            82..88 => self.pass(),
            88..92 => drop(self.harness.append(command(Order::Checkpoint))),
            92..95 => self.restore(),
            95..97 => self.retract(),
            97 => self.retrain(),
            _ => self.harness.reload(),
        }
        if self.names.random_bool(0.04) {
            self.name();
        }
    }

    /// A version is named, or a name removed; some versions are not there, or hold the retracted feedback.
    fn name(&mut self) {
        let newest = self.harness.learner.newest_version();
        let alias = ["prod", "next", "old"][self.names.random_range(0..3)].to_owned();
        let version = self.names.random_range(0..=newest + 1);
        self.harness.append(command(if self.names.random_bool(0.8) {
            Order::SetAlias { alias, version }
        } else {
            Order::RemoveAlias { alias }
        }));
    }

    /// An order about evidence or incidents.
    fn judge(&mut self) {
        let learner = &self.harness.learner;
        let contender = learner.contender().zip(learner.contender_digest());
        let incident = learner.incidents().last().map_or(9, |one| one.position);
        let order = match (self.rng.random_range(0..10), contender) {
            (0, _) => Order::Freeze,
            (1..4, _) => Order::Resume,
            (4, _) => Order::Acknowledge { incident },
            (5, _) => Order::Close { incident },
            (_, Some(((version, _), digest))) => Order::Promote { version, digest },
            (_, None) => Order::Promote {
                version: 1,
                digest: [0; 32].into(),
            },
        };
        self.harness.append(command(order));
    }

    /// An order about quarantined feedback.
    fn review(&mut self) {
        let waiting: Vec<u64> = self
            .harness
            .learner
            .quarantined()
            .map(|one| one.position)
            .collect();
        let chosen = waiting.choose(&mut self.rng).map(|at| *at as usize - 1);
        let chosen = chosen.map(|place| &self.harness.journal[place]);
        let selector = match (chosen, self.rng.random_range(0..3)) {
            (Some(entry), 0) => Selector::Accepted {
                since: entry.time,
                until: entry.time,
            },
            (Some(entry), 1) => match &entry.event {
                Event::Feedback(one) => Selector::FeedbackId(one.feedback_id.clone()).hashed(),
                other => panic!("feedback waits, not {other:?}"),
            },
            _ => Selector::Source(SOURCES.choose(&mut self.rng).expect("three").to_string()),
        };
        let order = if self.rng.random_bool(0.7) {
            Order::Release(selector)
        } else {
            Order::Discard(selector)
        };
        self.harness.append(command(order));
    }

    fn predict(&mut self) {
        let skip = self.rng.random_range(0..500);
        let (batch, _) = rows(500, 0.3).nth(skip).expect("rows go on");
        let prediction = self.harness.predict(batch);
        self.served.push(prediction);
    }

    fn submit(&mut self) {
        let recent = self.served.len().saturating_sub(16);
        let Some(prediction) = self.served[recent..].choose(&mut self.rng).cloned() else {
            return;
        };
        let id = match self.rng.random_range(0..20) {
            0 => PredictionId(u128::MAX),
            _ => prediction.ids[0],
        };
        let signal = self.signal(&prediction.outputs);
        self.append(Subject::Prediction(id), signal);
    }

    fn signal(&mut self, outputs: &Outputs) -> Signal {
        let class = ["a", "b", "c", "d", "e"][self.rng.random_range(0..5)].to_owned();
        let mut reward = f64::from(self.rng.random_range(-2..3));
        if self.is_reviewed && self.rng.random_bool(0.1) {
            reward *= 100.0;
        }
        match outputs {
            Outputs::Values(_) => Signal::Value(reward),
            Outputs::Actions { .. } if self.rng.random_bool(0.8) => Signal::Reward(reward),
            _ => Signal::Label(class),
        }
    }

    /// Feedback that brings its own row.
    fn bring(&mut self) {
        let skip = self.rng.random_range(0..500);
        let (batch, class) = rows(500, 0.3).nth(skip).expect("rows go on");
        let subject = Subject::Inputs {
            batch,
            decision: None,
        };
        let signal = match &self.harness.journal[0].event {
            Event::Description(one) if one.toml.starts_with(VALUES) => Signal::Value(2.5),
            _ => Signal::Label(class.to_owned()),
        };
        self.append(subject, signal);
    }

    fn append(&mut self, subject: Subject, signal: Signal) {
        self.n_submitted += 1;
        let source = SOURCES.choose(&mut self.rng).expect("there are three");
        let weight = if self.is_weighted {
            [0.5, 1.0, 1.0, 1.0, 2.5][self.rng.random_range(0..5)]
        } else {
            1.0
        };
        let team = format!("team {}", self.n_submitted % 4);
        // A named sender supersedes no other source.
        let is_named = self.is_reviewed && self.rng.random_bool(0.5);
        let actor = if is_named { "somebody" } else { "" };
        self.harness.append(Event::Feedback(Feedback {
            actor: actor.to_owned(),
            subject,
            signal,
            source: (*source).to_owned(),
            tags: [("team".to_owned(), team)].into(),
            weight,
            ..label(PredictionId(0), &format!("said-{}", self.n_submitted), "")
        }));
    }

    fn repeat(&mut self) {
        if self.n_submitted > 0 {
            self.harness.append(Event::Duplicate(Duplicate {
                feedback_id: format!("said-{}", self.rng.random_range(1..=self.n_submitted)),
                first_position: 1,
            }));
        }
    }

    /// Time passes; the clock is written down only where it makes something due.
    fn pass(&mut self) {
        let last = self.harness.journal.last().map_or(0, |entry| entry.time.0);
        let now = Time(last + self.rng.random_range(0..40) * SECOND);
        if self
            .harness
            .learner
            .next_tick()
            .is_some_and(|due| due <= now)
        {
            self.harness.append(Event::Tick(now));
        }
    }

    fn restore(&mut self) {
        let tainted = self.harness.learner.tainted();
        let made = self
            .harness
            .journal
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::Version(version) if is_ordered(version.reason) => Some(version.version),
                _ => None,
            });
        let whole: Vec<u64> = made
            .filter(|version| self.asks_tainted || tainted.refusal(*version).is_none())
            .collect();
        if let Some(version) = whole.choose(&mut self.rng) {
            self.harness
                .append(command(Order::Restore { version: *version }));
        }
    }

    /// A learner that begins anew, mostly behind the last order that moved the learned state.
    fn retrain(&mut self) {
        let learner = &self.harness.learner;
        let moved = learner.newest().of(Reason::Restore).unwrap_or(0);
        let first = match self.rng.random_range(0..4) {
            0 => 1,
            _ => moved + 1,
        };
        let from = self.rng.random_range(first..=learner.position().max(first));
        let description = learner.description().clone();
        self.harness
            .append(command(Order::Retrain { from, description }));
    }

    fn retract(&mut self) {
        let selector = match self.rng.random_range(0..3) {
            0 => Selector::Source(SOURCES.choose(&mut self.rng).expect("three").to_string()),
            1 => Selector::FeedbackId(format!(
                "said-{}",
                self.rng.random_range(0..=self.n_submitted)
            )),
            _ => {
                let last = self.harness.journal.last().map_or(0, |entry| entry.time.0);
                let since = Time(self.rng.random_range(0..=last));
                let until = Time(since.0 + 20 * SECOND);
                Selector::Accepted { since, until }
            }
        };
        let retracted = retracted(&self.harness.journal);
        let chosen = chosen(&self.harness.journal, &selector);
        if let Some(first_position) = chosen.difference(&retracted).next() {
            self.harness.append(command(Order::Retract(Retraction {
                selector,
                first_position: *first_position,
                disposal: Disposal::Keep,
            })));
        }
    }
}

/// The positions of feedback that was ever retracted.
pub(crate) fn retracted(journal: &[Entry]) -> BTreeSet<u64> {
    let mut all = BTreeSet::new();
    for (index, entry) in journal.iter().enumerate() {
        if let Event::Command(Command {
            order: Order::Retract(retraction),
            ..
        }) = &entry.event
        {
            all.extend(chosen(&journal[..index], &retraction.selector));
        }
    }
    all
}

fn chosen(journal: &[Entry], selector: &Selector) -> BTreeSet<u64> {
    let chosen = |entry: &&Entry| match &entry.event {
        Event::Feedback(feedback) => selector.chooses(feedback, entry.time),
        _ => false,
    };
    journal
        .iter()
        .filter(chosen)
        .map(|entry| entry.position)
        .collect()
}

/// The positions of orders that were refused.
pub(crate) fn refused(journal: &[Entry]) -> BTreeSet<u64> {
    let refused = journal.iter().filter_map(|entry| match &entry.event {
        Event::Refusal(refusal) => Some(refusal.position),
        _ => None,
    });
    refused.collect()
}

fn record_of(journal: &[Entry], version: u64) -> &Version {
    let found = journal.iter().find_map(|entry| match &entry.event {
        Event::Version(record) if record.version == version => Some(record),
        _ => None,
    });
    found.expect("it was recorded")
}

/// True of an order that a second learner is given as well.
fn is_repeated(order: &Order, position: &u64, refused: &BTreeSet<u64>) -> bool {
    order.is_of_gate() || (order.is_of_quarantine() && !refused.contains(position))
}

/// A second learner, fed live from the start with the retracted feedback left out before it was
/// journaled. Where the first one retracts, it makes a version, to be restored in its place; where
/// it was refused a restore, it makes one as well, and restores nothing.
pub(crate) fn twin(journal: &[Entry]) -> LearnerHarness {
    let (excluded, refused) = (retracted(journal), refused(journal));
    let mut harness = LearnerHarness::before(journal);
    // The twin's versions by the position of the first one's command, and where its entries stand that
    // follow those of the first one.
    let (mut made, mut champions, mut places) =
        <(BTreeMap<_, _>, BTreeMap<_, _>, BTreeMap<_, _>)>::default();
    for entry in journal {
        places.insert(entry.position, harness.learner.position() + 1);
        let event = match &entry.event {
            Event::Feedback(_) if excluded.contains(&entry.position) => continue,
            Event::Version(_)
            | Event::Verdict(_)
            | Event::Drift(_)
            | Event::Refusal(_)
            | Event::Erasure(_) => continue,
            Event::Command(Command { order, .. }) => command(match order {
                Order::Restore { version } | Order::EarlierRestore { version }
                    if !refused.contains(&entry.position) =>
                {
                    let record = record_of(journal, *version);
                    let versions = match record.reason {
                        Reason::Champion => &champions,
                        _ => &made,
                    };
                    Order::Restore {
                        version: versions[&record.position],
                    }
                }
                Order::Retrain { from, .. } if !refused.contains(&entry.position) => {
                    Order::Retrain {
                        from: places[from],
                        description: harness.learner.description().clone(),
                    }
                }
                // An approval is of these weights, whatever their version is called here.
                Order::Promote { version, digest } => Order::Promote {
                    version: harness.learner.contender().map_or(*version, |one| one.0),
                    digest: *digest,
                },
                _ if is_repeated(order, &entry.position, &refused) => order.clone(),
                _ if order.is_of_aliases() => order.clone(),
                _ => Order::Checkpoint,
            }),
            event => event.clone(),
        };
        let step = harness.append_at(entry.time, event);
        if let Some(version) = step.version.filter(|v| is_ordered(v.reason)) {
            made.insert(entry.position, version.version);
        }
        if let Some((version, _)) = harness.learner.champion() {
            champions.insert(entry.position, version);
        }
    }
    if let Some(last) = journal.last() {
        // The first one's newest record may have let time go on.
        harness.append_at(last.time, Event::Tick(last.time));
    }
    harness
}

/// Checks everything that a history promises, in memory, and gives the harness.
pub(crate) fn check(toml: &str, seed: u64, n_steps: usize) -> LearnerHarness {
    let history = History::run(toml, seed, n_steps);
    let learner = &history.harness.learner;
    let journal = &history.harness.journal;
    let mut again = LearnerHarness::before(journal);
    journal
        .iter()
        .for_each(|entry| drop(again.apply(entry.clone())));
    assert!(
        again.learner == *learner,
        "seed {seed}: replayed, it differs: {toml}"
    );
    for (alias, version) in &**learner.aliases() {
        let refusal = learner.tainted().refusal(*version);
        assert_eq!(refusal, None, "seed {seed}: {alias}: {toml}");
    }
    let counted = |entry: &&Entry| matches!(entry.event, Event::Feedback(_) | Event::Duplicate(_));
    let n_events = journal.iter().filter(counted).count() as u64;
    assert_eq!(learner.ledger().total(), n_events, "seed {seed}: {toml}");
    let twin = twin(journal);
    let digests = [learner, &twin.learner].map(|learner| learner.learned().digest());
    assert_eq!(
        digests[0], digests[1],
        "seed {seed}: retracted, it differs: {toml}"
    );
    let gates = [learner, &twin.learner].map(|learner| {
        let evidence = (learner.promotion_evidence(), learner.decline_evidence());
        (learner.champion_digest(), evidence, learner.is_frozen())
    });
    assert_eq!(
        gates[0], gates[1],
        "seed {seed}: judged, it differs: {toml}"
    );
    let sources = [learner, &twin.learner].map(|learner| learner.sources());
    assert_eq!(sources[0], sources[1], "seed {seed}: {toml}");
    let waiting = [learner, &twin.learner].map(|learner| learner.quarantined().count());
    assert_eq!(waiting[0], waiting[1], "seed {seed}: {toml}");
    let spent = [learner, &twin.learner].map(|learner| learner.spent().collect::<Vec<_>>());
    assert_eq!(spent[0], spent[1], "seed {seed}: {toml}");
    let figures = [learner, &twin.learner].map(|learner| (learner.figures(), learner.confusion()));
    assert_eq!(figures[0], figures[1], "seed {seed}: {toml}");
    let n_retracted = retracted(journal).len() as u64;
    assert_eq!(
        learner.ledger().count(Fate::Retracted),
        n_retracted,
        "seed {seed}: {toml}"
    );
    history.harness
}

/// True of a version that an order made: where others stand depends on the learned state.
fn is_ordered(reason: Reason) -> bool {
    !matches!(reason, Reason::Cadence | Reason::Contender | Reason::Rewind)
}

fn command(order: Order) -> Event {
    Event::Command(Command {
        order,
        actor: String::new(),
        note: String::new(),
    })
}
