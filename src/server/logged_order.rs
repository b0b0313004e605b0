//! The line of the log, and of the audit log, that each order gets.
//!
//! Invariant: one line an order, also where no caller waits for it any more.

use std::sync::Arc;

use super::audit_log::{AuditLog, Line};
use super::calls;
use super::context::ServerContext;
use super::wire::Refusal;

/// Characters of a model's name in the log.
const NAME_CHARS_MAX: usize = 64;

/// An order on its way. The log gets one line with its outcome, also where no caller waits for it
/// any more.
pub(super) struct LoggedOrder {
    order: &'static str,
    model: String,
    actor: String,
    audit_log: Option<Arc<AuditLog>>,
    ended: bool,
}

impl LoggedOrder {
    pub(super) fn new(
        context: &ServerContext,
        order: &'static str,
        model: &str,
        actor: &str,
    ) -> LoggedOrder {
        LoggedOrder {
            order,
            // A request may name anything as its model.
            model: model.chars().take(NAME_CHARS_MAX).collect(),
            actor: actor.to_owned(),
            audit_log: context.config.audit_log.clone(),
            ended: false,
        }
    }

    /// Ends the order: it made a version, whose order stands at a position, or it was refused.
    pub(super) fn end(mut self, done: Result<(u64, u64), &Refusal>) {
        self.ended = true;
        let (order, model, actor) = (self.order, &self.model, &self.actor);
        match done {
            Ok((version, position)) => {
                tracing::info!(order, model, actor, version, position, "order carried out");
                self.audit("done");
            }
            Err(refusal) => {
                let (code, why) = (refusal.code, &refusal.message);
                tracing::warn!(order, model, actor, ?code, why, "order refused");
                self.audit(calls::name(code));
            }
        }
    }

    fn audit(&self, outcome: &str) {
        let (order, model, actor) = (self.order, &*self.model, &*self.actor);
        if let Some(log) = &self.audit_log {
            log.write(Line::Order {
                actor,
                model,
                order,
                outcome,
            });
        }
    }
}

impl Drop for LoggedOrder {
    fn drop(&mut self) {
        if !self.ended {
            let (order, model, actor) = (self.order, &self.model, &self.actor);
            tracing::warn!(order, model, actor, "nobody waits for the order any more");
            self.audit("left");
        }
    }
}
