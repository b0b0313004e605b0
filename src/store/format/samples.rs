//! Small events with their bytes, and arbitrary ones: for the tests of this room.

mod drawn;
mod feedback;
mod orders;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::event::*;
use drawn::{alarms, verdicts, versions};
use feedback::{feedback_by_subject, weighted};
use orders::{retractions, retrainings};

/// An event, and the bytes of its payload in hexadecimal digits.
type Sample = (Event, &'static str);

/// Small events of each kind.
pub(in crate::store) fn samples() -> Vec<Sample> {
    [
        predictions_by_output(),
        feedback_by_subject(),
        weighted(),
        orders(),
        retractions(),
        retrainings(),
        records(),
    ]
    .concat()
}

fn one_row(columns: Vec<Column>) -> Batch {
    Batch { n_rows: 1, columns }
}

/// All columns with probabilities, then the other outputs.
fn predictions_by_output() -> Vec<Sample> {
    vec![
        (
            Event::Prediction(Prediction {
                ids: vec![PredictionId(0x102), PredictionId(3)],
                batch: Batch {
                    n_rows: 2,
                    columns: vec![
                        Column::Numbers(vec![1.0, f64::from_bits(0x7ff8_0000_0000_0001)]),
                        Column::Strings(vec!["é".into(), String::new()]),
                        Column::Vectors(Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8])),
                    ],
                },
                outputs: Outputs::Probabilities(vec![0.5, 0.5, 0.0, 1.0]),
                labels: BTreeMap::new(),
                version: 4,
                position: 5,
            }),
            "02000000 02010000000000000000000000000000 03000000000000000000000000000000 \
             0400000000000000 0500000000000000 \
             01 04000000 0000003f 0000003f 00000000 0000803f \
             02000000 03000000 \
             01 02000000 000000000000f03f 010000000000f87f \
             02 02000000 02000000 c3a9 00000000 \
             03 08000000 0102030405060708",
        ),
        (
            Event::Prediction(Prediction {
                ids: vec![PredictionId(1)],
                batch: one_row(vec![
                    Column::Numbers(vec![-2.0]),
                    Column::Embedded {
                        texts: vec!["a".into()],
                        vectors: Bytes::from_static(&[1, 2, 3, 4]),
                    },
                ]),
                outputs: Outputs::Values(vec![-1.5]),
                labels: BTreeMap::new(),
                version: 1,
                position: 2,
            }),
            "01000000 01000000000000000000000000000000 0100000000000000 0200000000000000 \
             02 01000000 0000c0bf \
             01000000 02000000 01 01000000 00000000000000c0 \
             04 01000000 01000000 61 04000000 01020304",
        ),
        (
            Event::Prediction(Prediction {
                ids: vec![PredictionId(1)],
                batch: one_row(vec![]),
                outputs: Outputs::Values(vec![0.1]),
                labels: BTreeMap::new(),
                version: 1,
                position: 2,
            }),
            "01000000 01000000000000000000000000000000 0100000000000000 0200000000000000 \
             05 01000000 9a9999999999b93f \
             01000000 00000000 \
             00000000",
        ),
        (
            Event::Prediction(Prediction {
                ids: vec![PredictionId(1)],
                batch: one_row(vec![]),
                outputs: Outputs::Actions {
                    chosen: vec![1],
                    propensities: vec![0.75],
                    scores: vec![0.25, 2.0],
                },
                labels: BTreeMap::new(),
                version: 1,
                position: 2,
            }),
            "01000000 01000000000000000000000000000000 0100000000000000 0200000000000000 \
             03 01000000 01000000 01000000 0000403f 02000000 0000803e 00000040 \
             01000000 00000000",
        ),
        (
            Event::Prediction(Prediction {
                ids: vec![PredictionId(1)],
                batch: one_row(vec![]),
                outputs: Outputs::Probabilities(vec![0.0, 1.0]),
                labels: BTreeMap::from([(1, "é".into())]),
                version: 1,
                position: 2,
            }),
            "01000000 01000000000000000000000000000000 0100000000000000 0200000000000000 \
             01 02000000 00000000 0000803f \
             01000000 00000000 \
             01000000 01000000 02000000 c3a9",
        ),
        (
            Event::Prediction(Prediction {
                ids: vec![PredictionId(1)],
                batch: one_row(vec![]),
                outputs: Outputs::Decisions {
                    probabilities: vec![0.75, 0.25],
                    chosen: vec![1],
                },
                labels: BTreeMap::new(),
                version: 1,
                position: 2,
            }),
            "01000000 01000000000000000000000000000000 0100000000000000 0200000000000000 \
             04 02000000 0000403f 0000803e 01000000 01000000 \
             01000000 00000000 \
             00000000",
        ),
    ]
}

