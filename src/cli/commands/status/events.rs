//! The newest learning events of a model, and the state of the webhook.
//!
//! Invariant: nothing where nothing happened, and nothing of a webhook that there is not.

use perennial::proto::perennial::v1::{ModelStatus, WebhookStatus};
use serde_json::{Value, json};

use crate::cli::output::learning_event;

/// Events that are shown of a model.
const SHOWN_MAX: usize = 3;

/// The newest events, the oldest of them first.
pub(super) fn lines(status: &ModelStatus) -> impl Iterator<Item = String> {
    let hidden = status.newest_events.len().saturating_sub(SHOWN_MAX);
    let shown = status.newest_events.iter().skip(hidden);
    shown.map(|event| format!("  {:<12} {}", "event", learning_event::line(event)))
}

/// The newest events as objects.
pub(super) fn event_objects(status: &ModelStatus) -> Value {
    status
        .newest_events
        .iter()
        .map(learning_event::object)
        .collect()
}

/// The state of deliveries to the webhook.
pub(super) fn webhook(webhook: &WebhookStatus) -> String {
    let WebhookStatus {
        queued,
        queue_max,
        delivered,
        retried,
        given_up,
        dropped,
        last_error,
    } = webhook;
    let mut line = format!(
        "webhook: {queued} of {queue_max} events wait, {delivered} delivered, {retried} attempts repeated, \
         {given_up} given up, {dropped} dropped"
    );
    if !last_error.is_empty() {
        line += &format!("; the newest attempt failed: {last_error}");
    }
    line
}

/// The status of the webhook as a JSON object.
pub(super) fn webhook_object(webhook: &WebhookStatus) -> Value {
    json!({
        "queued": webhook.queued,
        "queue_max": webhook.queue_max,
        "delivered": webhook.delivered,
        "retried": webhook.retried,
        "given_up": webhook.given_up,
        "dropped": webhook.dropped,
        "last_error": webhook.last_error,
    })
}

#[cfg(test)]
mod tests {
    use perennial::proto::perennial::v1::LearningEvent;

    use super::*;

    #[test]
    fn the_newest_events_and_the_webhook_are_lines() {
        let event = |position| LearningEvent {
            model: "fraud".to_owned(),
            position,
            kind: "drift".to_owned(),
            message: "error higher".to_owned(),
            ..LearningEvent::default()
        };
        let status = ModelStatus {
            newest_events: (1..=5).map(event).collect(),
            ..ModelStatus::default()
        };
        let shown: Vec<String> = lines(&status).collect();
        let expected = "  event        1970-01-01T00:00:00Z fraud 3 drift: error higher";
        assert_eq!((shown.len(), &shown[0][..]), (3, expected));
        let failing = WebhookStatus {
            queued: 2,
            queue_max: 10,
            last_error: "it gave no answer within 10 s".to_owned(),
            ..WebhookStatus::default()
        };
        let expected = "webhook: 2 of 10 events wait, 0 delivered, 0 attempts repeated, 0 given up, 0 \
                        dropped; the newest attempt failed: it gave no answer within 10 s";
        assert_eq!(webhook(&failing), expected);
        assert_eq!(webhook_object(&failing)["queued"], 2);
    }
}
