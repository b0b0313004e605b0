//! Two orders that meet, and their outcome.
//!
//! Invariant: the right outcome is that of a learner that was fed live without what was taken
//! back, and never had the refused orders.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use perennial::engine::{
    Disposal, Engine, Error, Offline, RetractionRequest, ServedModel, describe,
};
use perennial::event::{
    Command, Description, Entry, Event, Feedback, Order, PredictionId, Reason, Selector,
};
use perennial::store::{Reader, verify};

use crate::orders::{Held, Point};
use crate::support::histories::{refused, retracted, twin};
use crate::support::{Workspace, copy, digest, gradient, label, order, rows, syncing_nothing};

/// A request to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Checkpoint,
    /// Of the version that was made in the middle.
    Restore,
    Retract,
    RetractAndErase,
    /// Of a source that was retracted before.
    Erase,
    Adopt,
    /// Of the contender, where one is tested.
    Promote,
    /// From the first entry behind the version in the middle.
    Retrain,
    /// Releases events that contradict others.
    Release,
    /// Names the version in the middle.
    Name,
    /// Removes a name that the version in the middle has.
    RemoveName,
    /// Discards events that contradict others.
    Discard,
    /// Stops learning.
    Freeze,
    /// Learns again; nothing is frozen before.
    Resume,
}

impl Asks {
    pub(super) const ALL: [Asks; 14] = [
        Asks::Checkpoint,
        Asks::Restore,
        Asks::Retract,
        Asks::RetractAndErase,
        Asks::Erase,
        Asks::Adopt,
        Asks::Promote,
        Asks::Retrain,
        Asks::Release,
        Asks::Name,
        Asks::RemoveName,
        Asks::Discard,
        Asks::Freeze,
        Asks::Resume,
    ];

    /// Whether this is what it asks for.
    fn is(self, order: &Order) -> bool {
        match (self, order) {
            (Asks::Checkpoint, Order::Checkpoint)
            | (Asks::Restore, Order::Restore { .. })
            | (Asks::Erase, Order::Erase(_))
            | (Asks::Adopt, Order::Adopt(_))
            | (Asks::Promote, Order::Promote { .. })
            | (Asks::Retrain, Order::Retrain { .. })
            | (Asks::Release, Order::Release(_))
            | (Asks::Name, Order::SetAlias { .. })
            | (Asks::RemoveName, Order::RemoveAlias { .. })
            | (Asks::Discard, Order::Discard(_))
            | (Asks::Freeze, Order::Freeze)
            | (Asks::Resume, Order::Resume) => true,
            (Asks::Retract, Order::Retract(it)) => it.disposal == Disposal::Keep,
            (Asks::RetractAndErase, Order::Retract(it)) => it.disposal == Disposal::Erase,
            _ => false,
        }
    }

    /// Whether it takes its turn behind others of its kind.
    fn takes_turns(self) -> bool {
        matches!(self, Asks::Retract | Asks::RetractAndErase | Asks::Erase)
    }
}

/// The action of the first caller while it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum People {
    Stay,
    Leave,
}

/// Two orders, and where they meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting {
    pub first: Asks,
    pub second: Asks,
    pub point: Point,
    pub client: People,
}

type Asked = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The version that restores bring back: of half of the examples.
const MIDDLE: u64 = 3;

/// The first description, and the adopted one: no version of one is one of the other.
fn described() -> [String; 2] {
    // A contender is taken behind the version in the middle.
    let publish = "[publish]\npolicy = \"manual\"\nevery_examples = 17\nscore_every = 1\n";
    ["4", "6"].map(|hidden| gradient("sgd", hidden, "er") + publish)
}

