//! The context that all services share: the engine, the bounds, the drain, the counts of refusals.
//!
//! Invariant: a request that is refused is counted once, under the flow it belongs to.

use std::sync::Arc;

use axum::http::HeaderMap;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tonic::{Code, Status};

use super::access::{Access, Caller, Method, Needs, Peer};
use super::audit_log::Line;
use super::bounds::Config;
use super::budget::{Holding, RequestBudget};
use super::caller_places::CallerPlaces;
use super::calls::Calls;
use super::compute_queue::ComputeQueue;
use super::connection_counts::ConnectionCounts;
use super::refusals::Refusals;
use super::waiters::Waiters;
use super::wire::Refusal;
use crate::engine::{Engine, Error, ServedModel};

/// The requests that may read whole journals, load states or compute digests at a time, in all and of one
/// caller: each takes a thread and as much memory as a model, and learning waits for a digest.
const INQUIRIES_MAX: usize = 4;
const INQUIRIES_OF_CALLER_MAX: usize = 2;
/// The readers of models' states at a time, which may wait for their learners: others wait.
const LOOKS_MAX: usize = 16;
/// Pages of metrics that are not read yet, in all and of one caller.
const PAGES_MAX: usize = 64;
const PAGES_OF_CALLER_MAX: usize = 16;
/// Calls at a time that take no credential, and the bytes of their messages.
const OPEN_REQUESTS_MAX: usize = 1024;
const OPEN_BYTES_MAX: u64 = 1024 * 1024;
/// A message lists the existing names if they are at most so many.
const LISTED_MAX: usize = 10;

pub(super) struct ServerContext {
    pub engine: Arc<Engine>,
    pub config: Config,
    pub draining: watch::Receiver<bool>,
    inquiries: CallerPlaces,
    looks: Arc<Semaphore>,
    /// Pages of metrics that are made or read.
    pub pages: CallerPlaces,
    /// The connections that there are.
    pub connections: Arc<ConnectionCounts>,
    /// The calls over gRPC that are read or answered.
    pub requests: Arc<RequestBudget>,
    /// The budget of calls that take no credential, those with one answer, and the watches of health.
    open_requests: Arc<RequestBudget>,
    open_watches: Arc<RequestBudget>,
    pub waiters: Waiters,
    /// The calls over gRPC that were answered.
    pub calls: Calls,
    /// Predictions that are computed, and those that wait for that.
    pub compute_queue: ComputeQueue,
    /// Predictions that were refused, for whatever reason.
    pub refused_predictions: Refusals,
    /// Feedback events that were refused; they are in no journal.
    pub refused_feedback: Refusals,
    /// Other calls that were refused: of no method there is, and inquiries beyond their places.
    pub refused_calls: Refusals,
    /// Requests of callers that showed no credential which allows them.
    pub refused_logins: Refusals,
}

impl ServerContext {
    pub(super) fn new(
        engine: Arc<Engine>,
        config: Config,
        draining: watch::Receiver<bool>,
    ) -> ServerContext {
        ServerContext {
            connections: Arc::default(),
            requests: Arc::new(RequestBudget::new(
                config.requests_max,
                config.request_bytes_max,
            )),
            open_requests: Arc::new(RequestBudget::new(OPEN_REQUESTS_MAX, OPEN_BYTES_MAX)),
            open_watches: Arc::new(RequestBudget::new(OPEN_REQUESTS_MAX, OPEN_BYTES_MAX)),
            compute_queue: ComputeQueue::new(&config, n_threads()),
            engine,
            config,
            draining,
            inquiries: CallerPlaces::new(
                "audits, dry runs and digests",
                INQUIRIES_MAX,
                INQUIRIES_OF_CALLER_MAX,
            ),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            pages: CallerPlaces::new("pages of metrics", PAGES_MAX, PAGES_OF_CALLER_MAX),
            waiters: Waiters::default(),
            calls: Calls::new(),
            refused_predictions: Refusals::new("predict"),
            refused_feedback: Refusals::new("feedback"),
            refused_calls: Refusals::new("call"),
            refused_logins: Refusals::new("login"),
        }
    }

    pub(super) fn access(&self) -> &Access {
        &self.config.access
    }

