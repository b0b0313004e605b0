//! The deliveries to the webhook, one after the other.
//!
//! Invariant: a task of its own, which serving and learning never wait for; each wait has an end, and so have
//! the attempts of one event.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::context::drained;
use super::webhook::{Failure, Webhook};
use crate::engine::{AttemptOutcome, Deliveries};

/// The time for which an attempt goes on once the server drains; the rest is sent after the next start.
const ENDING_MAX: Duration = Duration::from_secs(1);

/// Delivers the queued events, in its order, until the server drains.
pub(super) async fn run(
    webhook: Webhook,
    deliveries: Arc<Deliveries>,
    draining: watch::Receiver<bool>,
) {
    let mut n_attempts = 0;
    loop {
        let delivery = tokio::select! {
            first = deliveries.first() => first,
            () = drained(draining.clone()) => return,
        };
        n_attempts += 1;
        let ending = async {
            drained(draining.clone()).await;
            sleep(ENDING_MAX).await;
        };
        let outcome = tokio::select! {
            outcome = webhook.attempt(&delivery) => outcome,
            () = ending => return,
        };
        let wait = match outcome {
            Ok(()) => None,
            Err(_) if n_attempts >= webhook.attempts_max => None,
            Err(_) => Some(webhook.wait(n_attempts)),
        };
        log(&webhook, &delivery.id, &outcome, (n_attempts, wait));
        let attempted = match (outcome, wait) {
            (Ok(()), _) => AttemptOutcome::Delivered,
            (Err(failure), None) => AttemptOutcome::GivenUp(failure.to_string()),
            (Err(failure), Some(_)) => AttemptOutcome::Failed(failure.to_string()),
        };
        let noting = deliveries.clone();
        let noted = tokio::task::spawn_blocking(move || noting.note(&delivery.id, attempted));
        let _ = noted.await;
        match wait {
            None => n_attempts = 0,
            Some(wait) => tokio::select! {
                () = sleep(wait) => {}
                () = drained(draining.clone()) => return,
            },
        }
    }
}

/// A line for an attempt that failed, and one for an event that was taken after all.
fn log(
    webhook: &Webhook,
    id: &str,
    outcome: &Result<(), Failure>,
    (attempt, wait): (u32, Option<Duration>),
) {
    let (host, attempts_max) = (&webhook.host, webhook.attempts_max);
    match (outcome, wait) {
        (Ok(()), _) if attempt > 1 => {
            tracing::info!(host, id, attempt, "the webhook has taken the event");
        }
        (Ok(()), _) => {}
        (Err(error), Some(wait)) => {
            let wait_s = wait.as_secs_f64();
            tracing::warn!(
                host,
                id,
                attempt,
                attempts_max,
                wait_s,
                %error,
                "the webhook did not take the event; it is tried again"
            );
        }
        (Err(error), None) => {
            tracing::error!(
                host,
                id,
                attempt,
                %error,
                "the webhook did not take the event; it is given up"
            );
        }
    }
}
