//! Incidents that alarms raise: when, whom they name, and streams that raise none.
//!
//! Invariant: they are derived from the journal, so that a retraction derives them again.

use perennial::event::{
    Command, Disposal, Event, Feedback, Judgement, Order, Retraction, Selector, Time,
};
use perennial::learn::{Incident, IncidentKind, Learner};

use crate::support::histories::twin;
use crate::support::{LearnerHarness, label, rows};

/// Rows before labels are wrong.
const FLIP: usize = 4000;

fn described(lines: &str) -> String {
    format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
         [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
         [[input]]\nname = \"c\"\nkind = \"category\"\n{lines}"
    )
}

const QUICK: &str =
    "[learner]\nkind = \"gradient\"\nlearning_rate = 0.05\n[memory]\nstrategy = \"none\"\n";

fn command(order: Order) -> Event {
    Event::Command(Command {
        order,
        actor: "ann".to_owned(),
        note: String::new(),
    })
}

/// Answers rows `from..to` and labels each, as one of ten sources; those for which `is_wrong` holds wrongly.
fn teach(
    harness: &mut LearnerHarness,
    (from, to): (usize, usize),
    is_wrong: impl Fn(usize) -> bool,
) {
    for (index, (batch, truth)) in rows(to, 0.4).enumerate().skip(from) {
        let id = harness.predict(batch).ids[0];
        let other = if truth == "a" { "b" } else { "a" };
        let given_label = if is_wrong(index) { other } else { truth };
        harness.append(Event::Feedback(Feedback {
            source: format!("source {}", index % 10),
            ..label(id, &format!("row-{index}"), given_label)
        }));
    }
}

fn of_kind(learner: &Learner, kind: IncidentKind) -> Vec<Incident> {
    let incidents = learner.incidents().iter().filter(|one| one.kind == kind);
    incidents.cloned().collect()
}

#[test]
fn a_source_that_turns_is_an_incident_that_names_it_first_until_it_is_retracted() {
    let mut harness =
        LearnerHarness::new(&described(&format!("{QUICK}[monitor]\nsources = true\n")));
    teach(&mut harness, (0, FLIP), |_| false);
    assert_eq!(harness.learner.incidents(), []);
    teach(&mut harness, (FLIP, FLIP + 1500), |index| index % 10 == 7);
    let of_slices = of_kind(&harness.learner, IncidentKind::Slice);
    assert_eq!(of_slices.len(), 1, "{of_slices:?}");
    let incident = &of_slices[0];
    assert_eq!(incident.about, "source:source 7");
    assert_eq!(incident.suspects[0].source, "source 7");
    let losses: Vec<f64> = incident.suspects.iter().map(|one| one.loss).collect();
    assert!(
        losses[0] > 0.1 && losses[1..].iter().all(|loss| *loss < 0.05),
        "{incident:?}"
    );
    // Two entries a row, and an eighth of these labels are of it.
    let delay = (incident.position - 2 * FLIP as u64) / 2;
    assert!(delay < 600, "{delay} rows");
    for one in of_kind(&harness.learner, IncidentKind::Errors) {
        assert_eq!(one.suspects[0].source, "source 7", "{one:?}");
        assert!(one.evidence.difference > 0.0 && one.evidence.wealth >= one.evidence.needed);
    }
    let loaded = Learner::load(harness.learner.learned().weights(), harness.learner.state());
    assert!(loaded.expect("it was saved") == harness.learner);

    let is_first =
        |event: &Event| matches!(event, Event::Feedback(one) if one.source == "source 7");
    let mut entries = harness.journal.iter();
    let first = entries.find(|one| is_first(&one.event)).expect("it sends");
    harness.append(command(Order::Retract(Retraction {
        selector: Selector::Source("source 7".to_owned()),
        first_position: first.position,
        disposal: Disposal::Keep,
    })));
    // The served state still has the effect of its labels, so that other sources may contradict it.
    let never = twin(&harness.journal);
    let of_it = |one: &Incident| {
        let mut suspects = one.suspects.iter().map(|one| &one.source[..]);
        one.kind == IncidentKind::Slice || suspects.any(|source| source == "source 7")
    };
    for learner in [&harness.learner, &never.learner] {
        assert!(
            !learner.incidents().iter().any(of_it),
            "{:?}",
            learner.incidents()
        );
    }
    assert_eq!(
        never.learner.learned().digest(),
        harness.learner.learned().digest()
    );
}

#[test]
fn alarms_of_one_change_are_one_incident_until_it_is_closed() {
    let mut harness = LearnerHarness::new(&described(QUICK));
    teach(&mut harness, (0, 2000), |_| false);
    teach(&mut harness, (2000, 2600), |index| index % 2 == 0);
    let raised = of_kind(&harness.learner, IncidentKind::Errors);
    assert_eq!(raised.len(), 1, "{raised:?}");
    let watched = ["error", "error_window"];
    let alarms = harness.journal.iter().filter(|one| match &one.event {
        Event::Drift(alarm) => watched.contains(&alarm.watched.word()),
        _ => false,
    });
    assert!(alarms.count() > 1, "both tests of errors find it");
    let incident = raised[0].position;
    harness.append(command(Order::Close { incident }));
    teach(&mut harness, (2600, 6000), |_| false);
    assert_eq!(of_kind(&harness.learner, IncidentKind::Errors).len(), 1);
    teach(&mut harness, (6000, 6600), |index| index % 2 == 0);
    assert_eq!(of_kind(&harness.learner, IncidentKind::Errors).len(), 2);
}