/// Orders but for retractions.
fn orders() -> Vec<Sample> {
    vec![
        (
            Event::Command(Command {
                order: Order::Checkpoint,
                actor: "a".into(),
                note: "n".into(),
            }),
            "01 01000000 61 01000000 6e",
        ),
        (
            Event::Command(Command {
                order: Order::EarlierRestore { version: 7 },
                actor: String::new(),
                note: String::new(),
            }),
            "02 0700000000000000 00000000 00000000",
        ),
        (
            Event::Command(Command {
                order: Order::Restore { version: 7 },
                actor: String::new(),
                note: String::new(),
            }),
            "05 0700000000000000 00000000 00000000",
        ),
        (
            Event::Command(Command {
                order: Order::Erase(Selector::Source("s".into())),
                actor: String::new(),
                note: String::new(),
            }),
            "07 01 01000000 73 00000000 00000000",
        ),
        (
            Event::Command(Command {
                order: Order::Adopt(Description {
                    toml: "a".into(),
                    build: "bc".into(),
                    profile: String::new(),
                }),
                actor: String::new(),
                note: String::new(),
            }),
            "04 01000000 61 02000000 6263 00000000 00000000 00000000",
        ),
    ]
}

/// Descriptions, duplicates, ticks, and records of the effects of orders.
fn records() -> Vec<Sample> {
    vec![
        (
            Event::Description(Description {
                toml: "a".into(),
                build: "bc".into(),
                profile: String::new(),
            }),
            "01000000 61 02000000 6263 00000000",
        ),
        (
            Event::Duplicate(Duplicate {
                feedback_id: "f".into(),
                first_position: 258,
            }),
            "01000000 66 0201000000000000",
        ),
        (Event::Tick(Time(258)), "0201000000000000"),
        (
            Event::Version(Version {
                version: 2,
                parent: 1,
                position: 9,
                reason: Reason::Cadence,
                digest: [0xab; 32].into(),
                tallies: None,
            }),
            "0200000000000000 0100000000000000 0900000000000000 03 \
             abababababababababababababababab abababababababababababababababab",
        ),
        (
            Event::Version(Version {
                version: 2,
                parent: 1,
                position: 9,
                reason: Reason::Restore,
                digest: [0xab; 32].into(),
                tallies: Some([0xcd; 32].into()),
            }),
            "0200000000000000 0100000000000000 0900000000000000 04 \
             abababababababababababababababab abababababababababababababababab \
             cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        ),
        (
            Event::Version(Version {
                version: 2,
                parent: 1,
                position: 9,
                reason: Reason::Rewind,
                digest: [0xab; 32].into(),
                tallies: Some([0xcd; 32].into()),
            }),
            "0200000000000000 0100000000000000 0900000000000000 08 \
             abababababababababababababababab abababababababababababababababab \
             01 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        ),
        (
            Event::Version(Version {
                version: 2,
                parent: 1,
                position: 9,
                reason: Reason::Retrain,
                digest: [0xab; 32].into(),
                tallies: None,
            }),
            "0200000000000000 0100000000000000 0900000000000000 09 \
             abababababababababababababababab abababababababababababababababab 00",
        ),
        (
            Event::Version(Version {
                version: 2,
                parent: 1,
                position: 9,
                reason: Reason::Champion,
                digest: [0xab; 32].into(),
                tallies: Some([0xcd; 32].into()),
            }),
            "0200000000000000 0100000000000000 0900000000000000 0a \
             abababababababababababababababab abababababababababababababababab \
             01 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        ),
        (
            Event::Verdict(Verdict {
                position: 258,
                judgement: Judgement::Rewound,
                version: 2,
                labels: 400,
                evidence: 1.0,
                difference: -0.5,
            }),
            "0201000000000000 03 0200000000000000 9001000000000000 \
             000000000000f03f 000000000000e0bf",
        ),
        (
            Event::Drift(Alarm {
                position: 258,
                watched: WatchedStream::Input,
                input: "x".to_owned(),
                change: Change::Lower,
                evidence: 1.0,
            }),
            "0201000000000000 07 02 000000000000f03f 01000000 78",
        ),
        (
            Event::Refusal(OrderRefusal { position: 258 }),
            "0201000000000000",
        ),
        (
            Event::Erasure(Erasure {
                position: 258,
                entries: 3,
            }),
            "0201000000000000 0300000000000000",
        ),
    ]
}

/// Events of every kind, with any bits in their floats.
pub(in crate::store) fn events() -> impl Strategy<Value = Event> {
    let texts = || (".{0,8}", ".{0,8}", ".{0,8}");
    let description = texts().prop_map(|(toml, build, profile)| {
        Event::Description(Description {
            toml,
            build,
            profile,
        })
    });
    let duplicate = (".{0,8}", any::<u64>()).prop_map(|(feedback_id, first_position)| {
        Event::Duplicate(Duplicate {
            feedback_id,
            first_position,
        })
    });
    let selector = || {
        prop_oneof![
            ".{0,8}".prop_map(Selector::Source),
            ".{0,8}".prop_map(Selector::FeedbackId),
            any::<[u8; 16]>().prop_map(Selector::SourceHash),
            any::<[u8; 16]>().prop_map(Selector::FeedbackIdHash),
            any::<[i64; 2]>().prop_map(|[since, until]| Selector::Accepted {
                since: Time(since),
                until: Time(until),
            }),
        ]
    };
    let order = prop_oneof![
        Just(Order::Checkpoint),
        any::<u64>().prop_map(|version| Order::Restore { version }),
        any::<u64>().prop_map(|version| Order::EarlierRestore { version }),
        (selector(), any::<(u64, bool)>()).prop_map(|(selector, (first_position, erase))| {
            Order::Retract(Retraction {
                selector,
                first_position,
                disposal: if erase {
                    Disposal::Erase
                } else {
                    Disposal::Keep
                },
            })
        }),
        selector().prop_map(Order::Erase),
        any::<(u64, [u8; 32])>().prop_map(|(version, digest)| {
            let digest = digest.into();
            Order::Promote { version, digest }
        }),
        Just(Order::Freeze),
        Just(Order::Resume),
        any::<u64>().prop_map(|incident| Order::Acknowledge { incident }),
        any::<u64>().prop_map(|incident| Order::Close { incident }),
        any::<u64>().prop_map(|newest| Order::BeginRetraining { newest }),
        Just(Order::EndRetraining),
        selector().prop_map(Order::Release),
        selector().prop_map(Order::Discard),
        (".{0,8}", any::<u64>()).prop_map(|(alias, version)| Order::SetAlias { alias, version }),
        ".{0,8}".prop_map(|alias| Order::RemoveAlias { alias }),
        (any::<u64>(), texts()).prop_map(|(from, (toml, build, profile))| Order::Retrain {
            from,
            description: Description {
                toml,
                build,
                profile,
            },
        }),
        texts().prop_map(|(toml, build, profile)| {
            Order::Adopt(Description {
                toml,
                build,
                profile,
            })
        }),
    ];
    let command = (order, ".{0,8}", ".{0,8}")
        .prop_map(|(order, actor, note)| Event::Command(Command { order, actor, note }));
    prop_oneof![
        description,
        (1usize..4).prop_flat_map(predictions),
        feedback(),
        duplicate,
        command,
        any::<i64>().prop_map(|until| Event::Tick(Time(until))),
        versions(),
        verdicts(),
        alarms(),
        any::<u64>().prop_map(|position| Event::Refusal(OrderRefusal { position })),
        any::<(u64, u64)>()
            .prop_map(|(position, entries)| Event::Erasure(Erasure { position, entries })),
    ]
}

fn f32s(n: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(any::<u32>().prop_map(f32::from_bits), n)
}

fn f64_bits() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits)
}

fn batches(n_rows: usize) -> impl Strategy<Value = Batch> {
    let column = prop_oneof![
        prop::collection::vec(f64_bits(), n_rows).prop_map(Column::Numbers),
        prop::collection::vec(".{0,6}", n_rows).prop_map(Column::Strings),
        f32s(n_rows * 3).prop_map(|values| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            Column::Vectors(bytes.collect())
        }),
        (prop::collection::vec(".{0,6}", n_rows), f32s(n_rows * 2)).prop_map(|(texts, values)| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            Column::Embedded {
                texts,
                vectors: bytes.collect(),
            }
        }),
    ];
    prop::collection::vec(column, 0..4).prop_map(move |columns| Batch { n_rows, columns })
}

