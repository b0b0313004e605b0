//! The events of the golden journals: every kind in every variant, and a short history.
//!
//! Invariant: a variant that is added to an event does not compile until it has a name here, and
//! a name without an event in [`samples`] fails the test.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use perennial::event::*;

/// A function that names the variants of a type, and the list of all names, from one table.
macro_rules! names {
    ($function:ident, $all:ident, $type:ty, { $($pattern:pat => $name:literal,)+ }) => {
        pub(super) const $all: &[&str] = &[$($name),+];
        fn $function(value: &$type) -> &'static str {
            match value {
                $($pattern => $name,)+
            }
        }
    };
}

names!(kind, KINDS, Event, {
    Event::Description(_) => "description",
    Event::Prediction(_) => "prediction",
    Event::Feedback(_) => "feedback",
    Event::Duplicate(_) => "duplicate",
    Event::Command(_) => "command",
    Event::Tick(_) => "tick",
    Event::Version(_) => "version",
    Event::Verdict(_) => "verdict",
    Event::Drift(_) => "drift",
    Event::Refusal(_) => "refusal",
    Event::Erasure(_) => "erasure",
    Event::Erased(ErasedKind::Prediction) => "erased prediction",
    Event::Erased(ErasedKind::Feedback(_)) => "erased feedback",
    Event::Erased(ErasedKind::Duplicate) => "erased duplicate",
});
names!(outputs, OUTPUTS, Outputs, {
    Outputs::Probabilities(_) => "probabilities",
    Outputs::Decisions { .. } => "decisions",
    Outputs::Values(_) => "values",
    Outputs::Actions { .. } => "actions",
});
names!(column, COLUMNS, Column, {
    Column::Numbers(_) => "numbers",
    Column::Strings(_) => "strings",
    Column::Vectors(_) => "vectors",
    Column::Embedded { .. } => "embedded",
});
names!(subject, SUBJECTS, Subject, {
    Subject::Prediction(_) => "of a prediction",
    Subject::Inputs { decision: None, .. } => "with inputs",
    Subject::Inputs { decision: Some(_), .. } => "with inputs and a decision",
});
names!(signal, SIGNALS, Signal, {
    Signal::Label(_) => "label",
    Signal::Value(_) => "value",
    Signal::Reward(_) => "reward",
    Signal::Named { .. } => "named signal",
    Signal::PreferredOver(_) => "preferred over",
});
names!(order, ORDERS, Order, {
    Order::Checkpoint => "checkpoint",
    Order::Restore { .. } => "restore",
    Order::EarlierRestore { .. } => "restore without a refusal",
    Order::Retract(Retraction { selector: Selector::SourceHash(_), .. }) => "retract hashed source",
    Order::Retract(Retraction { selector: Selector::FeedbackIdHash(_), .. }) => "retract hashed event",
    Order::Retract(Retraction { disposal: Disposal::Erase, .. }) => "retract and erase",
    Order::Erase(_) => "erase",
    Order::Retract(Retraction { selector: Selector::Source(_), .. }) => "retract source",
    Order::Retract(Retraction { selector: Selector::FeedbackId(_), .. }) => "retract event",
    Order::Retract(Retraction { selector: Selector::Accepted { .. }, .. }) => "retract stretch",
    Order::Adopt(_) => "adopt",
    Order::Promote { .. } => "promote",
    Order::Freeze => "freeze",
    Order::Resume => "resume",
    Order::Acknowledge { .. } => "acknowledge",
    Order::Close { .. } => "close",
    Order::BeginRetraining { .. } => "begin retraining",
    Order::Retrain { .. } => "retrain",
    Order::EndRetraining => "end retraining",
    Order::Release(_) => "release",
    Order::Discard(_) => "discard",
    Order::SetAlias { .. } => "set alias",
    Order::RemoveAlias { .. } => "remove alias",
});
names!(reason, REASONS, Reason, {
    Reason::Initial => "initial",
    Reason::Checkpoint => "by checkpoint",
    Reason::Cadence => "by cadence",
    Reason::Restore => "by restore",
    Reason::Retract => "by retract",
    Reason::Adopt => "by adopt",
    Reason::Contender => "by contender",
    Reason::Rewind => "by rewind",
    Reason::Champion => "by champion",
    Reason::Retrain => "by retrain",
});

