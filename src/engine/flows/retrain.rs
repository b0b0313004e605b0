//! RETRAIN: derive a learner that begins anew beside live traffic, hold its answers against those that
//! were served, journal the order once it has caught up, and let it take the place of the learned state.
//!
//! Invariant: the order takes effect exactly where it stands in the journal, and a restart that finds it
//! derives the same state again. The start of a derivation is journaled with its cause, so a server
//! that was killed goes on with it. A retraction, which a person waits for, goes first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::engine::compute::threads::block_on;
use crate::engine::error::Error;
use crate::engine::history::error as history;
use crate::engine::history::facts::Facts;
use crate::engine::history::orders::RecordedFacts;
use crate::engine::history::pass::{Pass, first_position};
use crate::engine::history::rebuild::Rebuild;
use crate::engine::host::priority::stand_back;
use crate::engine::host::retractions::TURNS_MAX;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::served_model::ServedModel;
use crate::engine::versions::saved::BY_DESCRIPTION;
use crate::event::{Command, Description, Event, Order, PredictionId, Subject};
use crate::learn::Evidence;
use crate::model::PublishPolicy;

/// Entries that are applied between two looks at whether to go on.
const STRIDE: usize = 4096;
/// Entries that the learner is left to catch up with.
const LEFT_MAX: u64 = 256;
/// The number of times it begins again behind an order that overtook it, or behind a retraction.
const BEGUN_MAX: usize = 8;

/// A request to have a learner begin anew, with its sender and the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetrainingRequest {
    /// Labelled rows that it learns from, the newest ones; all that are retained if 0.
    pub newest: u64,
    /// True to take its state whatever the evidence.
    pub force: bool,
    /// The person who asks.
    pub actor: String,
    /// The reason.
    pub note: String,
}

/// A learner that began anew and took the place of the learned state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrainReport {
    /// The version that was made of it.
    pub version: u64,
    /// The position of the order.
    pub position: u64,
    /// The position of the first entry that it applied.
    pub from: u64,
    /// Examples that it had learned by then.
    pub examples: u64,
    /// The evidence that it answers no worse than the served state; none where none was asked for.
    pub evidence: Option<Evidence>,
}

/// The sender of the outcome.
type RetrainReply = oneshot::Sender<Result<RetrainReport, Error>>;

/// The beginning of a retraining.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// A request of just now, which is journaled.
    New,
    /// One that the journal has, which goes on after a stop.
    Resumed,
}

/// The reason why a derivation ended without a state.
enum DerivationEnd {
    /// A newer order moved the base: derive again.
    Overtaken(Error),
    /// The derivation failed.
    Failed(Error),
    /// The engine stops: the next one goes on with it.
    Stopped(Error),
}

impl ServedModel {
    /// Derives a learner that begins anew, and puts its state in place of the learned one: under
    /// `publish.policy = "live"` only where the evidence shows that it answers no worse than the one that was
    /// served; under the others it is the candidate, and the gate decides.
    ///
    /// # Errors
    /// [`Error::Refused`]: one is derived already, the evidence does not suffice, or the journal holds
    /// nothing to learn from; and those of [`ServedModel::command`].
    pub async fn retrain(&self, request: RetrainingRequest) -> Result<RetrainReport, Error> {
        let runtime = self.get()?.clone();
        if !runtime.retraining().begin() {
            return Err(Error::Refused {
                field: "model",
                what: "a learner that begins anew is derived already".to_owned(),
            });
        }
        let (asked, done) = oneshot::channel();
        runtime.derive_on_a_thread(request, Beginning::New, Some(asked));
        let ended = done.await;
        ended.map_err(|_| runtime.unavailable("its thread has panicked"))?
    }
}