impl Meeting {
    /// Lets them meet, and checks the outcome; none where the first one has no such point, else whether the
    /// second one was carried out.
    pub(super) async fn check(self) -> Option<bool> {
        println!("{self:?}");
        let workspace = Workspace::new(&[("m", &described()[0])]);
        let mut held = Held::open(&workspace);
        let model = held.engine.model("m").unwrap().clone();
        begin(&model).await;
        settled(&held.engine);
        let before = Known::default().read(&workspace.data());

        held.arm(self.point);
        let first = tokio::spawn(ask(&model, self.first, "batch"));
        let mut first = first;
        let held_there = tokio::select! {
            _ = held.reached.recv() => true,
            _ = &mut first => false,
        };
        if !held_there {
            held.disarm();
            return None;
        }
        if self.client == People::Leave {
            first.abort();
            let _ = (&mut first).await;
        }
        let mut second = ask(&model, self.second, "clicks");
        let beside = [Point::Surveyed, Point::HandedOver, Point::Erasing];
        let mut outcome = poll_once(&mut second).await;
        if outcome.is_none() && beside.contains(&self.point) && !self.second.takes_turns() {
            outcome = Some(second.as_mut().await);
        }
        // As a kill leaves it.
        let killed = Workspace::new(&[]);
        copy(&workspace.data(), &killed.data());
        held.release();
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => second.await,
        };
        let is_carried_out = outcome.is_ok();
        self.plausible(outcome);
        if self.client == People::Stay {
            self.plausible(first.await.expect("it does not panic"));
        }
        // The next, unrelated one: the entries before it are a part of its derivation.
        let third = ask(&model, Asks::Retract, "third").await;
        third.unwrap_or_else(|error| panic!("{self:?}: {error}"));
        settled(&held.engine);
        let place = |when: &str| format!("{self:?}, {when}");
        let known = before.read(&workspace.data());
        known.check_answered(&place("live"));
        if ![Point::Surveyed, Point::HandedOver].contains(&self.point) {
            let orders = known.orders(before.last());
            assert!(
                orders.iter().any(|order| self.first.is(order)),
                "{orders:?} {self:?}"
            );
        }
        assert_eq!(digest(&model), known.expected(), "{}", place("live"));
        check_names(&model, &place("live"));
        let later = Workspace::new(&[]);
        copy(&workspace.data(), &later.data());
        drop((held, model));
        restarted(&killed, &before, &place("killed between"));
        restarted(&later, &before, &place("killed after"));
        restarted(&workspace, &before, &place("stopped"));
        Some(is_carried_out)
    }

    /// A version that was tainted meanwhile is refused, and so is one of another description, and
    /// what is no longer there to be taken back.
    fn plausible(self, outcome: Result<(), Error>) {
        match outcome {
            Ok(())
            | Err(Error::Refused { .. } | Error::NotNow { .. } | Error::NoVersion { .. }) => {}
            Err(error) => panic!("{self:?}: {error}"),
        }
    }
}

/// Rows of all sources, one that is taken back, and a version in the middle of the rest.
async fn begin(model: &Arc<ServedModel>) {
    teach(
        model,
        0..10,
        &["batch", "people", "clicks", "third", "earlier"],
    )
    .await;
    let done = ask(model, Asks::Retract, "earlier").await;
    done.expect("it is retracted");
    let others = ["batch", "people", "clicks", "third"];
    teach(model, 10..18, &others).await;
    assert_eq!(order(model, Order::Checkpoint).await.version, MIDDLE);
    let (alias, version) = ("first".to_owned(), MIDDLE);
    order(model, Order::SetAlias { alias, version }).await;
    teach(model, 18..30, &others).await;
    // A contender is there once this is learned.
    let last = model.status(false).journal_position;
    model.wait_for_position(last).await.expect("learned");
}

async fn teach(model: &Arc<ServedModel>, which: Range<usize>, sources: &[&str]) {
    for (n, (batch, truth)) in rows(which.end, 0.3).enumerate().skip(which.start) {
        let snapshot = model.snapshot("").expect("it serves");
        let answer = model.predict(&snapshot, batch, Default::default()).await;
        let id = answer.unwrap().ids[0];
        let other = sources[(n + 1) % sources.len()];
        let is_contradicted = n % 5 == 0 && other != "earlier";
        let feedback = Feedback {
            source: sources[n % sources.len()].to_owned(),
            ..label(id, &format!("row-{n}"), truth)
        };
        let contradiction = Feedback {
            source: other.to_owned(),
            actor: "somebody".to_owned(),
            ..label(
                id,
                &format!("other-{n}"),
                if truth == "a" { "b" } else { "a" },
            )
        };
        let both = [Some(feedback), is_contradicted.then_some(contradiction)];
        for feedback in both.into_iter().flatten() {
            let receipt = model.accept(feedback).expect("there is room");
            receipt.wait().await.expect("acknowledged");
        }
    }
}

/// All that was sent is on disk.
fn settled(engine: &Engine) {
    let nothing = engine.audit(PredictionId(7), None);
    assert!(nothing.expect("the journal is sound").is_none());
}

