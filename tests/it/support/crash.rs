//! Kills of the real server under load, and the conditions after each of them.
//!
//! Invariant: a witness of each model reads nothing but the journal, from its first entry, each
//! entry once; the recovered state is compared with that of the witness.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, Range};
use std::path::PathBuf;
use std::time::Duration;

use perennial::event::{Event, PredictionId};
use perennial::learn::Fate;
use perennial::proto::perennial::v1::*;
use perennial::store::Reader;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::server::{Client, Server, WAIT_MAX, run, text};
use crate::support::{AUTO, LearnerHarness, Workspace, gradient, question, rows};

/// Predictions that a client asks for in one round at most, and in one that is not ended before
/// its orders are carried out.
const N_ASKED_MAX: usize = 2_000;
const N_ASKED_PATIENT: usize = 40;
/// Answers and acknowledgements before a kill, at most.
const N_MESSAGES_MAX: u64 = 120;
/// A kill follows the last of them within this.
const MICROS_MAX: u64 = 3_000;
/// A server that is killed while it starts has run for this long at most.
const START_MICROS_MAX: u64 = 30_000;
/// Clients that only ask.
const N_ASKING: usize = 2;
/// The share of answers behind which an operator gives an order.
const ORDERS_SHARE: f64 = 0.03;
/// The share of orders whose call is taken back, within this.
const LEAVERS_SHARE: f64 = 0.25;
const LEAVES_MICROS_MAX: u64 = 2_000;
/// The source of some of the feedback, which is taken back now and then.
const DOUBTFUL: &str = "doubtful";

/// The counts so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Kills under load, and kills of a server that was just starting.
    pub kills: u64,
    pub early_kills: u64,
    /// Feedback that was acknowledged, every one of it found at the acknowledged position.
    pub acknowledged: u64,
    /// Feedback whose acknowledgement a kill swallowed, sent again, that was journaled already.
    pub repeated: u64,
    /// Versions made by an operator's orders, every one of them found, and how many of the orders
    /// were restores and retractions.
    pub versions: u64,
    pub restored: u64,
    pub retracted: u64,
    /// Orders whose calls were taken back; they may have been carried out.
    pub left: u64,
    /// Entries that the witnesses applied.
    pub entries: u64,
    /// Digests compared, every one of them equal.
    pub compared: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.kills += more.kills;
        self.early_kills += more.early_kills;
        self.acknowledged += more.acknowledged;
        self.repeated += more.repeated;
        self.versions += more.versions;
        self.restored += more.restored;
        self.retracted += more.retracted;
        self.left += more.left;
        self.entries += more.entries;
        self.compared += more.compared;
    }
}

/// One data directory, and the facts known of it from outside.
pub(crate) struct Scenario {
    workspace: Workspace,
    rng: ChaCha8Rng,
    witnesses: Vec<Witness>,
    /// Orders given in this round and not answered.
    n_orders: u64,
    pub counts: Counts,
}

/// The known state of one model.
struct Witness {
    model: &'static str,
    journal: PathBuf,
    harness: Option<LearnerHarness>,
    /// Where each feedback event stands.
    found: BTreeMap<String, u64>,
    /// The feedback acknowledged since the journal was last read, with its position in the reply.
    acknowledged: Vec<(String, u64)>,
    /// The feedback that was sent and not acknowledged.
    unanswered: BTreeMap<String, FeedbackRequest>,
    n_sent: usize,
    /// The versions that orders were acknowledged with, and those that the journal leads to.
    versions: Vec<u64>,
    made: BTreeSet<u64>,
}

/// A message of a client to the scenario.
enum ClientMessage {
    /// An answer; its model, and the id that takes feedback.
    Answer(usize, String),
    /// A reply to feedback.
    Reply(usize, FeedbackReply),
    /// An order was carried out and made this version, or was not.
    Obeyed(usize, OperatorOrder, Option<u64>),
    /// A call with an order was taken back before its outcome came.
    Left,
}

/// An order of an operator.
#[derive(Clone, Copy, Debug)]
enum OperatorOrder {
    Save,
    Restore(u64),
    Retract,
}

