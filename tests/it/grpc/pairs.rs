//! Two things that happen at once: predictions that wait, while their connection or the server is to end.

use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;

use perennial::proto::perennial::v1::{CheckpointRequest, VersionMade};
use perennial::server;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tonic::{Code, Response, Status};

use crate::grpc::frames_client::FramesClient;
use crate::grpc::holding;
use crate::grpc::overload::{ask_the_learner, row};
use crate::grpc::served::{Client, PredictReply, Served, question, unjournaled, within};
use crate::support::AUTO;

/// A server whose learner saves a checkpoint until it is released, with predictions that wait for that.
struct Held {
    served: Served,
    release: mpsc::Sender<()>,
    checkpoint: JoinHandle<Result<Response<VersionMade>, Status>>,
    waiting: JoinSet<Result<PredictReply, Status>>,
}

impl Held {
    async fn start(config: server::Config, n_waiting: usize) -> Held {
        let (disk, holds, release) = holding();
        let served = Served::start_bounded(&[("m", AUTO)], disk, config).await;
        holds.store(true, Relaxed);
        let mut registry = served.client.registry.clone();
        let request = CheckpointRequest {
            model: "m".to_owned(),
            note: String::new(),
        };
        let checkpoint = tokio::spawn(async move { within(registry.checkpoint(request)).await });
        while holds.load(Relaxed) {
            tokio::task::yield_now().await;
        }
        let mut waiting = JoinSet::new();
        for _ in 0..n_waiting {
            waiting.spawn(ask_the_learner(Client::connect(served.grpc).await));
        }
        let mut held = Held {
            served,
            release,
            checkpoint,
            waiting,
        };
        held.fill().await;
        held
    }

    /// Asks for more, until the queue is full of those that wait.
    async fn fill(&mut self) {
        let mut refused = 0;
        while refused < 3 {
            let asked = self.served.client.ask(unjournaled(question("m", &row())));
            match asked.await {
                Ok(_) => refused = 0,
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                    refused += 1;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_connection_that_grows_old_answers_what_waits_on_it() {
    let config = server::Config {
        predictions_max: 2,
        connection_age_max: Some(Duration::from_millis(500)),
        connection_age_grace: Duration::from_secs(3600),
        ..server::Config::default()
    };
    let held = Held::start(config, 2).await;
    // One that is younger than those is asked to end.
    let server = held.served.grpc;
    let younger = spawn_blocking(move || FramesClient::open(server, vec![]).wait_for_goaway());
    within(younger).await.expect("it is asked to end");
    drop(held.release);
    for answer in held.waiting.join_all().await {
        answer.expect("an answer");
    }
    held.checkpoint
        .await
        .expect("no panic")
        .expect("it is made");
    held.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_drain_answers_a_full_queue() {
    let config = server::Config {
        predictions_max: 2,
        ..server::Config::default()
    };
    let held = Held::start(config, 2).await;
    let server = held.served.grpc;
    let stopping = tokio::spawn(held.served.stop());
    // It takes no connection any more.
    while TcpStream::connect(server).is_ok() {
        tokio::task::yield_now().await;
    }
    drop(held.release);
    for answer in held.waiting.join_all().await {
        answer.expect("an answer");
    }
    held.checkpoint
        .await
        .expect("no panic")
        .expect("it is made");
    stopping.await.expect("a clean end");
}