/// Asks on behalf of a client of its own, who takes back this source.
fn ask(model: &Arc<ServedModel>, asks: Asks, source: &str) -> Asked {
    let (model, source) = (model.clone(), source.to_owned());
    let retract = |source: String, disposal| RetractionRequest {
        selector: Selector::Source(source),
        actor: String::new(),
        note: String::new(),
        disposal,
    };
    let order = match asks {
        Asks::Checkpoint => Order::Checkpoint,
        Asks::Restore => Order::Restore { version: MIDDLE },
        Asks::Adopt => Order::Adopt(adopted()),
        Asks::Retrain => Order::Retrain {
            from: made_in_the_middle(&model) + 1,
            description: described_as(0),
        },
        Asks::Release => Order::Release(Selector::Source(source).hashed()),
        Asks::Name => Order::SetAlias {
            alias: "prod".to_owned(),
            version: MIDDLE,
        },
        Asks::RemoveName => Order::RemoveAlias {
            alias: "first".to_owned(),
        },
        Asks::Discard => Order::Discard(Selector::Source(source).hashed()),
        Asks::Freeze => Order::Freeze,
        Asks::Resume => Order::Resume,
        Asks::Promote => {
            return Box::pin(
                async move { model.promote(None, Default::default()).await.map(drop) },
            );
        }
        Asks::Retract => return retracting(model, retract(source, Disposal::Keep)),
        Asks::RetractAndErase => return retracting(model, retract(source, Disposal::Erase)),
        Asks::Erase => return retracting(model, retract("earlier".to_owned(), Disposal::Erase)),
    };
    let (actor, note) = Default::default();
    let command = Command { order, actor, note };
    Box::pin(async move { model.command(command).await.map(drop) })
}

fn retracting(model: Arc<ServedModel>, request: RetractionRequest) -> Asked {
    Box::pin(async move { model.retract(request).await.map(drop) })
}

/// The outcome of polling an order once; none where it waits.
async fn poll_once(asked: &mut Asked) -> Option<Result<(), Error>> {
    poll_fn(|context| {
        Poll::Ready(match asked.as_mut().poll(context) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        })
    })
    .await
}

/// The position of the version that restores bring back.
fn made_in_the_middle(model: &ServedModel) -> u64 {
    let versions = model.versions().expect("they are listed").into_iter();
    let mut positions = versions.filter(|(one, _)| one.version == MIDDLE);
    positions.next().expect("it was made").0.position
}

fn adopted() -> Description {
    described_as(1)
}

fn described_as(which: usize) -> Description {
    let workspace = Workspace::new(&[("m", &described()[which])]);
    let described = describe(&workspace.models().join("m/model.toml"));
    described.expect("a description").description
}

/// The entries of a journal as they were written, whatever was erased since.
#[derive(Clone, Default)]
struct Known(BTreeMap<u64, Entry>);

impl Known {
    /// The known entries with those of a data directory.
    fn read(&self, data: &Path) -> Known {
        let mut known = self.clone();
        for entry in entries(data) {
            match entry.event {
                Event::Erased(_) => assert!(known.0.contains_key(&entry.position)),
                _ => drop(known.0.insert(entry.position, entry)),
            }
        }
        known
    }

    fn last(&self) -> u64 {
        *self.0.keys().next_back().expect("it is not empty")
    }

    /// The orders behind a position.
    fn orders(&self, position: u64) -> Vec<Order> {
        let behind = self.0.range(position + 1..).map(|(_, entry)| entry);
        let orders = behind.filter_map(|entry| match &entry.event {
            Event::Command(command) => Some(command.order.clone()),
            _ => None,
        });
        orders.collect()
    }

    /// The description that was adopted, if one was.
    fn adopted(&self) -> Option<Description> {
        let mut adopted = self.orders(0).into_iter().filter_map(|order| match order {
            Order::Adopt(description) => Some(description),
            _ => None,
        });
        adopted.next_back()
    }

    /// The digest of the learned state at its end.
    fn expected(&self) -> blake3::Hash {
        // It lives under the last description from the start.
        let mut journal: Vec<Entry> = self.0.values().cloned().collect();
        journal
            .retain(|entry| entry.position == 1 || !matches!(entry.event, Event::Description(_)));
        let Event::Description(first) = &mut journal[0].event else {
            panic!("a journal starts with a description")
        };
        if let Some(adopted) = self.adopted() {
            *first = adopted;
        }
        twin(&journal).learner.learned().digest()
    }

