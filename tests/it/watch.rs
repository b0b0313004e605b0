//! Told where people are: learning events on a stream, on the command line and at a webhook.
//!
//! Invariant: every wait is for an event, with a bound; the receiver of the webhook is a plain listener of the
//! test.

mod incidents;
mod live;
mod receiver;
mod restart;
mod slow;
mod webhook;

use std::sync::Arc;
use std::time::Instant;

use perennial::engine::{self, Acknowledgement, Engine, PredictOptions, ServedModel};
use perennial::event::{Command, Feedback, Order};
use perennial::proto::perennial::v1::{LearningEvent, WatchRequest};
use perennial::server::{self, Listeners, Webhook};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Streaming;

use crate::support::server::{Client, WAIT_MAX};
use crate::support::{Workspace, label, rows};

/// Rates at which the network learns, and at which each update undoes the last.
const GOOD: f64 = 0.05;
const BAD: f64 = 10.0;

fn described(policy: &str, learning_rate: f64) -> String {
    format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
         [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
         [[input]]\nname = \"c\"\nkind = \"category\"\n\
         [learner]\nkind = \"gradient\"\noptimizer = \"adamw\"\nlearning_rate = {learning_rate}\n\
         [memory]\nstrategy = \"none\"\n\
         [publish]\npolicy = \"{policy}\"\nevery_examples = 100\nscore_every = 1\n"
    )
}

/// A server in this process.
struct Served {
    engine: Arc<Engine>,
    address: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), server::Error>>,
}

impl Served {
    /// Serves a workspace; so many events may wait for the webhook.
    async fn start(workspace: &Workspace, webhook: Option<(Webhook, usize)>) -> Served {
        let (webhook, webhook_queue_max) = webhook.unzip();
        let engine = Engine::open(engine::Config {
            webhook_queue_max,
            ..workspace.config()
        });
        let engine = engine.expect("the engine opens");
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let listeners = Listeners {
            grpc: bind().await,
            http: bind().await,
        };
        let address = listeners.grpc.local_addr().expect("an address").to_string();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let config = server::Config {
            webhook,
            ..Default::default()
        };
        let running = tokio::spawn(server::run(listeners, engine.clone(), config, shutdown));
        Served {
            engine,
            address,
            stop,
            running,
        }
    }

    fn model(&self) -> Arc<ServedModel> {
        self.engine.model("m").expect("it is there").clone()
    }

    async fn client(&self) -> Client {
        Client::connect(&self.address).await
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        let ended = self.running.await.expect("it does not panic");
        ended.expect("it ends well");
        self.engine.close();
    }
}

async fn watch(client: &mut Client, model: &str, from_position: u64) -> Streaming<LearningEvent> {
    let request = WatchRequest {
        model: model.to_owned(),
        from_position,
    };
    let watched = client.registry.watch(request).await;
    watched.expect("it may be watched").into_inner()
}

async fn next(events: &mut Streaming<LearningEvent>) -> LearningEvent {
    let event = tokio::time::timeout(WAIT_MAX, events.message()).await;
    let event = event.expect("an event in time").expect("no error");
    event.expect("the stream goes on")
}

/// The next event of this kind.
async fn next_of(events: &mut Streaming<LearningEvent>, kind: &str) -> LearningEvent {
    loop {
        let event = next(events).await;
        if event.kind == kind {
            return event;
        }
    }
}

async fn give(model: &ServedModel, order: Order, note: &str) -> u64 {
    let command = Command {
        order,
        actor: "ann".to_owned(),
        note: note.to_owned(),
    };
    let done = model.command(command).await;
    done.expect("it is carried out").position
}

/// Freezes and resumes by turns, so many times: an event each.
async fn freeze_and_resume(model: &ServedModel, n: usize, note: &str) {
    for turn in 0..n {
        let order = [Order::Freeze, Order::Resume][turn % 2].clone();
        give(model, order, note).await;
    }
}

/// Teaches rows `from..to` as a source, until `enough`.
async fn teach_until(
    model: &ServedModel,
    (from, to): (usize, usize),
    source: &str,
    enough: impl Fn() -> bool,
) {
    for (index, (batch, truth)) in rows(to, 0.3).enumerate().skip(from) {
        let snapshot = model.snapshot("").expect("it serves");
        let answer = model.predict(&snapshot, batch, PredictOptions::default());
        let id = answer.await.expect("an answer").ids[0];
        let feedback = Feedback {
            source: source.to_owned(),
            ..label(id, &format!("row-{index}"), truth)
        };
        let receipt = model.accept(feedback).expect("there is room");
        match receipt.wait().await.expect("acknowledged") {
            Acknowledgement::Accepted { position } => {
                model.wait_for_position(position).await.expect("learned");
            }
            other => panic!("row {index} came before: {other:?}"),
        }
        if enough() {
            return;
        }
    }
}

fn has_rewound(model: &ServedModel) -> bool {
    let gate = model.status(false).gate.expect("a gate");
    let mut kinds = gate.incidents.iter().map(|one| one.kind.word());
    kinds.any(|kind| kind == "rewound")
}

/// Lets others run until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WAIT_MAX, "{what}");
        tokio::task::yield_now().await;
    }
}
