//! The service of versions and status.
//!
//! Invariant: what reads disks or digests runs aside, never on the threads that answer.

use std::sync::Arc;

use tonic::{Code, Request, Response, Status};

use super::door::{Door, aside};
use super::wire::{self, Refusal};
use crate::engine::{Disposal, Error, Hosted, Retract};
use crate::event::{Command, Order};
use crate::proto::perennial::v1::registry_server;
use crate::proto::perennial::v1::*;

/// Bytes of an operator's note.
const NOTE_BYTES_MAX: usize = 1024;

pub(super) struct Registry(pub Arc<Door>);

#[tonic::async_trait]
impl registry_server::Registry for Registry {
    async fn list_versions(
        &self,
        request: Request<ListVersionsRequest>,
    ) -> Result<Response<ListVersionsResponse>, Status> {
        let model = self.0.model(&request.into_inner().model)?.clone();
        let versions = aside(move || versions(&model)).await?;
        Ok(Response::new(ListVersionsResponse { versions }))
    }

    async fn get_version(
        &self,
        request: Request<GetVersionRequest>,
    ) -> Result<Response<Version>, Status> {
        let GetVersionRequest { model, version } = request.into_inner();
        let model = self.0.model(&model)?.clone();
        let found = aside(move || {
            let mut versions = versions(&model)?;
            match versions.iter().position(|known| known.version == version) {
                Some(index) => Ok(versions.swap_remove(index)),
                None => {
                    let known: Vec<u64> = versions.iter().map(|known| known.version).collect();
                    Err(Error::no_version(model.name(), version, &known).into())
                }
            }
        });
        Ok(Response::new(found.await?))
    }

    async fn checkpoint(
        &self,
        request: Request<CheckpointRequest>,
    ) -> Result<Response<VersionMade>, Status> {
        let CheckpointRequest { model, note } = request.into_inner();
        let model = self.0.model(&model)?;
        command(model, Order::Checkpoint, note).await
    }

    async fn restore(
        &self,
        request: Request<RestoreRequest>,
    ) -> Result<Response<VersionMade>, Status> {
        let RestoreRequest {
            model,
            version,
            note,
            dry_run,
        } = request.into_inner();
        let model = self.0.model(&model)?;
        if !dry_run {
            return command(model, Order::Restore { version }, note).await;
        }
        check_note(&note)?;
        let model = model.clone();
        let checked = move || Ok(model.check_restore(version)?);
        let manifest = self.0.inquire(checked).await?;
        Ok(Response::new(VersionMade {
            version: manifest.version,
            position: manifest.position,
        }))
    }

    async fn retract(
        &self,
        request: Request<RetractRequest>,
    ) -> Result<Response<Certificate>, Status> {
        let request = request.into_inner();
        let model = self.0.model(&request.model)?.clone();
        let selector = wire::selector(&request)?;
        check_note(&request.note)?;
        if request.dry_run {
            let planned = self.0.inquire(move || {
                let plan = model.plan_retraction(&selector)?;
                Ok(wire::plan(model.name(), &selector, plan))
            });
            return Ok(Response::new(planned.await?));
        }
        let disposal = match request.erase {
            true => Disposal::Erase,
            false => Disposal::Keep,
        };
        let done = model.retract(Retract {
            selector: selector.clone(),
            actor: String::new(),
            note: request.note,
            disposal,
        });
        let done = done.await.map_err(Refusal::from)?;
        Ok(Response::new(wire::certificate(
            model.name(),
            &selector,
            done,
        )))
    }

    async fn audit(
        &self,
        request: Request<AuditRequest>,
    ) -> Result<Response<AuditResponse>, Status> {
        let AuditRequest {
            prediction_id,
            without,
        } = request.into_inner();
        let id = prediction_id.parse().map_err(|_| {
            let what =
                format!("prediction_id: \"{prediction_id:.64}\", expected a hyphenated UUID");
            Refusal::invalid("prediction_id", what)
        })?;
        let engine = self.0.engine.clone();
        let found = self
            .0
            .inquire(move || match engine.audit(id, without.as_deref())? {
                Some(found) => Ok(wire::audit(found)),
                None => {
                    let what = format!("no journal here holds prediction {id}");
                    Err(Refusal::new(Code::NotFound, "prediction_id", what))
                }
            });
        Ok(Response::new(found.await?))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let StatusRequest { model, digest } = request.into_inner();
        let models: Vec<Arc<Hosted>> = match model.as_str() {
            "" => self.0.engine.models().cloned().collect(),
            name => vec![self.0.model(name)?.clone()],
        };
        let statuses = move || {
            let status = |model: &Arc<Hosted>| wire::model_status(model.status(digest));
            Ok(models.iter().map(status).collect())
        };
        let models = match digest {
            true => self.0.inquire(statuses).await?,
            false => aside(statuses).await?,
        };
        Ok(Response::new(StatusResponse { models }))
    }
}

async fn command(
    model: &Hosted,
    order: Order,
    note: String,
) -> Result<Response<VersionMade>, Status> {
    check_note(&note)?;
    let command = Command {
        order,
        // Nobody is authenticated yet.
        actor: String::new(),
        note,
    };
    let made = model.command(command).await.map_err(Refusal::from)?;
    Ok(Response::new(VersionMade {
        version: made.version,
        position: made.position,
    }))
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

/// In the order of their numbers.
fn versions(model: &Hosted) -> Result<Vec<Version>, Refusal> {
    let served = model.snapshot("").ok().map(|snapshot| snapshot.version);
    let versions = model.versions()?.into_iter();
    let mut versions: Vec<Version> = versions
        .map(|(manifest, damage)| wire::version(manifest, damage, served))
        .collect();
    versions.sort_by_key(|version| version.version);
    Ok(versions)
}
