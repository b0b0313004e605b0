//! Rewards of a bandit's answers over the wire: signals, silence, and late rewards.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use perennial::engine::{Clock, ClockReading, Offline as Data};
use perennial::event::{Batch, Column};
use perennial::model::Spec;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::proto::perennial::v1::{FeedbackRequest, ModelStatus, Signal};
use tonic::Code;

use crate::grpc::served::{Client, Served, label, question};
use crate::support::rows;

const SECOND: i64 = 1_000_000;
const BANDIT: &str = "task = \"bandit\"\nactions = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n\
    [feedback]\nwindow_s = 60\ndefault_reward = -1.0\naggregate = \"sum\"\n\
    [feedback.signals]\nclick = { reward = 1.0 }\ndwell_seconds = { scale = 60.0, max = 1.0 }\n\
    thumbs_up = { reward = 2.0 }\nthumbs_down = { reward = -2.0 }\n";

/// A bandit on a server whose clock the test sets.
struct BanditServer {
    served: Served,
    now: Arc<AtomicI64>,
    n_submitted: usize,
}

impl BanditServer {
    async fn open(toml: &str) -> BanditServer {
        let now = Arc::new(AtomicI64::new(1_700_000_000 * SECOND));
        let reading = now.clone();
        let clock = Clock::simulated(move || ClockReading::agreed(reading.load(Relaxed)));
        BanditServer {
            served: Served::start_by(&[("m", toml)], clock).await,
            now,
            n_submitted: 0,
        }
    }

    fn client(&mut self) -> &mut Client {
        &mut self.served.client
    }

    /// Asks so many times, and keeps the ids.
    async fn ask(&mut self, n: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for (batch, _) in rows(n, 0.3) {
            let reply = self.client().ask(question("m", &batch)).await;
            ids.extend(reply.expect("an answer").ids);
        }
        ids
    }

    fn event(&mut self, id: &str) -> FeedbackRequest {
        self.n_submitted += 1;
        FeedbackRequest {
            label: None,
            ..label("m", id, &format!("said-{}", self.n_submitted), "")
        }
    }

    /// Says something of an answer, and waits until it is learned.
    async fn submit(&mut self, event: FeedbackRequest) -> ModelStatus {
        let reply = self.client().submit(event).await.expect("it is taken");
        assert_eq!(reply.status(), Fate::Accepted);
        self.client().reach("m", reply.position).await;
        self.client().status("m").await
    }

    async fn signal(&mut self, id: &str, name: &str, value: f64) -> ModelStatus {
        let signal = Signal {
            name: name.to_owned(),
            value,
        };
        let mut event = self.event(id);
        event.signal = Some(signal);
        self.submit(event).await
    }

    async fn reward(&mut self, id: &str, reward: f64) -> ModelStatus {
        let mut event = self.event(id);
        event.reward = Some(reward);
        self.submit(event).await
    }

    async fn prefer(&mut self, id: &str, over: &str) -> ModelStatus {
        let mut event = self.event(id);
        event.preferred_over = Some(over.to_owned());
        self.submit(event).await
    }

    /// Stops the server; the rewards as they are read from its journal.
    async fn close(self, toml: &str) -> Vec<f64> {
        let workspace = self.served.stop().await;
        let data = Data::open(&workspace.data(), "m").expect("it is there");
        let asked = Spec::parse(toml).expect("a description");
        let decisions = data.decisions(&asked).expect("a journal");
        decisions.map(|one| one.expect("sound").reward).collect()
    }
}