/// Whoever sends something to one model.
struct Senders {
    events: UnboundedSender<FeedbackRequest>,
    orders: UnboundedSender<(OperatorOrder, Duration)>,
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Scenario {
        let small = "[versions]\nevery_examples = 16\n[journal]\nbytes_max = \"64MiB\"\n";
        let inputs = AUTO.split_once("[[input]]").expect("it has inputs").1;
        let bandit = format!("task = \"bandit\"\nactions = [\"a\", \"b\"]\n[[input]]{inputs}");
        let models = [
            ("auto", format!("{AUTO}{small}")),
            ("bandit", format!("{bandit}{small}")),
            ("net", format!("{}{small}", gradient("adamw", "8", "der++"))),
        ];
        let workspace = Workspace::new(&models.each_ref().map(|(name, toml)| (*name, &toml[..])));
        let witness =
            |(model, _)| Witness::new(model, workspace.data().join(model).join("journal"));
        Scenario {
            witnesses: models.map(witness).into(),
            workspace,
            rng: ChaCha8Rng::seed_from_u64(seed),
            n_orders: 0,
            counts: Counts::default(),
        }
    }

    /// True once orders of both kinds that derive another state were carried out.
    pub(crate) fn has_gone_back(&self) -> bool {
        self.counts.restored > 0 && self.counts.retracted > 0
    }

    /// Starts, compares, serves until it is killed.
    pub(crate) async fn round(&mut self) {
        if self.rng.random_bool(0.2) {
            let after = self.rng.random_range(0..START_MICROS_MAX);
            Server::kill_early(&self.workspace, Duration::from_micros(after));
            self.counts.early_kills += 1;
        }
        let server = self.start().await;
        // Some kills come behind an order, and some while it is carried out.
        let patient = self.rng.random_bool(0.3);
        let n_asked = if patient {
            N_ASKED_PATIENT
        } else {
            N_ASKED_MAX
        };
        self.n_orders = 0;
        let (sender, mut messages) = unbounded_channel();
        let mut clients = JoinSet::new();
        let mut senders = Vec::new();
        for (index, witness) in self.witnesses.iter().enumerate() {
            let events = teach(index, &server.address, sender.clone(), &mut clients).await;
            witness
                .unanswered
                .values()
                .for_each(|event| drop(events.send(event.clone())));
            let (orders, given) = unbounded_channel();
            let client = Client::connect(&server.address).await;
            clients.spawn(operate(client, index, witness.model, given, sender.clone()));
            senders.push(Senders { events, orders });
            for _ in 0..N_ASKING {
                let (model, sender) = (witness.model, sender.clone());
                let first = self.rng.random_range(0..1000);
                let asked = first..first + n_asked;
                let client = Client::connect(&server.address).await;
                clients.spawn(ask(client, index, model, asked, sender));
            }
        }
        drop(sender);
        let mut n_left = self.rng.random_range(0..=N_MESSAGES_MAX);
        while n_left > 0 || patient && self.n_orders > 0 {
            let next = tokio::time::timeout(WAIT_MAX, messages.recv()).await;
            self.handle(next.expect("it answers").expect("clients go on"), &senders);
            n_left = n_left.saturating_sub(1);
        }
        let micros = Duration::from_micros(self.rng.random_range(0..MICROS_MAX));
        let more = async {
            while let Some(next) = messages.recv().await {
                self.handle(next, &senders);
            }
        };
        // The end of this wait is the moment of the kill.
        let _ = tokio::time::timeout(micros, more).await;
        drop(server);
        self.counts.kills += 1;
        drop(senders);
        self.drain(messages).await;
        while let Some(ended) = clients.join_next().await {
            ended.expect("no client panics");
        }
    }

    /// A reply that was on its way to a client when the server was killed still counts.
    async fn drain(&mut self, mut messages: UnboundedReceiver<ClientMessage>) {
        let all = async {
            while let Some(next) = messages.recv().await {
                self.handle(next, &[]);
            }
        };
        tokio::time::timeout(WAIT_MAX, all)
            .await
            .expect("clients end");
    }

