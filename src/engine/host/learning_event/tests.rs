//! Learning events of steps that are made up.
//!
//! Invariant: nothing is learned here.

use super::*;
use crate::event::{Change, Command, WatchedStream};
use crate::learn::{Evidence, IncidentKind, IncidentState};
use crate::model::Spec;

fn learner() -> Learner {
    let toml = "task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'";
    Learner::new(std::sync::Arc::new(Spec::parse(toml).unwrap()))
}

fn entry(event: Event) -> Entry {
    Entry {
        position: 7,
        time: Time(1_769_860_800_000_000),
        event,
    }
}

fn command(order: Order) -> Entry {
    entry(Event::Command(Command {
        order,
        actor: "ann".to_owned(),
        note: "why".to_owned(),
    }))
}

fn alarm(input: &str) -> Alarm {
    Alarm {
        position: 7,
        watched: WatchedStream::Input,
        input: input.to_owned(),
        change: Change::Higher,
        evidence: 2e6,
    }
}

#[test]
fn an_order_names_who_gave_it_and_a_refused_one_is_no_event() {
    let freeze = command(Order::Freeze);
    let events = of_step("m", &learner(), &freeze, &Step::default());
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].id(), "m/7/frozen/0");
    let object = events[0].object();
    assert_eq!(
        (&object["actor"], &object["note"]),
        (&"ann".into(), &"why".into())
    );
    assert_eq!(object["time"], "2026-01-31T12:00:00Z");
    let refused = Step {
        refused: Some("so".to_owned()),
        ..Step::default()
    };
    assert_eq!(of_step("m", &learner(), &freeze, &refused), []);
}

#[test]
fn two_incidents_of_one_entry_are_two_events_with_ids_of_their_own() {
    let incident = |kind, position| Incident {
        position,
        kind,
        about: String::new(),
        version: 3,
        since: 2,
        evidence: Evidence::default(),
        suspects: Vec::new(),
        state: IncidentState::Open,
        actor: String::new(),
        note: String::new(),
    };
    use IncidentKind::{Constant, Errors, Rewound};
    let all = [
        incident(Errors, 5),
        incident(Errors, 7),
        incident(Rewound, 7),
        incident(Constant, 7),
    ];
    let events: Vec<LearningEvent> = of_incidents(("m", 7, Time(0)), &all).collect();
    let ids: Vec<String> = events.iter().map(LearningEvent::id).collect();
    assert_eq!(
        ids,
        ["m/7/incident/0", "m/7/incident-2/0", "m/7/incident-3/0"]
    );
    let kinds = events
        .iter()
        .map(|event| event.object()["incident"]["kind"].clone());
    assert_eq!(kinds.collect::<Vec<_>>(), ["errors", "rewound", "constant"]);
    let remedy = "`perennial restore m 3` puts the champion in its place";
    assert!(events[2].message.ends_with(remedy), "{}", events[2].message);
    assert_eq!(events[2].object()["incident"]["remedy"], remedy);
}

#[test]
fn p8_the_alarms_of_one_entry_are_one_event_and_those_it_holds_are_bounded() {
    let step = Step {
        alarms: (0..1000).map(|n| alarm(&format!("x{n}"))).collect(),
        ..Step::default()
    };
    let tick = entry(Event::Tick(Time(0)));
    let events = of_step("m", &learner(), &tick, &step);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].alarms.len(), ALARMS_MAX);
    let expected = "input \"x0\" higher, input \"x1\" higher, input \"x2\" higher and 997 more";
    assert_eq!(events[0].message, expected);
    assert!(of_step("m", &learner(), &tick, &Step::default()).is_empty());
}

#[test]
fn another_history_says_what_came_and_went_once() {
    let retract = command(Order::Retract(crate::event::Retraction {
        selector: crate::event::Selector::Source("web".to_owned()),
        first_position: 2,
        disposal: crate::event::Disposal::Keep,
    }));
    let step = Step {
        excluded: vec![2, 4],
        champion: Some(ChampionChange {
            come: vec![5],
            gone: (0..100).collect(),
            ..ChampionChange::default()
        }),
        ..Step::default()
    };
    let events = of_step("m", &learner(), &retract, &step);
    let [revised] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(revised.kind, LearningEventKind::HistoryRevised);
    assert_eq!(revised.incidents_added, [5]);
    assert_eq!(revised.incidents_withdrawn.len(), POSITIONS_MAX);
    let expected = "the history is the one without 2 feedback events that were retracted; 1 incidents \
                    added; 100 withdrawn";
    assert_eq!(revised.message, expected);
}
