//! The service of versions and status.
//!
//! Invariant: calls that read disks or compute digests run aside, never on the threads that answer.

use std::sync::Arc;

use tonic::{Code, Request, Response, Status};

use super::access::{Caller, Scope};
use super::context::ServerContext;
use super::logged_order::LoggedOrder;
use super::watch::{LearningEvents, watch};
use super::wire::{self, Refusal};
use crate::engine::{
    Disposal, Error, NewVersion, RetractionRequest, RetrainingRequest, ServedModel,
};
use crate::event::{Command, Order, Selector};
use crate::model::OrderedLimits;
use crate::proto::perennial::v1::registry_server;
use crate::proto::perennial::v1::*;

/// Bytes of an operator's note.
const NOTE_BYTES_MAX: usize = 1024;
/// Learning events of a model that its status shows.
const NEWEST_EVENTS_MAX: usize = 8;

pub(super) struct RegistryService(pub Arc<ServerContext>);

#[tonic::async_trait]
impl registry_server::Registry for RegistryService {
    type WatchStream = LearningEvents;

    async fn list_versions(
        &self,
        request: Request<ListVersionsRequest>,
    ) -> Result<Response<ListVersionsResponse>, Status> {
        let caller = Caller::of(&request);
        let model = self.0.model(&caller, &request.into_inner().model)?.clone();
        let versions = self.0.look(move || versions(&model)).await?;
        Ok(Response::new(ListVersionsResponse { versions }))
    }

    async fn get_version(
        &self,
        request: Request<GetVersionRequest>,
    ) -> Result<Response<Version>, Status> {
        let caller = Caller::of(&request);
        let GetVersionRequest { model, version } = request.into_inner();
        let model = self.0.model(&caller, &model)?.clone();
        let found = self.0.look(move || {
            let mut versions = versions(&model)?;
            match versions.iter().position(|known| known.version == version) {
                Some(index) => Ok(versions.swap_remove(index)),
                None => {
                    let known: Vec<u64> = versions.iter().map(|known| known.version).collect();
                    let newest = model.snapshot("")?.version;
                    Err(Error::no_version(model.name(), version, &known, newest).into())
                }
            }
        });
        Ok(Response::new(found.await?))
    }

    async fn checkpoint(
        &self,
        request: Request<CheckpointRequest>,
    ) -> Result<Response<VersionMade>, Status> {
        let caller = Caller::of(&request);
        let CheckpointRequest { model, note } = request.into_inner();
        let order = Command {
            order: Order::Checkpoint,
            actor: caller.name(),
            note,
        };
        self.carry_out("checkpoint", &caller, &model, order).await
    }

    async fn restore(
        &self,
        request: Request<RestoreRequest>,
    ) -> Result<Response<VersionMade>, Status> {
        let caller = Caller::of(&request);
        let RestoreRequest {
            model,
            version,
            note,
            dry_run,
        } = request.into_inner();
        if !dry_run {
            let order = Command {
                order: Order::Restore { version },
                actor: caller.name(),
                note,
            };
            return self.carry_out("restore", &caller, &model, order).await;
        }
        check_note(&note)?;
        let model = self.0.model(&caller, &model)?.clone();
        let checked = move || Ok(model.check_restore(version)?);
        let manifest = self.0.inquire(&caller, checked).await?;
        Ok(Response::new(VersionMade {
            version: manifest.version,
            position: manifest.position,
        }))
    }