names!(judgement, JUDGEMENTS, Judgement, {
    Judgement::Promoted => "promoted",
    Judgement::Rejected => "rejected",
    Judgement::Rewound => "rewound",
    Judgement::Declined => "declined",
    Judgement::Frozen => "frozen",
});

/// The names of all that there is.
pub(super) fn all_names() -> BTreeSet<&'static str> {
    let all = [
        KINDS, OUTPUTS, COLUMNS, SUBJECTS, SIGNALS, ORDERS, REASONS, JUDGEMENTS,
    ];
    all.into_iter().flatten().copied().collect()
}

/// The names of an event's kind and fields.
pub(super) fn names(event: &Event) -> Vec<&'static str> {
    let mut names = vec![kind(event)];
    match event {
        Event::Prediction(prediction) => {
            names.push(outputs(&prediction.outputs));
            names.extend(prediction.batch.columns.iter().map(column));
        }
        Event::Feedback(feedback) => {
            names.extend([subject(&feedback.subject), signal(&feedback.signal)]);
        }
        Event::Command(command) => names.push(order(&command.order)),
        Event::Version(version) => names.push(reason(&version.reason)),
        Event::Verdict(verdict) => names.push(judgement(&verdict.judgement)),
        Event::Description(_)
        | Event::Duplicate(_)
        | Event::Tick(_)
        | Event::Drift(_)
        | Event::Refusal(_)
        | Event::Erasure(_)
        | Event::Erased(_) => {}
    }
    names
}

/// The positions whose payloads are erased once all is written.
pub(super) const ERASED: [u64; 3] = [2, 3, 4];

/// Every kind in every variant; none of them was ever learned from.
pub(super) fn samples() -> Vec<Event> {
    let mut all = vec![Event::Description(description())];
    all.extend([answer(values()), feedback(label(), None), came_again()]);
    all.extend([values(), probabilities(), actions()].map(answer));
    let inputs = |decision| Subject::Inputs {
        batch: batch(1),
        decision,
    };
    let decision = Decision {
        action: "left".to_owned(),
        propensity: 0.125,
    };
    let named = Signal::Named {
        name: "dwell".to_owned(),
        value: 2.5,
    };
    all.extend([
        feedback(label(), None),
        feedback(Signal::Value(-0.0), Some(inputs(None))),
        feedback(Signal::Reward(1e300), Some(inputs(Some(decision)))),
        feedback(named, None),
        feedback(Signal::PreferredOver(PredictionId(0x1122)), None),
    ]);
    all.push(came_again());
    all.extend(orders().map(|order| {
        Event::Command(Command {
            order,
            actor: "ops".to_owned(),
            note: "weil es so ist: ä".to_owned(),
        })
    }));
    all.push(Event::Tick(Time(-258)));
    all.extend(Reason::ALL[..6].iter().copied().map(version));
    all
}

/// Variants that came after the first format was released; older ones stand beside them.
pub(super) fn later() -> Vec<Event> {
    let mut batch = batch(2);
    batch.columns.push(Column::Embedded {
        texts: vec!["ü".to_owned(), "two".to_owned()],
        vectors: Bytes::from_static(&[0, 0, 128, 63, 0, 0, 0, 64]),
    });
    vec![Event::Prediction(Prediction {
        ids: vec![PredictionId(1), PredictionId(2)],
        batch,
        outputs: values(),
        labels: BTreeMap::new(),
        version: 1,
        position: 1,
    })]
}

