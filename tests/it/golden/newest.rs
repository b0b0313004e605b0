//! The events of the newest golden journals.
//!
//! Invariant: as that of the others.

use perennial::event::*;

use super::events::version;

/// Orders of retraining, and the version that one makes.
pub(super) fn retrained() -> Vec<Event> {
    let description = Description {
        toml: "task = 'regression'\n".to_owned(),
        build: "perennial 0.1.0 (0123456789ab)".to_owned(),
        profile: "cpu".to_owned(),
    };
    let orders = [
        Order::BeginRetraining { newest: 258 },
        Order::Retrain {
            from: 258,
            description,
        },
        Order::EndRetraining,
    ];
    let command = |order| {
        Event::Command(Command {
            order,
            actor: "ops".to_owned(),
            note: "weil es so ist: ä".to_owned(),
        })
    };
    let mut all: Vec<Event> = orders.map(command).into();
    all.push(version(Reason::Retrain));
    all
}

/// Orders that name a version, and let the name go.
pub(super) fn aliased() -> Vec<Event> {
    let orders = [
        Order::SetAlias {
            alias: "prod".to_owned(),
            version: 258,
        },
        Order::RemoveAlias {
            alias: "prod".to_owned(),
        },
    ];
    let command = |order| {
        Event::Command(Command {
            order,
            actor: "ops".to_owned(),
            note: "weil es so ist: ä".to_owned(),
        })
    };
    orders.map(command).into()
}

/// An alarm of drift.
pub(super) fn drift() -> Event {
    Event::Drift(Alarm {
        position: 258,
        watched: Watched::InputProjection,
        input: "größe".to_owned(),
        change: Change::Mix,
        evidence: 1.5e6,
    })
}