    async fn retract(
        &self,
        request: Request<RetractRequest>,
    ) -> Result<Response<Certificate>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        check_retracts(&caller, &request)?;
        if request.dry_run {
            let model = self.0.model(&caller, &request.model)?.clone();
            let selector = wire::selector(&request)?;
            check_note(&request.note)?;
            let planned = self.0.inquire(&caller, move || {
                let plan = model.plan_retraction(&selector)?;
                Ok(Certificate {
                    clock: clock(&model, &selector)?,
                    ..wire::plan(model.name(), &selector, plan)
                })
            });
            return Ok(Response::new(planned.await?));
        }
        let logged = LoggedOrder::new(&self.0, "retract", &request.model, &caller.name());
        let done = self.retracted(&caller, request).await;
        let made = |done: &Certificate| (done.version, done.position);
        logged.end(done.as_ref().map(made));
        Ok(Response::new(done?))
    }

    async fn promote(
        &self,
        request: Request<PromoteRequest>,
    ) -> Result<Response<VersionMade>, Status> {
        let caller = Caller::of(&request);
        let PromoteRequest {
            model,
            version,
            note,
        } = request.into_inner();
        let logged = LoggedOrder::new(&self.0, "promote", &model, &caller.name());
        let version = (version > 0).then_some(version);
        let made = self.promoted(&caller, &model, version, note).await;
        logged.end(made.as_ref().map(|made| (made.version, made.position)));
        let NewVersion { version, position } = made?;
        Ok(Response::new(VersionMade { version, position }))
    }

    async fn retrain(
        &self,
        request: Request<RetrainRequest>,
    ) -> Result<Response<Retrained>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let logged = LoggedOrder::new(&self.0, "retrain", &request.model, &caller.name());
        let done = self.retrained(&caller, request).await;
        logged.end(done.as_ref().map(|done| (done.version, done.position)));
        Ok(Response::new(done?))
    }

    async fn freeze(&self, request: Request<FreezeRequest>) -> Result<Response<OrderDone>, Status> {
        let caller = Caller::of(&request);
        let FreezeRequest { model, note } = request.into_inner();
        let order = Command {
            order: Order::Freeze,
            actor: caller.name(),
            note,
        };
        self.done("freeze", &caller, &model, order).await
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<OrderDone>, Status> {
        let caller = Caller::of(&request);
        let ResumeRequest { model, note } = request.into_inner();
        let order = Command {
            order: Order::Resume,
            actor: caller.name(),
            note,
        };
        self.done("resume", &caller, &model, order).await
    }

    async fn set_alias(
        &self,
        request: Request<SetAliasRequest>,
    ) -> Result<Response<OrderDone>, Status> {
        let caller = Caller::of(&request);
        let SetAliasRequest {
            model,
            alias,
            version,
            note,
        } = request.into_inner();
        let order = if version == 0 {
            Order::RemoveAlias { alias }
        } else {
            Order::SetAlias { alias, version }
        };
        let actor = caller.name();
        let command = Command { order, actor, note };
        self.done("alias", &caller, &model, command).await
    }

    async fn list_incidents(
        &self,
        request: Request<ListIncidentsRequest>,
    ) -> Result<Response<ListIncidentsResponse>, Status> {
        let caller = Caller::of(&request);
        let name = request.into_inner().model;
        let model = self.0.model(&caller, &name)?.clone();
        let gate = self.0.look(move || Ok(model.status(false).gate)).await?;
        let incidents = gate.into_iter().flat_map(|gate| gate.incidents);
        Ok(Response::new(ListIncidentsResponse {
            incidents: incidents.map(|one| wire::incident(&name, one)).collect(),
        }))
    }

    async fn update_incident(
        &self,
        request: Request<UpdateIncidentRequest>,
    ) -> Result<Response<OrderDone>, Status> {
        let caller = Caller::of(&request);
        let UpdateIncidentRequest {
            model,
            incident,
            state,
            note,
        } = request.into_inner();
        let (name, order) = match state.as_str() {
            "acknowledged" => ("acknowledge", Order::Acknowledge { incident }),
            "closed" => ("close", Order::Close { incident }),
            other => {
                let what = format!("state: \"{other:.64}\", expected acknowledged or closed");
                return Err(Refusal::invalid("state", what).into());
            }
        };
        let actor = caller.name();
        let command = Command { order, actor, note };
        self.done(name, &caller, &model, command).await
    }

    async fn list_quarantine(
        &self,
        request: Request<ListQuarantineRequest>,
    ) -> Result<Response<ListQuarantineResponse>, Status> {
        let caller = Caller::of(&request);
        let model = self.0.model(&caller, &request.into_inner().model)?.clone();
        self.0.note_read(&caller, "quarantine", model.name());
        let found = self
            .0
            .inquire(&caller, move || Ok(model.quarantined()?))
            .await?;
        Ok(Response::new(ListQuarantineResponse {
            feedback: found.into_iter().map(wire::quarantined).collect(),
        }))
    }

    async fn release(
        &self,
        request: Request<ReviewRequest>,
    ) -> Result<Response<OrderDone>, Status> {
        self.reviewed("release", request, Order::Release).await
    }

    async fn discard(
        &self,
        request: Request<ReviewRequest>,
    ) -> Result<Response<OrderDone>, Status> {
        self.reviewed("discard", request, Order::Discard).await
    }

    async fn audit(
        &self,
        request: Request<AuditRequest>,
    ) -> Result<Response<AuditResponse>, Status> {
        let caller = Caller::of(&request);
        let AuditRequest {
            prediction_id,
            without,
        } = request.into_inner();
        let id = prediction_id.parse().map_err(|_| {
            let what =
                format!("prediction_id: \"{prediction_id:.64}\", expected a hyphenated UUID");
            Refusal::invalid("prediction_id", what)
        })?;
        let (context, asker) = (self.0.clone(), caller.clone());
        let found = self.0.inquire(&asker, move || {
            match context.engine.audit(id, without.as_deref())? {
                Some(found) if caller.may_use(&found.model) => {
                    context.note_read(&caller, "prediction", &found.model);
                    let mut found = wire::audit(found);
                    for reason in [&mut found.reason, &mut found.without_reason] {
                        *reason = wire::without_folders(reason);
                    }
                    Ok(found)
                }
                _ => {
                    let what = format!("no journal here holds prediction {id}");
                    Err(Refusal::new(Code::NotFound, "prediction_id", what))
                }
            }
        });
        Ok(Response::new(found.await?))
    }

    async fn fate(&self, request: Request<FateRequest>) -> Result<Response<FateResponse>, Status> {
        let caller = Caller::of(&request);
        let FateRequest { model, feedback_id } = request.into_inner();
        let served = self.0.model(&caller, &model)?.clone();
        let (context, asker) = (self.0.clone(), caller.clone());
        let found = self.0.inquire(&asker, move || match served.fate(&feedback_id)? {
            Some(found) if may_read(&caller, &found.feedback.source) => {
                context.note_read(&caller, "feedback", served.name());
                Ok(wire::fate(found))
            }
            _ => {
                let what = format!(
                    "the journal of {model:?} holds no feedback {feedback_id:.128?}; it was never \
                     accepted, or is no longer retained, or was erased"
                );
                Err(Refusal::new(Code::NotFound, "feedback_id", what))
            }
        });
        Ok(Response::new(found.await?))
    }

    async fn set_limits(
        &self,
        request: Request<SetLimitsRequest>,
    ) -> Result<Response<Limits>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let changes = OrderedLimits {
            bytes_max: request.bytes_max,
            retract_within: request.retract_within,
        };
        let model = self.0.model(&caller, &request.model);
        if request.dry_run || changes == OrderedLimits::default() {
            let model = model?.clone();
            let name = model.name().to_owned();
            let limits = self.0.look(move || Ok(model.limits(&changes)?)).await?;
            return Ok(Response::new(wire::limits(&name, limits)));
        }
        let logged = LoggedOrder::new(&self.0, "limits", &request.model, &caller.name());
        let changed = async {
            let model = model?;
            let limits = model.change_limits(&changes).await?;
            Ok::<_, Refusal>((model.snapshot("")?.version, limits))
        };
        let changed = changed.await;
        let made = changed.as_ref();
        logged.end(made.map(|(version, limits)| (*version, limits.position)));
        Ok(Response::new(wire::limits(&request.model, changed?.1)))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let caller = Caller::of(&request);
        let StatusRequest { model, digest } = request.into_inner();
        let models: Vec<Arc<ServedModel>> = match model.as_str() {
            "" => self.0.models(&caller).cloned().collect(),
            name => vec![self.0.model(&caller, name)?.clone()],
        };
        let engine = self.0.engine.clone();
        let (webhook, watches) = (engine.deliveries(), engine.published().watches);
        let webhook = webhook.map(|deliveries| wire::webhook_status(deliveries.counts()));
        let statuses = move || {
            let status = |model: &Arc<ServedModel>| {
                let newest = engine.newest_events(model.name(), NEWEST_EVENTS_MAX);
                ModelStatus {
                    newest_events: newest.iter().map(|one| wire::learning_event(one)).collect(),
                    ..wire::model_status(model.status(digest))
                }
            };
            Ok(models.iter().map(status).collect())
        };
        let models = if digest {
            self.0.inquire(&caller, statuses).await?
        } else {
            self.0.look(statuses).await?
        };
        Ok(Response::new(StatusResponse {
            models,
            webhook,
            watches: watches as u64,
        }))
    }

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<LearningEvents>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(watch(&self.0, &caller, request.get_ref())?))
    }
}

