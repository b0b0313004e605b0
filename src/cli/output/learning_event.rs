//! Learning events as lines for people and as objects for programs.
//!
//! Invariant: an event is one line, whatever its texts hold; its object is the one that the webhook posts.

use perennial::event::Time;
use perennial::proto::perennial::v1::{Incident, LearningEvent};
use serde_json::{Value, json};

/// The time, the model, the position, the kind, and the event in a sentence.
pub(crate) fn line(event: &LearningEvent) -> String {
    let LearningEvent {
        model,
        position,
        kind,
        message,
        actor,
        note,
        ..
    } = event;
    let mut line = format!("{} {model} {position} {kind}: {message}", time(event));
    if !note.is_empty() {
        line += &format!("; {}: {}", actor.escape_debug(), note.escape_debug());
    } else if !actor.is_empty() {
        line += &format!("; by {}", actor.escape_debug());
    }
    line
}

fn time(event: &LearningEvent) -> Time {
    let time = event.time.unwrap_or_default();
    Time(time.seconds * 1_000_000 + i64::from(time.nanos) / 1000)
}

/// The event as the webhook posts it.
pub(crate) fn object(event: &LearningEvent) -> Value {
    let mut object = json!({
        "id": event.id,
        "model": event.model,
        "position": event.position,
        "generation": event.generation,
        "kind": event.kind,
        "time": time(event).to_string(),
        "version": event.version,
        "message": event.message,
        "actor": event.actor,
        "note": event.note,
    });
    if let (Some(labels), Some(wealth), Some(difference)) =
        (event.labels, event.wealth, event.difference)
    {
        object["labels"] = labels.into();
        object["wealth"] = wealth.into();
        object["difference"] = difference.into();
    }
    if !event.alarms.is_empty() {
        let alarms = event.alarms.iter().map(|alarm| {
            json!({
                "watched": alarm.watched,
                "input": alarm.input,
                "change": alarm.change,
                "evidence": alarm.evidence,
            })
        });
        object["alarms"] = alarms.collect();
    }
    if let Some(incident) = &event.incident {
        object["incident"] = json!({
            "incident": incident.incident,
            "kind": incident.kind,
            "about": incident.about,
            "version": incident.version,
            "since": incident.since,
            "suspects": suspects(incident),
            "remedy": incident.remedy,
        });
    }
    if event.kind == "history_revised" {
        object["incidents_added"] = json!(event.incidents_added);
        object["incidents_withdrawn"] = json!(event.incidents_withdrawn);
    }
    object
}

/// The suspected sources as objects.
pub(crate) fn suspects(incident: &Incident) -> Vec<Value> {
    let suspects = incident.suspects.iter().map(|one| {
        json!({
            "source": one.source,
            "share": one.share,
            "labels": one.labels,
            "loss": one.loss,
        })
    });
    suspects.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_its_note_holds() {
        let event = LearningEvent {
            model: "fraud".to_owned(),
            position: 7,
            kind: "restored".to_owned(),
            message: "version 3 is restored as version 9".to_owned(),
            actor: "ann".to_owned(),
            note: "one\ntwo".to_owned(),
            ..LearningEvent::default()
        };
        let expected = "1970-01-01T00:00:00Z fraud 7 restored: version 3 is restored as version 9; ann: \
                        one\\ntwo";
        assert_eq!(line(&event), expected);
        let unexplained = LearningEvent {
            note: String::new(),
            ..event
        };
        assert!(line(&unexplained).ends_with("version 9; by ann"));
        assert_eq!(object(&unexplained)["position"], 7);
    }
}
