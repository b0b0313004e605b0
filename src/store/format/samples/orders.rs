//! Orders that derive other histories, with their bytes.
//!
//! Invariant: one of each kind, small enough to be read.

use super::Sample;
use crate::event::*;

/// Retractions by every kind of selector.
pub(super) fn retractions() -> Vec<Sample> {
    vec![
        (
            retract(Selector::Source("s".into()), Disposal::Keep),
            "03 01 01000000 73 0500000000000000 00000000 00000000",
        ),
        (
            retract(Selector::Source("s".into()), Disposal::Erase),
            "06 01 01000000 73 0500000000000000 00000000 00000000",
        ),
        (
            retract(Selector::FeedbackId("f".into()), Disposal::Keep),
            "03 02 01000000 66 0500000000000000 00000000 00000000",
        ),
        (
            retract(Selector::SourceHash([0xab; 16]), Disposal::Erase),
            "06 04 abababababababababababababababab 0500000000000000 00000000 00000000",
        ),
        (
            retract(Selector::FeedbackIdHash([0xcd; 16]), Disposal::Erase),
            "06 05 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 0500000000000000 00000000 00000000",
        ),
        (
            retract(
                Selector::Accepted {
                    since: Time(1),
                    until: Time(-1),
                },
                Disposal::Keep,
            ),
            "03 03 0100000000000000 ffffffffffffffff 0500000000000000 00000000 00000000",
        ),
    ]
}

/// Orders of retraining.
pub(super) fn retrainings() -> Vec<Sample> {
    vec![
        (
            Event::Command(Command {
                order: Order::BeginRetraining { newest: 258 },
                actor: String::new(),
                note: "n".into(),
            }),
            "0d 0201000000000000 00000000 01000000 6e",
        ),
        (
            Event::Command(Command {
                order: Order::Retrain {
                    from: 258,
                    description: Description {
                        toml: "a".into(),
                        build: "bc".into(),
                        profile: String::new(),
                    },
                },
                actor: String::new(),
                note: String::new(),
            }),
            "0e 0201000000000000 01000000 61 02000000 6263 00000000 00000000 00000000",
        ),
        (
            Event::Command(Command {
                order: Order::EndRetraining,
                actor: String::new(),
                note: String::new(),
            }),
            "0f 00000000 00000000",
        ),
        (
            Event::Command(Command {
                order: Order::Release(Selector::Source("web".into())),
                actor: String::new(),
                note: "n".into(),
            }),
            "10 01 03000000 776562 00000000 01000000 6e",
        ),
        (
            Event::Command(Command {
                order: Order::Discard(Selector::Accepted {
                    since: Time(-1),
                    until: Time(1),
                }),
                actor: String::new(),
                note: String::new(),
            }),
            "11 03 ffffffffffffffff 0100000000000000 00000000 00000000",
        ),
    ]
}

fn retract(selector: Selector, disposal: Disposal) -> Event {
    Event::Command(Command {
        order: Order::Retract(Retraction {
            selector,
            first_position: 5,
            disposal,
        }),
        actor: String::new(),
        note: String::new(),
    })
}