/// An answer with its labels, some of which no description names: a prediction's second format.
pub(super) fn labelled() -> Event {
    Event::Prediction(Prediction {
        ids: vec![PredictionId(1), PredictionId(2)],
        batch: batch(2),
        outputs: Outputs::Probabilities(vec![0.0, 1.0, 0.0, 0.25, 0.0, 0.75]),
        labels: BTreeMap::from([(1, "yes".to_owned()), (2, "ü".to_owned())]),
        version: 1,
        position: 1,
    })
}

/// An answer that costs decide.
pub(super) fn decided() -> Event {
    Event::Prediction(Prediction {
        ids: vec![PredictionId(1), PredictionId(2)],
        batch: batch(2),
        outputs: Outputs::Decisions {
            probabilities: vec![0.75, 0.25, 0.0, 1.0],
            chosen: vec![1, 1],
        },
        labels: BTreeMap::new(),
        version: 1,
        position: 1,
    })
}

/// Values of 64 bits.
pub(super) fn wide() -> Event {
    Event::Prediction(Prediction {
        ids: vec![PredictionId(1), PredictionId(2)],
        batch: batch(2),
        outputs: Outputs::Values(vec![1_700_000_000.25, -1.5]),
        labels: BTreeMap::new(),
        version: 1,
        position: 1,
    })
}

/// The orders about evidence and incidents, the decisions of the gate, and the versions that it makes.
pub(super) fn judged() -> Vec<Event> {
    let orders = [
        Order::Promote {
            version: 7,
            digest: [0xab; 32].into(),
        },
        Order::Freeze,
        Order::Resume,
        Order::Acknowledge { incident: 258 },
        Order::Close { incident: 258 },
    ];
    let mut all: Vec<Event> = orders
        .map(|order| {
            Event::Command(Command {
                order,
                actor: "ops".to_owned(),
                note: "weil es so ist: ä".to_owned(),
            })
        })
        .into();
    all.extend(Judgement::ALL.map(|judgement| {
        Event::Verdict(Verdict {
            position: 258,
            judgement,
            version: 7,
            labels: 400,
            evidence: 101.5,
            difference: -0.25,
        })
    }));
    all.extend([Reason::Contender, Reason::Rewind].map(version));
    all
}

/// Orders about versions and evidence, and the records of their outcomes.
pub(super) fn answered() -> Vec<Event> {
    let selector = || Selector::Source("web".to_owned());
    let retraction = Retraction {
        selector: selector(),
        first_position: 5,
        disposal: Disposal::Erase,
    };
    let orders = [
        Order::Restore { version: 7 },
        Order::Retract(retraction),
        Order::Erase(selector()),
    ];
    let command = |order| {
        Event::Command(Command {
            order,
            actor: "ops".to_owned(),
            note: "weil es so ist: ä".to_owned(),
        })
    };
    let mut all: Vec<Event> = orders.map(command).into();
    all.push(Event::Refusal(OrderRefusal { position: 1 }));
    all.push(Event::Erasure(Erasure {
        position: 2,
        entries: 258,
    }));
    all
}

/// The version of a champion.
pub(super) fn championed() -> Event {
    version(Reason::Champion)
}

/// Orders that name nobody.
pub(super) fn hashed() -> [Event; 2] {
    let selectors = [
        Selector::Source("web".to_owned()),
        Selector::FeedbackId("f-1".to_owned()),
    ];
    selectors.map(|selector| {
        Event::Command(Command {
            order: Order::Retract(Retraction {
                selector: selector.hashed(),
                first_position: 5,
                disposal: Disposal::Erase,
            }),
            actor: "ops".to_owned(),
            note: String::new(),
        })
    })
}

/// The samples as they are read.
pub(super) fn samples_read() -> Vec<Event> {
    let mut all = samples();
    let feedback = ErasedKind::Feedback(Tombstone::default());
    let kinds = [ErasedKind::Prediction, feedback, ErasedKind::Duplicate];
    for (position, kind) in ERASED.into_iter().zip(kinds) {
        all[position as usize - 1] = Event::Erased(kind);
    }
    all
}

