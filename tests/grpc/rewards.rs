//! What a bandit's answers earn over the wire: signals, silence, and what comes late.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use perennial::engine::{Clock, Offline as Data};
use perennial::event::Time;
use perennial::model::Spec;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::proto::perennial::v1::{FeedbackRequest, ModelStatus, Signal};
use tonic::Code;

use crate::common::rows;
use crate::served::{Client, Served, label, question};

const SECOND: i64 = 1_000_000;
const BANDIT: &str = "task = \"bandit\"\nactions = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n\
    [feedback]\nwindow_s = 60\ndefault_reward = -1.0\naggregate = \"sum\"\n\
    [feedback.signals]\nclick = { reward = 1.0 }\ndwell_seconds = { scale = 60.0, max = 1.0 }\n\
    thumbs_up = { reward = 2.0 }\nthumbs_down = { reward = -2.0 }\n";

/// A bandit on a server whose clock the test sets.
struct Shop {
    served: Served,
    now: Arc<AtomicI64>,
    n_said: usize,
}

impl Shop {
    async fn open(toml: &str) -> Shop {
        let now = Arc::new(AtomicI64::new(1_700_000_000 * SECOND));
        let told = now.clone();
        let clock = Clock::told(move || Time(told.load(Relaxed)));
        Shop {
            served: Served::start_by(&[("m", toml)], clock).await,
            now,
            n_said: 0,
        }
    }

    fn client(&mut self) -> &mut Client {
        &mut self.served.client
    }

    /// Asks so many times, and keeps the ids.
    async fn ask(&mut self, n: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for (batch, _) in rows(n, 0.3) {
            let said = self.client().ask(question("m", &batch)).await;
            ids.extend(said.expect("an answer").ids);
        }
        ids
    }

    fn event(&mut self, id: &str) -> FeedbackRequest {
        self.n_said += 1;
        FeedbackRequest {
            label: None,
            ..label("m", id, &format!("said-{}", self.n_said), "")
        }
    }

    /// Says something of an answer, and waits until it is learned.
    async fn say(&mut self, event: FeedbackRequest) -> ModelStatus {
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
        self.say(event).await
    }

    async fn reward(&mut self, id: &str, reward: f64) -> ModelStatus {
        let mut event = self.event(id);
        event.reward = Some(reward);
        self.say(event).await
    }

    async fn prefer(&mut self, id: &str, over: &str) -> ModelStatus {
        let mut event = self.event(id);
        event.preferred_over = Some(over.to_owned());
        self.say(event).await
    }

    /// Stops the server; the rewards as they are read from its journal.
    async fn close(self, toml: &str) -> Vec<f64> {
        let house = self.served.stop().await;
        let data = Data::open(&house.data(), "m").expect("it is there");
        let asked = Spec::parse(toml).expect("a description");
        let decisions = data.decisions(&asked).expect("a journal");
        decisions.map(|one| one.expect("sound").reward).collect()
    }
}

/// How many answers were judged, and what they earned together.
fn earned(status: &ModelStatus) -> (u64, f64) {
    let sum = status.score.unwrap_or(0.0) * status.judged as f64;
    (status.judged, (sum * 1e6).round() / 1e6)
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_silence_and_late_rewards_are_what_the_description_says() {
    let mut shop = Shop::open(BANDIT).await;
    let ids = shop.ask(6).await;
    assert_eq!(earned(&shop.signal(&ids[0], "click", 1.0).await), (1, 1.0));
    let status = shop.signal(&ids[0], "dwell_seconds", 30.0).await;
    assert_eq!(earned(&status), (1, 1.5));
    let status = shop.signal(&ids[1], "thumbs_down", 1.0).await;
    assert_eq!(earned(&status), (2, -0.5));
    let status = shop.prefer(&ids[2], &ids[3]).await;
    assert_eq!(earned(&status), (4, 0.5));
    // Two are silent. Their windows are still open at their last moment.
    shop.now.fetch_add(60 * SECOND, Relaxed);
    let status = shop.signal(&ids[0], "thumbs_up", 1.0).await;
    assert_eq!(earned(&status), (4, 2.5));
    shop.now.fetch_add(SECOND, Relaxed);
    // The next entry closes both; of one of them something comes after all.
    let status = shop.reward(&ids[4], 3.0).await;
    assert_eq!(earned(&status), (6, 2.5 + 3.0 - 1.0));
    assert_eq!(status.fates["late"], 1);
    assert_eq!(status.fates["applied"], 5);
    // What evaluates versions offline reads the same rewards.
    assert_eq!(shop.close(BANDIT).await, [3.5, -2.0, 1.0, 0.0, 3.0, -1.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reward_that_comes_late_counts_nowhere_where_silence_had_not_closed_the_window() {
    for aggregate in ["first", "sum", "max", "last"] {
        for default in ["", "default_reward = -1.0\n"] {
            let toml = BANDIT
                .replace("\"sum\"", &format!("{aggregate:?}"))
                .replace("default_reward = -1.0\n", default);
            let mut shop = Shop::open(&toml).await;
            let ids = shop.ask(5).await;
            shop.reward(&ids[0], 1.0).await;
            shop.prefer(&ids[1], &ids[2]).await;
            shop.now.fetch_add(61 * SECOND, Relaxed);
            // Of what had its reward, and of what had none; the last of all is never heard of.
            shop.reward(&ids[0], 5.0).await;
            shop.signal(&ids[1], "thumbs_down", 1.0).await;
            shop.reward(&ids[3], 3.0).await;
            let status = shop.prefer(&ids[3], &ids[0]).await;
            let (n_late, judged, rewards) = match (aggregate, default) {
                ("first", "") => (2, 3, vec![1.0, 1.0, 0.0]),
                (_, "") => (4, 3, vec![1.0, 1.0, 0.0]),
                ("first", _) => (1, 5, vec![1.0, 1.0, 0.0, 3.0, -1.0]),
                (_, _) => (4, 5, vec![1.0, 1.0, 0.0, 3.0, -1.0]),
            };
            assert_eq!(status.fates.get("late"), Some(&n_late), "{toml}");
            assert_eq!(earned(&status), (judged, rewards.iter().sum()), "{toml}");
            assert_eq!(shop.close(&toml).await, rewards, "{toml}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_signal_that_nothing_describes_is_refused() {
    let mut shop = Shop::open(BANDIT).await;
    let ids = shop.ask(1).await;
    let mut event = shop.event(&ids[0]);
    event.signal = Some(Signal {
        name: "smile".to_owned(),
        value: 1.0,
    });
    let refusal = shop
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
    let status = shop.signal(&ids[0], "click", 1.0).await;
    assert_eq!(earned(&status), (1, 1.0));
    shop.served.stop().await;
}