#[test]
fn a_fresh_model_a_rare_class_and_one_class_alone_raise_no_incident() {
    let auto = "";
    for learner in [auto, QUICK, "[learner]\nkind = \"analytic\"\n"] {
        for (what, every, n_rows) in [
            ("fresh", 2, 500),
            ("1 fraud in 1,000", 1000, 10_000),
            ("one class alone", usize::MAX, 10_000),
        ] {
            let mut harness = LearnerHarness::new(&described(learner));
            for (index, (batch, truth)) in rows(n_rows, 0.4).enumerate() {
                let given_label = match (every, index % every) {
                    (2, _) => truth,
                    (_, 999) => "b",
                    _ => "a",
                };
                let id = harness.predict(batch).ids[0];
                let step = harness.append(Event::Feedback(label(
                    id,
                    &format!("row-{index}"),
                    given_label,
                )));
                assert_eq!(step.refused, None);
            }
            assert_eq!(harness.learner.incidents(), [], "{what} {learner}");
        }
    }
}

/// The position of the newest entry, where it has raised an incident of this kind.
fn raised(harness: &LearnerHarness, kind: IncidentKind) -> Option<u64> {
    let newest = of_kind(&harness.learner, kind).pop()?;
    (newest.position == harness.learner.position()).then_some(newest.position)
}

#[test]
fn silence_and_a_stale_model_are_incidents_of_ticks_once_each_until_something_comes() {
    use IncidentKind::{Silent, Stale};
    let quiet = "[monitor]\nsilence_after = \"1h\"\nstale_after = \"2h\"\n";
    let mut harness = LearnerHarness::new(&described(&format!("{QUICK}{quiet}")));
    assert_eq!(harness.learner.next_tick(), None, "nothing was asked");
    teach(&mut harness, (0, 20), |_| false);
    let hours =
        |last: Option<Time>, hours: i64| Time(last.expect("it came").0 + hours * 3_600_000_000);
    let expected = [
        (Silent, hours(harness.learner.last_feedback(), 1)),
        (Stale, hours(harness.learner.last_example(), 2)),
    ];
    for (kind, expected) in expected {
        let due = harness.learner.next_tick().expect("it is due");
        assert_eq!(due, expected, "{kind:?}");
        harness.append_at(due, Event::Tick(due));
        let incident = raised(&harness, kind).expect("an incident");
        // A person who closes it is not told of the same silence again.
        let time = Time(due.0 + 1);
        harness.append_at(time, command(Order::Close { incident }));
    }
    assert_eq!(harness.learner.next_tick(), None);
    let later = hours(harness.learner.last_feedback(), 30);
    harness.append_at(later, Event::Tick(later));
    assert_eq!(harness.learner.incidents().len(), 2);
    teach(&mut harness, (20, 21), |_| false);
    let due = harness.learner.next_tick().expect("the next silence");
    assert_eq!(due, hours(harness.learner.last_feedback(), 1));
    // Both fell due while no server ran: the first entry behind tells of both.
    let missed = Time(due.0 + 100 * 3_600_000_000);
    harness.append_at(missed, Event::Tick(missed));
    let [silent, stale] = [Silent, Stale].map(|kind| raised(&harness, kind));
    assert!(silent.is_some() && silent == stale, "{silent:?} {stale:?}");
    let loaded = Learner::load(harness.learner.learned().weights(), harness.learner.state());
    assert!(loaded.expect("it was saved") == harness.learner);
}

#[test]
fn an_alarm_of_errors_freezes_the_model_where_that_is_described() {
    let freezes = described(&format!("{QUICK}[drift]\naction = \"freeze\"\n"));
    let mut harness = LearnerHarness::new(&freezes);
    teach(&mut harness, (0, 2000), |_| false);
    assert!(!harness.learner.is_frozen());
    teach(&mut harness, (2000, 2600), |index| index % 2 == 0);
    assert!(harness.learner.is_frozen());
    assert_eq!(of_kind(&harness.learner, IncidentKind::Errors).len(), 1);
    let frozen: Vec<u64> = harness
        .journal
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Verdict(verdict) if verdict.judgement == Judgement::Frozen => {
                Some(verdict.position)
            }
            _ => None,
        })
        .collect();
    let alarmed = of_kind(&harness.learner, IncidentKind::Errors)[0].position;
    assert_eq!(frozen, [alarmed]);
    let before = harness.learner.learned().digest();
    teach(&mut harness, (2600, 2620), |_| false);
    assert_eq!(harness.learner.learned().digest(), before);
    harness.append(command(Order::Resume));
    teach(&mut harness, (2620, 2640), |_| false);
    assert_ne!(harness.learner.learned().digest(), before);
    assert_eq!(
        twin(&harness.journal).learner.learned().digest(),
        harness.learner.learned().digest()
    );
}
