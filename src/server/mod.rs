//! The wire: the Open Inference Protocol, feedback and versions over gRPC, metrics over HTTP.
//!
//! Promise: a message that passes `wire` is valid, any other is refused with one sentence, and
//! nothing here waits without a bound. [`run`] owns no state of a model; the engine does.
//!
//! In reading order: [`run`], `inference_service` (predict), `learning_service` (feedback),
//! `registry_service` (versions), `watch` (learning events), `webhook` and `webhook_delivery` (the same,
//! posted), `http` (metrics), `grpc` and
//! `call_tasks` (connections and calls over gRPC), `wire` (messages to values and back), `context` (state that
//! services share).
//!
//! ```
//! use perennial::{engine::{self, Engine}, server::{self, Listeners}};
//! use tokio::net::TcpListener;
//!
//! # let folder = tempfile::tempdir()?;
//! # let (models, data) = (folder.path().join("models"), folder.path().join("data"));
//! # std::fs::create_dir(&models)?;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let engine = Engine::open(engine::Config { models, data, ..Default::default() })?;
//! let (grpc, http) = ("127.0.0.1:0", "127.0.0.1:0");
//! let listeners = Listeners {
//!     grpc: TcpListener::bind(grpc).await?,
//!     http: TcpListener::bind(http).await?,
//! };
//! println!("serving on {}", listeners.grpc.local_addr()?);
//! let shutdown = async {}; // here at once; a program waits for its signal
//! server::run(listeners, engine.clone(), server::Config::default(), shutdown).await?;
//! engine.close();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accept;
mod access;
mod answers;
mod audit_log;
mod bodies;
mod bounds;
mod budget;
mod call_tasks;
mod caller_places;
mod calls;
mod compute_queue;
mod conduct;
mod connection_counts;
mod connection_number;
mod connections;
mod context;
mod deadline;
mod exposition;
mod grpc;
mod guard;
mod http;
mod inference_service;
mod learning_service;
mod log_rate;
mod logged_order;
mod prediction_call;
mod refusals;
mod registry_service;
mod services;
mod stream_pace;
mod unreadable;
mod waiters;
mod watch;
mod webhook;
mod webhook_delivery;
mod wire;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::watch as watch_channel;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use self::accept::Listener;
use self::access::Protocol;
pub use self::access::{
    Access, AccessError, AccessFiles, CredentialsError, NewToken, Scope, TokenRights,
    check_credentials, new_token,
};
pub use self::audit_log::AuditLog;
pub use self::bounds::Config;
use self::connections::Connections;
use self::context::ServerContext;
use self::services::Services;
pub use self::webhook::{Webhook, WebhookConfig, WebhookError};
pub(crate) use self::wire::fuzz_messages;
pub use self::wire::{
    RefusedRow, audit as audit_message, check_row, fate as fate_message, version as version_message,
};
use crate::engine::Engine;
use crate::proto::inference::grpc_inference_service_server as inference;
use crate::proto::perennial::v1::{learning_server, registry_server};

/// The longest time for requests in flight once the server drains.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The services of the health service; the empty name is the server as a whole.
const SERVICES: [&str; 4] = [
    "",
    inference::SERVICE_NAME,
    learning_server::SERVICE_NAME,
    registry_server::SERVICE_NAME,
];

/// The listeners of the server: bound by the caller, who can so read the port that 0 has become.
#[derive(Debug)]
pub struct Listeners {
    /// Predictions, feedback, versions, health and reflection.
    pub grpc: TcpListener,
    /// Metrics and health.
    pub http: TcpListener,
}

/// The server cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system has no address for a listener.
    #[error("listener: {0}")]
    Listener(#[from] io::Error),
    /// Strangers could reach a listener, and no credentials are configured.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Serves until `shutdown`, then drains: health is NOT_SERVING, no connection is accepted, and
/// requests in flight have ten seconds to finish. The engine stays open.
///
/// # Errors
/// [`Error::Access`] where strangers could reach a listener without a credential. The others when a
/// listener fails; the caller closes the engine and ends.
pub async fn run(
    listeners: Listeners,
    engine: Arc<Engine>,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    for listener in [&listeners.grpc, &listeners.http] {
        config.access.check_address(listener.local_addr()?)?;
    }
    let (drain, draining) = watch_channel::channel(false);
    let context = Arc::new(ServerContext::new(engine, config, draining.clone()));
    let (health, health_service) = health_reporter();
    set_health(&health, ServingStatus::Serving).await;
    let watching = tokio::spawn(watch_feedback(
        context.engine.feedback_stopped(),
        health.clone(),
    ));

    let mut posting = post_events(&context);
    let services = Services::new(&context, health_service);
    let socket = context.config.socket.clone().map(Listener::Local);
    let grpc = [Some(Listener::Tcp(listeners.grpc)), socket];
    let grpc = grpc.into_iter().flatten().map(|listener| {
        let connections = Connections::new(listener, &context, Protocol::Grpc);
        let drained = context::drained(draining.clone());
        grpc::serve(connections, context.clone(), services.clone(), drained)
    });
    let grpc = join_all(grpc.collect::<Vec<_>>());
    let http = Listener::Tcp(listeners.http);
    let http = Connections::new(http, &context, Protocol::Http);
    let http = http::serve(http, context, context::drained(draining));
    let serving = async { tokio::join!(grpc, http) };
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => return Ok(()),
        () = shutdown => {}
    }
    watching.abort();
    set_health(&health, ServingStatus::NotServing).await;
    drain.send_replace(true);
    end_watches(health).await;
    let ending = async {
        serving.await;
        posting.join_next().await;
    };
    if timeout(DRAIN_MAX, ending).await.is_err() {
        tracing::warn!(
            seconds = DRAIN_MAX.as_secs(),
            "requests cut off by the drain"
        );
    }
    Ok(())
}

/// The task that posts learning events to the webhook, if there is one; dropped, it ends.
fn post_events(context: &ServerContext) -> JoinSet<()> {
    let mut posting = JoinSet::new();
    let (webhook, deliveries) = (&context.config.webhook, context.engine.deliveries());
    if let (Some(webhook), Some(deliveries)) = (webhook.clone(), deliveries.cloned()) {
        let draining = context.draining.clone();
        posting.spawn(webhook_delivery::run(webhook, deliveries, draining));
    }
    posting
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}

/// A model whose feedback has stopped takes the service out of health; predictions stay in.
async fn watch_feedback(mut stopped: watch_channel::Receiver<bool>, health: HealthReporter) {
    if stopped.wait_for(|stopped| *stopped).await.is_ok() {
        let service = learning_server::SERVICE_NAME;
        health
            .set_service_status(service, ServingStatus::NotServing)
            .await;
    }
}

/// Watches see NOT_SERVING and end; left open, they would hold the drain to its bound.
async fn end_watches(mut health: HealthReporter) {
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
}