    fn handle(&mut self, message: ClientMessage, senders: &[Senders]) {
        match message {
            ClientMessage::Answer(index, id) => {
                let Some(sender) = senders.get(index) else {
                    return;
                };
                let event = self.witnesses[index].event(id);
                // One that cannot be sent any more is sent in the next round.
                let _ = sender.events.send(event);
                if self.rng.random_bool(ORDERS_SHARE) {
                    let order = self.order(index);
                    let waits = self.waits();
                    self.n_orders += u64::from(sender.orders.send((order, waits)).is_ok());
                }
            }
            ClientMessage::Left => {
                self.n_orders = self.n_orders.saturating_sub(1);
                self.counts.left += 1;
            }
            ClientMessage::Obeyed(index, order, made) => {
                self.n_orders = self.n_orders.saturating_sub(1);
                let Some(version) = made else { return };
                self.witnesses[index].versions.push(version);
                self.counts.versions += 1;
                self.counts.restored += u64::from(matches!(order, OperatorOrder::Restore(_)));
                self.counts.retracted += u64::from(matches!(order, OperatorOrder::Retract));
            }
            ClientMessage::Reply(index, reply) => {
                let duplicate = self.witnesses[index].note(reply);
                self.counts.acknowledged += 1;
                self.counts.repeated += u64::from(duplicate);
            }
        }
    }

    /// How long the operator waits for the outcome of an order before the call is taken back.
    fn waits(&mut self) -> Duration {
        if self.rng.random_bool(LEAVERS_SHARE) {
            Duration::from_micros(self.rng.random_range(0..LEAVES_MICROS_MAX))
        } else {
            WAIT_MAX
        }
    }

    fn order(&mut self, index: usize) -> OperatorOrder {
        let made = self.witnesses[index].versions.choose(&mut self.rng);
        match (self.rng.random_range(0..4), made) {
            (0, _) => OperatorOrder::Retract,
            (1, Some(version)) => OperatorOrder::Restore(*version),
            _ => OperatorOrder::Save,
        }
    }

    /// Starts the server, and compares its recovered state.
    async fn start(&mut self) -> Server {
        let server = Server::of(&self.workspace);
        for witness in &mut self.witnesses {
            let status = server.status(witness.model).await;
            self.counts.entries += witness.read(status.journal_position);
            witness.compare(&status);
            self.counts.compared += 1;
        }
        server
    }

    /// The last start: all is still there, and a stop goes well.
    pub(crate) async fn end(mut self) -> Counts {
        self.start().await.stop();
        run(&["verify", "--data", text(&self.workspace.data())], 0);
        self.counts
    }
}

impl Witness {
    fn new(model: &'static str, journal: PathBuf) -> Witness {
        Witness {
            model,
            journal,
            harness: None,
            found: BTreeMap::new(),
            acknowledged: Vec::new(),
            unanswered: BTreeMap::new(),
            n_sent: 0,
            versions: Vec::new(),
            made: BTreeSet::new(),
        }
    }

    /// The next feedback event, which speaks of a prediction.
    fn event(&mut self, id: String) -> FeedbackRequest {
        self.n_sent += 1;
        let feedback_id = format!("event-{}", self.n_sent);
        let good = self.n_sent.is_multiple_of(3);
        let doubtful = self.n_sent.is_multiple_of(5);
        let mut event = FeedbackRequest {
            model: self.model.to_owned(),
            feedback_id: feedback_id.clone(),
            prediction_id: Some(id),
            source: if doubtful { DOUBTFUL } else { "crash" }.to_owned(),
            ..Default::default()
        };
        match self.model {
            "bandit" => event.reward = Some(f64::from(u8::from(good))),
            _ => event.label = Some(if good { "a" } else { "b" }.to_owned()),
        }
        self.unanswered.insert(feedback_id, event.clone());
        event
    }

    /// Takes a reply to feedback; whether it was journaled by an earlier life of the server.
    fn note(&mut self, reply: FeedbackReply) -> bool {
        let status = reply.status();
        assert_ne!(status, feedback_reply::Status::Refused, "{}", reply.message);
        self.unanswered.remove(&reply.feedback_id);
        self.acknowledged.push((reply.feedback_id, reply.position));
        status == feedback_reply::Status::Duplicate
    }

    /// Applies the entries of the journal that were not read before; gives their number.
    fn read(&mut self, last: u64) -> u64 {
        let harness = self.harness.as_ref();
        let position = harness.map_or(0, |harness| harness.learner.position());
        let mut reader = Reader::open(&self.journal, position + 1, last).expect("a sound journal");
        while let Some(entry) = reader.next(last).expect("a sound entry") {
            if let Event::Feedback(feedback) = &entry.event {
                let feedback_id = feedback.feedback_id.clone();
                let before = self.found.insert(feedback_id, entry.position);
                assert_eq!(before, None, "{} applied twice", feedback.feedback_id);
            }
            let harness = self.harness.get_or_insert_with(|| match &entry.event {
                Event::Description(description) => LearnerHarness::empty(&description.toml),
                other => panic!("the journal starts with {other:?}"),
            });
            let made = harness.apply(entry).version;
            self.made.extend(made.map(|version| version.version));
        }
        last - position
    }