fn description() -> Description {
    Description {
        toml: "task = \"classification\"\n".to_owned(),
        build: "perennial 0.1.0".to_owned(),
        profile: String::new(),
    }
}

fn batch(n_rows: usize) -> Batch {
    let vectors: &[u8] = &[0, 0, 128, 63, 0, 0, 0, 64];
    Batch {
        n_rows,
        columns: vec![
            Column::Numbers([1.0, f64::NEG_INFINITY][..n_rows].to_vec()),
            Column::Strings(["é".to_owned(), String::new()][..n_rows].to_vec()),
            Column::Vectors(Bytes::copy_from_slice(&vectors[..4 * n_rows])),
        ],
    }
}

fn values() -> Outputs {
    Outputs::Values([-1.5, 1e-40_f32].map(f64::from).to_vec())
}

fn probabilities() -> Outputs {
    Outputs::Probabilities(vec![0.25, 0.75, 0.0, 1.0])
}

fn actions() -> Outputs {
    Outputs::Actions {
        chosen: vec![1, 0],
        propensities: vec![0.75, 1.0],
        scores: vec![0.25, 2.0, -3.0, 0.5],
    }
}

fn answer(outputs: Outputs) -> Event {
    Event::Prediction(Prediction {
        ids: vec![PredictionId(u128::MAX), PredictionId(0x102)],
        batch: batch(2),
        outputs,
        labels: BTreeMap::new(),
        version: 4,
        position: 1 << 40,
    })
}

fn label() -> Signal {
    Signal::Label("yes".to_owned())
}

/// Of a prediction, with all that is optional; with inputs, without.
fn feedback(signal: Signal, inputs: Option<Subject>) -> Event {
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let all = inputs.is_none();
    Event::Feedback(Feedback {
        feedback_id: "f-1".to_owned(),
        subject: inputs.unwrap_or(Subject::Prediction(PredictionId(0x1122))),
        signal,
        source: if all { "web" } else { "" }.to_owned(),
        event_time: all.then_some(Time(-1)),
        tags: if all {
            BTreeMap::from([tag("a", "1"), tag("b", "")])
        } else {
            BTreeMap::new()
        },
        actor: if all { "ops" } else { "" }.to_owned(),
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    })
}

fn came_again() -> Event {
    Event::Duplicate(Duplicate {
        feedback_id: "f-1".to_owned(),
        first_position: 258,
    })
}

fn orders() -> [Order; 6] {
    let retract = |selector| {
        Order::Retract(Retraction {
            selector,
            first_position: 5,
            disposal: Disposal::Keep,
        })
    };
    [
        Order::Checkpoint,
        Order::EarlierRestore { version: 7 },
        retract(Selector::Source("web".to_owned())),
        retract(Selector::FeedbackId("f-1".to_owned())),
        retract(Selector::Accepted {
            since: Time(i64::MIN),
            until: Time(-1),
        }),
        Order::Adopt(description()),
    ]
}

pub(super) fn version(reason: Reason) -> Event {
    Event::Version(Version {
        version: 2,
        parent: 1,
        position: 9,
        reason,
        digest: [0xab; 32].into(),
        tallies: None,
    })
}

/// A version whose record has its tallies.
pub(super) fn counted() -> Event {
    Event::Version(Version {
        version: 2,
        parent: 1,
        position: 9,
        reason: Reason::Checkpoint,
        digest: [0xab; 32].into(),
        tallies: Some([0xcd; 32].into()),
    })
}

/// The description of the model `lived`: two actions, rewards, and silence that earns nothing.
pub(super) const LIVED: &str = "task = \"bandit\"\nactions = [\"left\", \"right\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n\
    [network]\nkind = \"linear\"\n\
    [learner]\nkind = \"gradient\"\noptimizer = \"sgd\"\nexamples_per_update = 1\n\
    [memory]\nstrategy = \"none\"\n\
    [feedback]\nwindow_s = 20\ndefault_reward = 0.0\n";