fn predictions(n_rows: usize) -> impl Strategy<Value = Event> {
    let outputs = prop_oneof![
        f32s(n_rows * 2).prop_map(Outputs::Probabilities),
        (f32s(n_rows * 2), prop::collection::vec(0..2u32, n_rows)).prop_map(
            |(probabilities, chosen)| Outputs::Decisions {
                probabilities,
                chosen
            }
        ),
        f32s(n_rows)
            .prop_map(|values| { Outputs::Values(values.into_iter().map(f64::from).collect()) }),
        prop::collection::vec(f64_bits(), n_rows).prop_map(Outputs::Values),
        (
            prop::collection::vec(any::<u32>(), n_rows),
            f32s(n_rows),
            f32s(n_rows * 3)
        )
            .prop_map(|(chosen, propensities, scores)| Outputs::Actions {
                chosen,
                propensities,
                scores
            }),
    ];
    let ids = prop::collection::vec(any::<u128>().prop_map(PredictionId), n_rows);
    let labels = prop::collection::btree_map(any::<u32>(), ".{0,6}", 0..3);
    let state = (any::<u64>(), any::<u64>());
    (ids, batches(n_rows), outputs, labels, state).prop_map(
        |(ids, batch, outputs, labels, (version, position))| {
            Event::Prediction(Prediction {
                ids,
                batch,
                outputs,
                labels,
                version,
                position,
            })
        },
    )
}