impl RegistryService {
    /// Has an order carried out, and logs its outcome.
    async fn carry_out(
        &self,
        name: &'static str,
        caller: &Caller,
        model: &str,
        command: Command,
    ) -> Result<Response<VersionMade>, Status> {
        let logged = LoggedOrder::new(&self.0, name, model, &command.actor);
        let made = self.commanded(caller, model, command).await;
        logged.end(made.as_ref().map(|made| (made.version, made.position)));
        let NewVersion { version, position } = made?;
        Ok(Response::new(VersionMade { version, position }))
    }

    /// Carries out an order that makes no version.
    async fn done(
        &self,
        name: &'static str,
        caller: &Caller,
        model: &str,
        command: Command,
    ) -> Result<Response<OrderDone>, Status> {
        let made = self
            .carry_out(name, caller, model, command)
            .await?
            .into_inner();
        Ok(Response::new(OrderDone {
            position: made.position,
        }))
    }

    /// Carries out an order about quarantined feedback, which is journaled without names.
    async fn reviewed(
        &self,
        name: &'static str,
        request: Request<ReviewRequest>,
        order: fn(Selector) -> Order,
    ) -> Result<Response<OrderDone>, Status> {
        let caller = Caller::of(&request);
        let ReviewRequest {
            model,
            source,
            feedback_id,
            since,
            until,
            note,
        } = request.into_inner();
        let selector = wire::selector(&RetractRequest {
            source,
            feedback_id,
            since,
            until,
            ..Default::default()
        })?;
        let command = Command {
            order: order(selector.hashed()),
            actor: caller.name(),
            note,
        };
        self.done(name, &caller, &model, command).await
    }

