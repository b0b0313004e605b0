//! Records of every kind, drawn at random.

use proptest::prelude::*;

use crate::event::{Alarm, Change, Event, Judgement, Reason, Verdict, Version, WatchedStream};

pub(super) fn versions() -> impl Strategy<Value = Event> {
    let reason = prop::sample::select(Reason::ALL.to_vec());
    (
        any::<[u64; 3]>(),
        reason,
        any::<[u8; 32]>(),
        any::<Option<[u8; 32]>>(),
    )
        .prop_map(|([version, parent, position], reason, digest, tallies)| {
            Event::Version(Version {
                version,
                parent,
                position,
                reason,
                digest: digest.into(),
                tallies: tallies.map(blake3::Hash::from),
            })
        })
}

pub(super) fn verdicts() -> impl Strategy<Value = Event> {
    let judgement = prop::sample::select(Judgement::ALL.to_vec());
    (
        any::<[u64; 3]>(),
        judgement,
        super::f64_bits(),
        super::f64_bits(),
    )
        .prop_map(
            |([position, version, labels], judgement, evidence, difference)| {
                Event::Verdict(Verdict {
                    position,
                    judgement,
                    version,
                    labels,
                    evidence,
                    difference,
                })
            },
        )
}

pub(super) fn alarms() -> impl Strategy<Value = Event> {
    let watched = prop::sample::select(WatchedStream::ALL.to_vec());
    let change = prop::sample::select(Change::ALL.to_vec());
    let alarm = (any::<u64>(), watched, change, 1.0..1e9, ".{0,8}");
    alarm.prop_map(|(position, watched, change, evidence, input)| {
        Event::Drift(Alarm {
            position,
            watched,
            input,
            change,
            evidence,
        })
    })
}
