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

/// Feedback with a weight and a comment, and orders about quarantined feedback.
pub(super) fn weighted() -> Vec<Event> {
    let source = Selector::Source("web".to_owned());
    let stretch = Selector::Accepted {
        since: Time(-1),
        until: Time(258),
    };
    let orders = [Order::Release(source.hashed()), Order::Discard(stretch)];
    let orders = orders.map(|order| {
        Event::Command(Command {
            order,
            actor: "ops".to_owned(),
            note: "weil es so ist: ä".to_owned(),
        })
    });
    let feedback = Event::Feedback(Feedback {
        feedback_id: "f-2".to_owned(),
        subject: Subject::Prediction(PredictionId(0x1122)),
        signal: Signal::Label("yes".to_owned()),
        source: "web".to_owned(),
        event_time: None,
        tags: Default::default(),
        actor: String::new(),
        weight: 0.25,
        comment: "weil es so ist: ä".to_owned(),
        may_correct: false,
    });
    [feedback].into_iter().chain(orders).collect()
}

/// Feedback of a sender who may correct others.
pub(super) fn corrected() -> Event {
    Event::Feedback(Feedback {
        feedback_id: "f-3".to_owned(),
        subject: Subject::Prediction(PredictionId(0x1122)),
        signal: Signal::Label("no".to_owned()),
        source: "desk".to_owned(),
        event_time: None,
        tags: Default::default(),
        actor: "ann".to_owned(),
        weight: 1.0,
        comment: String::new(),
        may_correct: true,
    })
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
        watched: WatchedStream::InputProjection,
        input: "größe".to_owned(),
        change: Change::Mix,
        evidence: 1.5e6,
    })
}