/// A short life of it, up to a checkpoint: answers, rewards of two sources, an event that came
/// again, a version, a version brought back, and a source taken back. Records come by themselves.
pub(super) fn short_history() -> Vec<Event> {
    let command = |order| {
        Event::Command(Command {
            order,
            actor: "ops".to_owned(),
            note: String::new(),
        })
    };
    let retraction = Retraction {
        selector: Selector::Source("batch".to_owned()),
        first_position: 6,
        disposal: Disposal::Keep,
    };
    let mut short_history = Vec::new();
    short_history.extend(rewarded(1, "people"));
    short_history.extend(rewarded(2, "batch"));
    short_history.push(Event::Duplicate(Duplicate {
        feedback_id: "reward-1".to_owned(),
        first_position: 4,
    }));
    short_history.push(command(Order::Checkpoint));
    short_history.extend(rewarded(3, "people"));
    short_history.push(command(Order::EarlierRestore { version: 1 }));
    for n in 4..9 {
        short_history.extend(rewarded(n, "people"));
    }
    short_history.push(command(Order::Retract(retraction)));
    short_history.push(shown(9));
    short_history
}

/// The events after the checkpoint: a reward, and silence that is noticed.
pub(super) fn after() -> Vec<Event> {
    let mut after = rewarded(10, "people").to_vec();
    after.push(shown(11));
    after.push(Event::Tick(Time(3_600_000_000)));
    after
}

/// An answer and its reward.
fn rewarded(n: u64, source: &str) -> [Event; 2] {
    let feedback = Event::Feedback(Feedback {
        feedback_id: format!("reward-{n}"),
        subject: Subject::Prediction(PredictionId(u128::from(n))),
        signal: Signal::Reward(n as f64 / 8.0),
        source: source.to_owned(),
        event_time: None,
        tags: BTreeMap::new(),
        actor: String::new(),
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    });
    [shown(n), feedback]
}

fn shown(n: u64) -> Event {
    Event::Prediction(Prediction {
        ids: vec![PredictionId(u128::from(n))],
        batch: Batch {
            n_rows: 1,
            columns: vec![Column::Numbers(vec![n as f64 - 3.0])],
        },
        outputs: Outputs::Actions {
            chosen: vec![n as u32 % 2],
            propensities: vec![0.5],
            scores: vec![0.0, 0.0],
        },
        labels: BTreeMap::new(),
        version: 1,
        position: 1,
    })
}

/// A model that arrived trained, as its author wrote it.
pub(super) const TRAINED: &str = "task = \"classification\"\nclasses = [\"no\", \"yes\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n\
    [network]\nkind = \"linear\"\nweights = \"net.safetensors\"\n\
    [learner]\nkind = \"gradient\"\noptimizer = \"sgd\"\nexamples_per_update = 1\n\
    [memory]\nstrategy = \"none\"\n";

/// The weights that it arrived with, byte for byte.
pub(super) fn start() -> Vec<u8> {
    let mut header = "{\"0.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\
        \"0.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[8,16]}}"
        .to_owned();
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    let values = [0.25f32, -0.25, -1.5, 1.5];
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// The events that it learned: its description, which pins the weights, and rows with their classes.
pub(super) fn trained() -> Vec<Event> {
    let digest = blake3::hash(&start()).to_hex();
    let mut all = vec![Event::Description(Description {
        toml: format!("{TRAINED}\n[pinned.\"net.safetensors\"]\nblake3 = \"{digest}\"\n"),
        ..description()
    })];
    all.extend((0..3).map(|n| {
        Event::Feedback(Feedback {
            feedback_id: format!("row-{n}"),
            subject: Subject::Inputs {
                batch: Batch {
                    n_rows: 1,
                    columns: vec![Column::Numbers(vec![f64::from(n) - 1.0])],
                },
                decision: None,
            },
            signal: Signal::Label("no".to_owned()),
            source: "people".to_owned(),
            event_time: None,
            tags: Default::default(),
            actor: String::new(),
            weight: 1.0,
            comment: String::new(),
            may_correct: false,
        })
    }));
    all
}