    /// The caller of a method with these needs, if it may call that at all.
    pub(super) fn admit(
        &self,
        needs: Option<Needs>,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Caller, Refusal> {
        let Some(needs) = needs else {
            let what = "there is no such method";
            let unknown = Refusal::new(Code::Unimplemented, "", what).because("method");
            self.refused_calls.add(&unknown);
            return Err(unknown);
        };
        let admitted = self.access().admit(needs, headers, peer);
        if let Err(refusal) = &admitted {
            self.refused_logins.add(refusal);
            if let Some(log) = &self.config.audit_log {
                let address = peer.address.map(|address| address.ip().to_string());
                log.write(Line::Refused {
                    address: &address.unwrap_or_default(),
                    why: &refusal.message,
                });
            }
        }
        admitted
    }

    /// Rows that others sent were read: the log says by whom.
    pub(super) fn note_read(&self, caller: &Caller, what: &'static str, model: &str) {
        let name = caller.name();
        let actor = name.as_str();
        tracing::info!(actor, model, what, "rows read");
        if let Some(log) = &self.config.audit_log {
            log.write(Line::Read { actor, model, what });
        }
    }

    /// A place for a call of any caller: that of a stranger takes none of those of callers with a credential.
    pub(super) fn hold(
        &self,
        method: Method,
        caller: &Caller,
        peer: &Peer,
    ) -> Result<Arc<Holding>, Refusal> {
        let shares = &peer.shares;
        let (budget, share) = match method.needs() {
            Needs::Nothing if method.gives_a_stream() => (&self.open_watches, &shares.watches),
            Needs::Nothing => (&self.open_requests, &shares.open),
            Needs::Credential | Needs::OneOf(_) => {
                (&self.requests, caller.share().unwrap_or(&shares.calls))
            }
        };
        budget.hold(share, &peer.conduct)
    }

    /// The counts of the budgets' refusals, by the kind of calls and the reason.
    pub(super) fn refused_by_budgets(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let budgets = [
            ("any", &self.requests),
            ("health", &self.open_requests),
            ("health_watch", &self.open_watches),
        ];
        let of = |(flow, budget): (&'static str, &Arc<RequestBudget>)| {
            let refused: Vec<_> = budget.refused().collect();
            refused
                .into_iter()
                .map(move |(reason, n)| (flow, reason.word(), n))
        };
        budgets.into_iter().flat_map(of)
    }

    /// Refuses a prediction before it is read, if no place is left among those that wait.
    pub(super) fn check_queue(&self, method: Method) -> Result<(), Refusal> {
        if !method.is_prediction() {
            return Ok(());
        }
        self.compute_queue.check().inspect_err(|refusal| {
            self.refused_predictions.add(refusal);
        })
    }

    /// The model of that name, if the caller may use it: one that it may not use is answered as one that
    /// is not there. The refusal lists those that it may use if they are few.
    pub(super) fn model(&self, caller: &Caller, name: &str) -> Result<&Arc<ServedModel>, Refusal> {
        let found = if caller.may_use(name) {
            self.engine.model(name)
        } else {
            Err(Error::UnknownModel(name.to_owned()))
        };
        found.map_err(|error| match error {
            Error::UnknownModel(_) => {
                let names: Vec<&str> = self.models(caller).map(|model| model.name()).collect();
                Refusal::new(Code::NotFound, "model", unknown_model(name, &names))
            }
            error => error.into(),
        })
    }

    /// The models that a caller may use.
    pub(super) fn models(&self, caller: &Caller) -> impl Iterator<Item = &Arc<ServedModel>> {
        let models = self.engine.models();
        models.filter(|model| caller.may_use(model.name()))
    }

    /// Runs an audit, a dry run or a digest [`run_blocking`], unless too many are under way.
    pub(super) async fn inquire<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Status> {
        let place = self.inquiries.enter(caller);
        let place = place.inspect_err(|refusal| self.refused_calls.add(refusal))?;
        // It goes on to its end, even where the caller has gone.
        run_blocking(move || {
            let _place = place;
            work()
        })
        .await
    }

    /// Looks at the state of models [`run_blocking`], once there is a place for that.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Status> {
        let place = self.looks.clone().acquire_owned().await;
        // It keeps its place to its end, even where the caller has gone.
        run_blocking(move || {
            let _place = place;
            work()
        })
        .await
    }

    /// True if requests are taken and some model can answer; one broken model does not take the
    /// others out of service.
    pub(super) fn ready(&self) -> bool {
        let mut models = self.engine.models().peekable();
        let empty = models.peek().is_none();
        !*self.draining.borrow() && (empty || models.any(|model| model.snapshot("").is_ok()))
    }
}

/// The number of threads that answer calls.
fn n_threads() -> usize {
    let runtime = Handle::try_current();
    runtime.map_or(1, |runtime| runtime.metrics().num_workers())
}

fn unknown_model(name: &str, names: &[&str]) -> String {
    match names {
        [] => format!("no model \"{name}\": this server has none"),
        names if names.len() <= LISTED_MAX => {
            format!("no model \"{name}\": this server has {}", names.join(", "))
        }
        names => format!(
            "no model \"{name}\" among the {} of this server",
            names.len()
        ),
    }
}

/// Resolves when the server drains.
pub(super) async fn drained(mut draining: watch::Receiver<bool>) {
    // A sender that is gone means that the server is, too.
    let _ = draining.wait_for(|draining| *draining).await;
}

/// Runs work that reads disks or digests on a thread for that, not on those that answer.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Status::internal(format!("the request failed: {error}")))?;
    Ok(done?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_the_refusal_of_an_unknown_model_lists_the_models() {
        let check = |names: &[&str], expected: &str| {
            assert_eq!(unknown_model("x", names), expected);
        };
        check(&[], "no model \"x\": this server has none");
        check(&["a", "b"], "no model \"x\": this server has a, b");
        check(&["m"; 11], "no model \"x\" among the 11 of this server");
    }
}