/// How many answers were judged, and the sum of their rewards.
fn earned(status: &ModelStatus) -> (u64, f64) {
    let sum = status.score.unwrap_or(0.0) * status.judged as f64;
    (status.judged, (sum * 1e6).round() / 1e6)
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_silence_and_late_rewards_are_what_the_description_says() {
    let mut server = BanditServer::open(BANDIT).await;
    let ids = server.ask(6).await;
    assert_eq!(
        earned(&server.signal(&ids[0], "click", 1.0).await),
        (1, 1.0)
    );
    let status = server.signal(&ids[0], "dwell_seconds", 30.0).await;
    assert_eq!(earned(&status), (1, 1.5));
    let status = server.signal(&ids[1], "thumbs_down", 1.0).await;
    assert_eq!(earned(&status), (2, -0.5));
    let status = server.prefer(&ids[2], &ids[3]).await;
    assert_eq!(earned(&status), (4, 0.5));
    // Two are silent. Their windows are still open at their last moment.
    server.now.fetch_add(60 * SECOND, Relaxed);
    let status = server.signal(&ids[0], "thumbs_up", 1.0).await;
    assert_eq!(earned(&status), (4, 2.5));
    server.now.fetch_add(SECOND, Relaxed);
    // The next entry closes both; of one of them something comes after all.
    let status = server.reward(&ids[4], 3.0).await;
    assert_eq!(earned(&status), (6, 2.5 + 3.0 - 1.0));
    assert_eq!(status.fates["late"], 1);
    assert_eq!(status.fates["applied"], 5);
    // The offline evaluation of versions reads the same rewards.
    assert_eq!(server.close(BANDIT).await, [3.5, -2.0, 1.0, 0.0, 3.0, -1.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reward_that_comes_late_counts_nowhere_where_silence_had_not_closed_the_window() {
    for aggregate in ["first", "sum", "max", "last"] {
        for default in ["", "default_reward = -1.0\n"] {
            let toml = BANDIT
                .replace("\"sum\"", &format!("{aggregate:?}"))
                .replace("default_reward = -1.0\n", default);
            let mut server = BanditServer::open(&toml).await;
            let ids = server.ask(5).await;
            server.reward(&ids[0], 1.0).await;
            server.prefer(&ids[1], &ids[2]).await;
            server.now.fetch_add(61 * SECOND, Relaxed);
            // Of what had its reward, and of what had none; the last of all is never heard of.
            server.reward(&ids[0], 5.0).await;
            server.signal(&ids[1], "thumbs_down", 1.0).await;
            server.reward(&ids[3], 3.0).await;
            let status = server.prefer(&ids[3], &ids[0]).await;
            let (n_late, judged, rewards) = match (aggregate, default) {
                ("first", "") => (2, 3, vec![1.0, 1.0, 0.0]),
                (_, "") => (4, 3, vec![1.0, 1.0, 0.0]),
                ("first", _) => (1, 5, vec![1.0, 1.0, 0.0, 3.0, -1.0]),
                (_, _) => (4, 5, vec![1.0, 1.0, 0.0, 3.0, -1.0]),
            };
            assert_eq!(status.fates.get("late"), Some(&n_late), "{toml}");
            assert_eq!(earned(&status), (judged, rewards.iter().sum()), "{toml}");
            assert_eq!(server.close(&toml).await, rewards, "{toml}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_window_after_a_restart_is_not_held_up_by_an_older_one() {
    let mut server = BanditServer::open(BANDIT).await;
    let older = server.ask(1).await;
    let shorter = BANDIT.replace("window_s = 60", "window_s = 10");
    let workspace = server.served.stop().await;
    workspace.describe("m", &shorter);
    let reading = server.now.clone();
    let clock = Clock::simulated(move || ClockReading::agreed(reading.load(Relaxed)));
    let mut server = BanditServer {
        served: Served::in_workspace(workspace, clock).await,
        ..server
    };
    let newer = server.ask(2).await;
    server.now.fetch_add(5 * SECOND, Relaxed);
    let status = server.reward(&newer[0], 2.0).await;
    assert_eq!(status.fates["applied"], 1);
    server.now.fetch_add(20 * SECOND, Relaxed);
    let status = server.reward(&newer[1], 3.0).await;
    assert_eq!(status.fates["late"], 1);
    assert_eq!(earned(&status), (2, 5.0));
    let status = server.reward(&older[0], 1.0).await;
    assert_eq!((earned(&status), status.fates["applied"]), ((3, 6.0), 2));
    assert_eq!(server.close(&shorter).await, [2.0, 3.0, 1.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_many_windows_close_with_ticks_while_feedback_goes_on() {
    const ROWS: usize = 500;
    let mut server = BanditServer::open(BANDIT).await;
    let (first, _) = rows(1, 0.3).next().expect("a row");
    let values = |column: &Column| match column {
        Column::Numbers(values) => Column::Numbers(vec![values[0]; ROWS]),
        Column::Strings(values) => Column::Strings(vec![values[0].clone(); ROWS]),
        other => panic!("{other:?}"),
    };
    let batch = Batch {
        n_rows: ROWS,
        columns: first.columns.iter().map(values).collect(),
    };
    let asked = server.client().ask(question("m", &batch)).await;
    let ids = asked.expect("answers").ids;
    // Once this is acknowledged, earlier answers are journaled as well.
    let heard = server.ask(1).await;
    server.reward(&heard[0], 1.0).await;
    server.now.fetch_add(61 * SECOND, Relaxed);
    let mut status = server.reward(&ids[ROWS - 1], 3.0).await;
    assert_eq!(status.fates["late"], 1);
    // Ticks are journaled until nothing is due.
    for _ in 0..100_000 {
        if status.judged == ROWS as u64 + 1 {
            break;
        }
        status = server.client().status("m").await;
    }
    let sum = 1.0 - (ROWS as f64 - 1.0) + 3.0;
    assert_eq!(earned(&status), (ROWS as u64 + 1, sum));
    let mut rewards = vec![-1.0; ROWS + 1];
    (rewards[0], rewards[ROWS]) = (1.0, 3.0);
    assert_eq!(server.close(BANDIT).await, rewards);
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_reward_beyond_the_described_range_is_refused() {
    let mut server = BanditServer::open(BANDIT).await;
    let ids = server.ask(1).await;
    let mut event = server.event(&ids[0]);
    event.reward = Some(1e308);
    let refused = server.client().submit(event).await;
    let refusal = refused.expect_err("it is beyond the range");
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(refusal.message().starts_with("reward: 1e308"), "{refusal}");
    let status = server.reward(&ids[0], 1e6).await;
    assert_eq!(earned(&status), (1, 1e6));
    server.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_is_corrected_under_a_new_id_and_after_a_restart() {
    let toml = BANDIT.replace("aggregate = \"sum\"\n", "");
    let mut server = BanditServer::open(&toml).await;
    let ids = server.ask(2).await;
    for (label, n_superseded) in [("a", 0), ("b", 1), ("a", 2)] {
        let mut event = server.event(&ids[0]);
        event.label = Some(label.to_owned());
        let status = server.submit(event).await;
        let count = |fate: &str| status.fates.get(fate).copied().unwrap_or(0);
        assert_eq!([count("applied"), count("superseded")], [1, n_superseded]);
        assert_eq!(status.judged, 1);
        let workspace = server.served.stop().await;
        let reading = server.now.clone();
        let clock = Clock::simulated(move || ClockReading::agreed(reading.load(Relaxed)));
        server.served = Served::in_workspace(workspace, clock).await;
        assert_eq!(server.client().status("m").await.fates, status.fates);
    }
    server.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_signal_that_nothing_describes_is_refused() {
    let mut server = BanditServer::open(BANDIT).await;
    let ids = server.ask(1).await;
    let mut event = server.event(&ids[0]);
    event.signal = Some(Signal {
        name: "smile".to_owned(),
        value: 1.0,
    });
    let refusal = server
        .client()
        .submit(event)
        .await
        .expect_err("it is unknown");
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(
        refusal.message().starts_with("signal: \"smile\""),
        "{refusal}"
    );
    assert!(refusal.message().contains("click"), "{refusal}");
    let status = server.signal(&ids[0], "click", 1.0).await;
    assert_eq!(earned(&status), (1, 1.0));
    server.served.stop().await;
}