impl ModelRuntime {
    /// Derives a learner that begins anew, where the description asks for it by now, or one was being
    /// derived when the server was stopped.
    pub(crate) fn retrain_if_due(self: &Arc<ModelRuntime>) {
        let is_held = self.retraining().runs() || self.retraining().rests(Instant::now());
        if is_held || self.health().closed().is_some() {
            return;
        }
        let due = {
            let Ok(follower) = self.try_lock_follower() else {
                return;
            };
            let learner = &follower.learner;
            let open = learner.retraining().filter(|newest| newest.is_open);
            match (open, learner.retraining_due()) {
                (Some(open), _) => Some((open.newest, None)),
                (None, Some(cause)) => Some((learner.spec().retrain.newest, Some(cause))),
                (None, None) => None,
            }
        };
        let Some((newest, cause)) = due else { return };
        if !self.retraining().begin() {
            return;
        }
        let beginning = match cause {
            Some(_) => Beginning::New,
            None => Beginning::Resumed,
        };
        let note = cause.map_or("going on after a stop".to_owned(), |one| one.to_string());
        let request = RetrainingRequest {
            newest,
            force: false,
            actor: BY_DESCRIPTION.to_owned(),
            note,
        };
        self.derive_on_a_thread(request, beginning, None);
    }

    fn derive_on_a_thread(
        self: &Arc<ModelRuntime>,
        request: RetrainingRequest,
        beginning: Beginning,
        asked: Option<RetrainReply>,
    ) {
        let runtime = self.clone();
        let spawned = self.retraining().run(move || {
            stand_back();
            let derive = || runtime.begin_anew(&request, beginning, asked.as_ref());
            let outcome = catch_unwind(AssertUnwindSafe(derive)).unwrap_or_else(|_| {
                let why = "the thread that derived it has panicked";
                // Nothing goes on with it at the next turn.
                let _ = runtime.note_order(Order::EndRetraining, &request.actor, why);
                Err(runtime.unavailable(why))
            });
            match &outcome {
                Ok(done) => {
                    tracing::info!(
                        model = runtime.name(),
                        version = done.version,
                        from = done.from,
                        examples = done.examples,
                        "retrained"
                    );
                    // While it was taken no version was removed.
                    if let Ok(follower) = runtime.lock_follower() {
                        runtime.prune(&follower);
                    }
                }
                Err(error) => {
                    tracing::warn!(model = runtime.name(), %error, "not retrained");
                }
            }
            runtime.retraining().end();
            if let Some(asked) = asked {
                let _ = asked.send(outcome);
            }
        });
        if let Err(error) = spawned {
            self.retraining().end();
            tracing::error!(model = self.name(), %error, "no thread to derive on");
        }
    }

    /// The whole of it, on its own thread.
    fn begin_anew(
        self: &Arc<ModelRuntime>,
        request: &RetrainingRequest,
        beginning: Beginning,
        asked: Option<&RetrainReply>,
    ) -> Result<RetrainReport, Error> {
        let RetrainingRequest {
            newest,
            actor,
            note,
            ..
        } = request;
        tracing::info!(model = self.name(), newest, note, "a learner begins anew");
        if beginning == Beginning::New {
            let order = Order::BeginRetraining { newest: *newest };
            self.note_order(order, actor, note)?;
        }
        let mut n_begun = 0;
        loop {
            n_begun += 1;
            match self.derive_once(request, asked) {
                Ok(done) => return Ok(done),
                Err(DerivationEnd::Overtaken(_)) if n_begun < BEGUN_MAX => {}
                Err(DerivationEnd::Stopped(error)) => return Err(error),
                Err(DerivationEnd::Overtaken(error) | DerivationEnd::Failed(error)) => {
                    self.note_order(Order::EndRetraining, actor, &error.to_string())?;
                    return Err(error);
                }
            }
        }
    }

    /// Journals an order that only takes note of something.
    fn note_order(
        self: &Arc<ModelRuntime>,
        order: Order,
        by: &str,
        note: &str,
    ) -> Result<(), Error> {
        let command = Command {
            order,
            actor: by.to_owned(),
            note: note.to_owned(),
        };
        let journaled = block_on(self.journal(command, None));
        let (position, urgent) =
            journaled.inspect_err(|_| self.retraining().fail(Instant::now()))?;
        self.await_applied(position)?;
        drop(urgent);
        self.outcome(position).map(drop)
    }