    fn compare(&mut self, status: &ModelStatus) {
        let model = self.model;
        for (feedback_id, position) in self.acknowledged.drain(..) {
            let found = self.found.get(&feedback_id);
            assert_eq!(
                found,
                Some(&position),
                "{model}: {feedback_id} was acknowledged"
            );
        }
        let learner = &self.harness.as_ref().expect("it was read").learner;
        for version in &self.versions {
            assert!(
                self.made.contains(version),
                "{model}: version {version} was acknowledged"
            );
        }
        let digest = learner.learned().digest().to_string();
        assert_eq!(status.digest, digest, "{model} at {}", learner.position());
        for fate in Fate::ALL {
            let n = status.fates.get(fate.word()).copied().unwrap_or(0);
            assert_eq!(n, learner.ledger().count(fate), "{model}: {}", fate.word());
        }
    }
}

/// Opens a stream of feedback on a connection of its own; events sent into it go there.
async fn teach(
    index: usize,
    address: &str,
    sender: UnboundedSender<ClientMessage>,
    clients: &mut JoinSet<()>,
) -> UnboundedSender<FeedbackRequest> {
    let (events, sent) = unbounded_channel();
    let mut client = Client::connect(address).await;
    clients.spawn(async move {
        let sent = UnboundedReceiverStream::new(sent);
        let Ok(replies) = client.learning.stream_feedback(sent).await else {
            return;
        };
        let mut replies = replies.into_inner();
        while let Ok(Some(reply)) = replies.message().await {
            if sender.send(ClientMessage::Reply(index, reply)).is_err() {
                return;
            }
        }
    });
    events
}

/// Gives the orders that are asked for. One may be refused, as where nothing is left to be taken
/// back, or a version holds what was.
async fn operate(
    mut client: Client,
    index: usize,
    model: &'static str,
    mut orders: UnboundedReceiver<(OperatorOrder, Duration)>,
    sender: UnboundedSender<ClientMessage>,
) {
    while let Some((order, waits)) = orders.recv().await {
        let made = give(&mut client, model.to_owned(), order);
        let message = match tokio::time::timeout(waits, made).await {
            Ok(made) => ClientMessage::Obeyed(index, order, made),
            Err(_) => ClientMessage::Left,
        };
        if sender.send(message).is_err() {
            return;
        }
    }
}

/// Gives an order; the version that it made, where it was carried out.
async fn give(client: &mut Client, model: String, order: OperatorOrder) -> Option<u64> {
    let (registry, note) = (&mut client.registry, "a test asks".to_owned());
    let made = match order {
        OperatorOrder::Save => {
            let made = registry.checkpoint(CheckpointRequest { model, note }).await;
            made.map(|made| made.into_inner().version)
        }
        OperatorOrder::Restore(version) => {
            let request = RestoreRequest {
                model,
                version,
                note,
                ..Default::default()
            };
            let made = registry.restore(request).await;
            made.map(|made| made.into_inner().version)
        }
        OperatorOrder::Retract => {
            let request = RetractRequest {
                model,
                source: Some(DOUBTFUL.to_owned()),
                note,
                ..Default::default()
            };
            let done = registry.retract(request).await;
            done.map(|done| done.into_inner().version)
        }
    };
    made.ok()
}

/// Asks one question after the other until no answer comes.
async fn ask(
    mut client: Client,
    index: usize,
    model: &'static str,
    asked: Range<usize>,
    sender: UnboundedSender<ClientMessage>,
) {
    for (batch, _) in rows(asked.end, 0.4).skip(asked.start) {
        let Ok(answer) = client.inference.model_infer(question(model, &batch)).await else {
            return;
        };
        let answer = answer.into_inner();
        let place = answer
            .outputs
            .iter()
            .position(|out| out.name == "prediction_id");
        let raw = &answer.raw_output_contents[place.expect("it takes feedback")];
        let id = String::from_utf8(raw.slice(4..).to_vec()).expect("UTF-8");
        assert!(id.parse::<PredictionId>().is_ok(), "{id}");
        if sender.send(ClientMessage::Answer(index, id)).is_err() {
            return;
        }
    }
}