    /// The outcome of every order is recorded.
    fn check_answered(&self, place: &str) {
        let journal: Vec<Entry> = self.0.values().cloned().collect();
        let refused = refused(&journal);
        let made = |position: u64| {
            journal.iter().any(|entry| match &entry.event {
                Event::Version(made) => {
                    let by_itself = [Reason::Cadence, Reason::Contender, Reason::Rewind];
                    made.position == position && !by_itself.contains(&made.reason)
                }
                _ => false,
            })
        };
        let promoted = |position: u64| {
            journal.iter().any(|entry| match &entry.event {
                Event::Verdict(verdict) => verdict.position == position,
                _ => false,
            })
        };
        let erased = |position: u64| {
            journal.iter().any(|entry| match &entry.event {
                Event::Erasure(erasure) => erasure.position == position,
                _ => false,
            })
        };
        for entry in &journal {
            let Event::Command(Command { order, .. }) = &entry.event else {
                continue;
            };
            let position = entry.position;
            let answered = match order {
                // Aliases make nothing; the name is checked where it is.
                Order::Erase(_) | Order::SetAlias { .. } | Order::RemoveAlias { .. } => true,
                Order::Release(_) | Order::Discard(_) | Order::Freeze | Order::Resume => true,
                Order::Promote { .. } => promoted(position) != refused.contains(&position),
                _ => made(position) != refused.contains(&position),
            };
            assert!(answered, "{order:?} at {position}: {place}");
            assert!(
                order.erased().is_none() || erased(position),
                "{order:?}: {place}"
            );
        }
    }
}

fn entries(data: &Path) -> Vec<Entry> {
    let journal = data.join("m/journal");
    let last = verify(&journal).expect("it is sound").last_position;
    let mut reader = Reader::from_start(&journal, last).expect("a journal");
    let entries = (1..=last).map(|_| reader.next(last).expect("it is sound").expect("an entry"));
    entries.collect()
}

/// Starts a server on what another has left, and checks that it is what that had come to.
fn restarted(workspace: &Workspace, before: &Known, place: &str) {
    let data = workspace.data();
    let adopted = before.read(&data).adopted().is_some();
    workspace.describe("m", &described()[usize::from(adopted)]);
    let learned = opened(workspace, place);
    let known = before.read(&data);
    known.check_answered(place);
    assert_eq!(learned, known.expected(), "{place}");
    let n_erased = check_erased(&known, &entries(&data), place);
    let offline = Offline::open(&data, "m").unwrap();
    let mut replay = offline.replay(None).unwrap();
    while replay
        .advance(1000)
        .unwrap_or_else(|error| panic!("{error}: {place}"))
    {}
    drop(offline);
    if n_erased == 0 {
        std::fs::remove_dir_all(data.join("m/checkpoints")).unwrap();
        assert_eq!(
            opened(workspace, place),
            learned,
            "from the journal alone: {place}"
        );
    }
}

/// An alias names a version that can be restored: none that holds the retracted feedback.
fn check_names(model: &ServedModel, place: &str) {
    let versions = model.versions().expect("they are listed");
    for (alias, version) in model.status(false).aliases {
        let mut found = versions.iter().filter(|(one, _)| one.version == version);
        let (_, damage) = found
            .next()
            .unwrap_or_else(|| panic!("{alias}: {version}: {place}"));
        assert_eq!(*damage, None, "{alias}: {place}");
    }
}

/// The digest of a server that starts and stops.
fn opened(workspace: &Workspace, place: &str) -> blake3::Hash {
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").unwrap();
    let ready = model.snapshot("").map(drop);
    ready.unwrap_or_else(|error| panic!("{error}: {place}"));
    let learned = digest(model);
    check_names(model, place);
    engine.close();
    learned
}

/// Checks that no erased content can be read; gives the number of erased entries.
fn check_erased(known: &Known, entries: &[Entry], place: &str) -> usize {
    let journal: Vec<Entry> = known.0.values().cloned().collect();
    let retracted = retracted(&journal);
    for entry in &journal {
        let Event::Command(Command { order, .. }) = &entry.event else {
            continue;
        };
        let Some(selector) = order.erased() else {
            continue;
        };
        let left = entries.iter().filter(|one| match &one.event {
            Event::Feedback(feedback) => {
                one.position < entry.position
                    && retracted.contains(&one.position)
                    && selector.chooses(feedback, one.time)
            }
            _ => false,
        });
        let left: Vec<u64> = left.map(|one| one.position).collect();
        assert!(left.is_empty(), "{left:?} are not erased: {place}");
    }
    let erased = entries
        .iter()
        .filter(|entry| matches!(entry.event, Event::Erased(_)));
    erased.count()
}