fn feedback() -> impl Strategy<Value = Event> {
    let decision =
        (".{0,6}", f64_bits()).prop_map(|(action, propensity)| Decision { action, propensity });
    let subject = prop_oneof![
        any::<u128>().prop_map(|id| Subject::Prediction(PredictionId(id))),
        (batches(1), prop::option::of(decision))
            .prop_map(|(batch, decision)| Subject::Inputs { batch, decision }),
    ];
    let signal = prop_oneof![
        ".{0,6}".prop_map(Signal::Label),
        f64_bits().prop_map(Signal::Value),
        f64_bits().prop_map(Signal::Reward),
        (".{0,6}", f64_bits()).prop_map(|(name, value)| Signal::Named { name, value }),
        any::<u128>().prop_map(|id| Signal::PreferredOver(PredictionId(id))),
    ];
    let event_time = prop::option::of(any::<i64>().prop_map(Time));
    let tags = prop::collection::btree_map(".{0,4}", ".{0,4}", 0..4);
    let weight = prop_oneof![Just(1.0), 0.001..1000.0];
    let own = (
        weight,
        prop_oneof![Just(String::new()), ".{0,6}"],
        any::<bool>(),
    );
    (
        ".{0,8}", subject, signal, ".{0,8}", event_time, tags, ".{0,8}", own,
    )
        .prop_map(
            |(feedback_id, subject, signal, source, event_time, tags, actor, own)| {
                let (weight, comment, may_correct) = own;
                Event::Feedback(Feedback {
                    feedback_id,
                    subject,
                    signal,
                    source,
                    event_time,
                    tags,
                    actor,
                    weight,
                    comment,
                    may_correct,
                })
            },
        )
}