    fn derive_once(
        self: &Arc<ModelRuntime>,
        request: &RetrainingRequest,
        asked: Option<&RetrainReply>,
    ) -> Result<RetrainReport, DerivationEnd> {
        let turn = block_on(self.retractions().take_turn());
        let _turn = turn.ok_or_else(|| {
            DerivationEnd::Overtaken(Error::Full {
                model: self.name().to_owned(),
                what: format!("{TURNS_MAX} retractions wait for their turn"),
            })
        })?;
        self.settle_trims().map_err(DerivationEnd::Failed)?;
        let last = self.progress().synced();
        self.await_applied(last)
            .map_err(|error| self.ended(error))?;
        let (from, description, facts) = self.beginning(request.newest, last)?;
        let attempt = self.tried_attempt(request).map_err(DerivationEnd::Failed)?;
        let order = Order::Retrain { from, description };
        let known = RecordedFacts::new(facts);
        let rebuild = Rebuild::begin(self.versions(), &order, last, &known);
        let mut rebuild = rebuild.map_err(|error| self.of_history(error))?;
        if let Some(attempt) = attempt {
            rebuild = rebuild.tried(attempt);
        }
        self.derive_to_the_end(&mut rebuild, asked)?;
        let (evidence, examples) = (rebuild.evidence(), rebuild.learner.learned().n_examples());
        if examples == 0 {
            let what = format!("no labelled row stands behind position {from} to learn from");
            let field = "newest";
            return Err(DerivationEnd::Failed(Error::Refused { field, what }));
        }
        check_evidence(evidence).map_err(DerivationEnd::Failed)?;
        self.retractions().prepare(rebuild);
        let command = Command {
            order,
            actor: request.actor.clone(),
            note: request.note.clone(),
        };
        let journaled = block_on(self.journal(command, None));
        let (position, urgent) = journaled.map_err(|error| self.ended(error))?;
        let applied = self.await_applied(position);
        drop(urgent);
        applied.map_err(|error| self.ended(error))?;
        let done = self.outcome(position).map_err(DerivationEnd::Overtaken)?;
        Ok(RetrainReport {
            version: done.version,
            position,
            from,
            examples,
            evidence,
        })
    }

    /// Derives until little is left to catch up with.
    fn derive_to_the_end(
        self: &Arc<ModelRuntime>,
        rebuild: &mut Rebuild,
        asked: Option<&RetrainReply>,
    ) -> Result<(), DerivationEnd> {
        let mut left_before = u64::MAX;
        loop {
            let last = self.progress().synced();
            while rebuild.position() < last {
                if let Some(reason) = self.health().closed() {
                    return Err(DerivationEnd::Stopped(self.unavailable(&reason)));
                }
                if asked.is_some_and(oneshot::Sender::is_closed) {
                    let why = "nobody waits for it any more";
                    return Err(DerivationEnd::Failed(self.unavailable(why)));
                }
                if self.retractions().is_awaited() {
                    let why = "a retraction goes first";
                    return Err(DerivationEnd::Overtaken(self.unavailable(why)));
                }
                let advanced = rebuild.advance(last, STRIDE);
                advanced.map_err(|error| self.of_history(error))?;
                if rebuild.undecided().is_some() {
                    let why = "a restore is on its way";
                    return Err(DerivationEnd::Overtaken(self.unavailable(why)));
                }
            }
            let left = self.progress().synced().saturating_sub(last);
            if left <= LEFT_MAX || left >= left_before {
                return Ok(());
            }
            left_before = left;
        }
    }

    /// The first entry that a learner of the newest labelled rows applies, the description that it
    /// begins under, and the facts of the journal.
    fn beginning(
        &self,
        newest: u64,
        last: u64,
    ) -> Result<(u64, Description, Facts), DerivationEnd> {
        let (description, facts) = {
            let follower = self.lock_follower().map_err(DerivationEnd::Failed)?;
            let description = follower.learner.description().clone();
            (description, follower.lookup.facts.clone())
        };
        let found = || -> Result<(u64, Facts), history::Error> {
            let first = first_position(self.versions())?;
            let facts = facts.spanning(self.versions(), first, last)?;
            let moved = facts.last_moved(last, facts.refused()).unwrap_or(0);
            let first = first.max(moved + 1);
            let from = match newest {
                0 => first,
                newest => self.position_of_newest(newest, first, last, &facts)?,
            };
            Ok((from, facts))
        };
        let (from, facts) = found().map_err(|error| self.of_history(error))?;
        Ok((from, description, facts))
    }