    async fn promoted(
        &self,
        caller: &Caller,
        model: &str,
        version: Option<u64>,
        note: String,
    ) -> Result<NewVersion, Refusal> {
        let model = self.0.model(caller, model)?;
        check_note(&note)?;
        let by = (caller.name(), note);
        Ok(model.promote(version, by).await?)
    }

    async fn retrained(
        &self,
        caller: &Caller,
        request: RetrainRequest,
    ) -> Result<Retrained, Refusal> {
        let model = self.0.model(caller, &request.model)?;
        check_note(&request.note)?;
        let RetrainRequest {
            newest,
            force,
            note,
            ..
        } = request;
        let retrain = RetrainingRequest {
            newest,
            force,
            actor: caller.name(),
            note,
        };
        Ok(wire::retrained(model.retrain(retrain).await?))
    }

    async fn commanded(
        &self,
        caller: &Caller,
        model: &str,
        command: Command,
    ) -> Result<NewVersion, Refusal> {
        let model = self.0.model(caller, model)?;
        check_note(&command.note)?;
        Ok(model.command(command).await?)
    }

    async fn retracted(
        &self,
        caller: &Caller,
        request: RetractRequest,
    ) -> Result<Certificate, Refusal> {
        let model = self.0.model(caller, &request.model)?;
        let selector = wire::selector(&request)?;
        check_note(&request.note)?;
        let disposal = if request.erase {
            Disposal::Erase
        } else {
            Disposal::Keep
        };
        let order = RetractionRequest {
            selector: selector.clone(),
            actor: caller.name(),
            note: request.note,
            disposal,
        };
        let done = model.retract(order).await?;
        Ok(Certificate {
            clock: clock(model, &selector)?,
            ..wire::certificate(model.name(), &selector, done)
        })
    }
}

/// A sender of feedback retracts its own; any other retraction takes an operator.
fn check_retracts(caller: &Caller, request: &RetractRequest) -> Result<(), Refusal> {
    if caller.has(Scope::Operate) {
        return Ok(());
    }
    let is_own = caller.source().is_some() && request.source.as_deref() == caller.source();
    if is_own && !request.erase {
        return Ok(());
    }
    let what = "this takes the scope operate; a credential of feedback retracts the source that it is bound \
                to, and erases nothing";
    Err(Refusal::new(Code::PermissionDenied, "source", what))
}

/// True if a caller may read feedback of a source: its own, or whichever with the scope for it.
fn may_read(caller: &Caller, source: &str) -> bool {
    caller.has(Scope::Read) || caller.source().is_none_or(|own| own == source)
}

/// The clock by which events are chosen, where they are chosen by time.
fn clock(model: &ServedModel, selector: &Selector) -> Result<String, Refusal> {
    match selector {
        Selector::Accepted { .. } => Ok(model.clock_note()?),
        _ => Ok(String::new()),
    }
}

fn check_note(note: &str) -> Result<(), Refusal> {
    match note.len() {
        0..=NOTE_BYTES_MAX => Ok(()),
        got => {
            let what = format!("note: {got} bytes, expected at most {NOTE_BYTES_MAX}");
            Err(Refusal::invalid("note", what))
        }
    }
}

/// The versions, in the order of their numbers.
fn versions(model: &ServedModel) -> Result<Vec<Version>, Refusal> {
    let snapshot = model.snapshot("").ok();
    let aliases = snapshot.as_ref().map(|one| one.aliases.clone());
    let (served, aliases) = (snapshot.map(|one| one.version), aliases.unwrap_or_default());
    let versions = model.versions()?.into_iter();
    let mut versions: Vec<Version> = versions
        .map(|(manifest, damage)| wire::version(manifest, damage, served, &aliases))
        .collect();
    versions.sort_by_key(|version| version.version);
    Ok(versions)
}