    /// The position of the prediction of the first of the newest labelled rows, or of the row itself.
    fn position_of_newest(
        &self,
        newest: u64,
        first: u64,
        last: u64,
        facts: &Facts,
    ) -> Result<u64, history::Error> {
        let mut n_labels = 0;
        self.each_label(first, last, facts, |_, _| {
            n_labels += 1;
            true
        })?;
        let Some(n_older) = u64::checked_sub(n_labels, newest) else {
            return Ok(first);
        };
        let (mut n_seen, mut found) = (0, None);
        self.each_label(first, last, facts, |position, subject| {
            n_seen += 1;
            if n_seen > n_older {
                found = Some((position, subject));
            }
            found.is_none()
        })?;
        match found {
            None => Ok(first),
            Some((position, None)) => Ok(position),
            Some((position, Some(id))) => self.prediction_before(id, first, position),
        }
    }

    /// Hands out labels that were not retracted, as long as `go_on` is true: the position, and the
    /// prediction that each is about.
    fn each_label(
        &self,
        first: u64,
        last: u64,
        facts: &Facts,
        mut go_on: impl FnMut(u64, Option<PredictionId>) -> bool,
    ) -> Result<(), history::Error> {
        let mut pass = Pass::from(self.versions(), first, 0)?;
        while let Some(entry) = pass.next(last)? {
            let Event::Feedback(feedback) = &entry.event else {
                continue;
            };
            let (position, time) = (entry.position, entry.time);
            if facts.retracted_by(position, time, feedback, last).is_some() {
                continue;
            }
            let subject = match feedback.subject {
                Subject::Prediction(id) => Some(id),
                Subject::Inputs { .. } => None,
            };
            if !go_on(position, subject) {
                break;
            }
        }
        Ok(())
    }

    /// The position of a prediction before a position; that position where there is no such prediction.
    fn prediction_before(
        &self,
        id: PredictionId,
        first: u64,
        position: u64,
    ) -> Result<u64, history::Error> {
        let mut pass = Pass::from(self.versions(), first, 0)?;
        while let Some(entry) = pass.next(position)? {
            if let Event::Prediction(prediction) = &entry.event
                && prediction.ids.contains(&id)
            {
                return Ok(entry.position);
            }
        }
        Ok(position)
    }

    /// The number of the newest attempt since the champion was chosen, where evidence decides it.
    fn tried_attempt(&self, request: &RetrainingRequest) -> Result<Option<u64>, Error> {
        let follower = self.lock_follower()?;
        let learner = &follower.learner;
        let is_tried = learner.spec().publish.policy == PublishPolicy::Live && !request.force;
        Ok(is_tried.then(|| learner.retraining_attempt()))
    }

    /// An engine that stops has given nothing up.
    fn ended(&self, error: Error) -> DerivationEnd {
        match self.health().closed() {
            Some(_) => DerivationEnd::Stopped(error),
            None => DerivationEnd::Failed(error),
        }
    }

    fn of_history(&self, error: history::Error) -> DerivationEnd {
        let is_overtaken = matches!(error, history::Error::Overtaken(_));
        let error = error.of_request(self.name(), "newest");
        if is_overtaken {
            DerivationEnd::Overtaken(error)
        } else {
            DerivationEnd::Failed(error)
        }
    }
}

/// Refuses a state that was not shown to answer no worse than the served one.
fn check_evidence(evidence: Option<Evidence>) -> Result<(), Error> {
    let Some(evidence) = evidence else {
        return Ok(());
    };
    let Evidence {
        labels,
        wealth,
        needed,
        difference,
    } = evidence;
    if wealth >= needed {
        return Ok(());
    }
    Err(Error::Refused {
        field: "evidence",
        what: format!(
            "the learner that began anew is not shown to answer as well as what was served: over \
             {labels} labels its mean loss is {difference:+.4} beside it, at evidence {wealth:.1} of \
             {needed:.0}"
        ),
    })
}
