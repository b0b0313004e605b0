//! Every bound of a model, driven near or over by what an honest server meets, and relaxed again.
//!
//! Invariant: it is said once in the log, and once when there is room again; health, `/metrics` and the status
//! show it meanwhile, with the remedy.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Instant;

use perennial::engine::{
    Bound, Clock, ClockReading, Config, Engine, Level, NewVersion, PredictOptions, Receipt,
    ServedModel,
};
use perennial::event::{
    BACKFILL_TAG, Batch, Column, Command, Feedback, Order, PredictionId, Selector,
};
use perennial::model::OrderedLimits;
use perennial::server;
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};

use tokio::task::block_in_place;

use super::served::Served;
use crate::support::server::WAIT_MAX;
use crate::support::{AUTO, Workspace, label, rows, wait};

const SECOND_US: i64 = 1_000_000;
const BRIEF: &str = "[journal]\nbytes_max = \"16MiB\"\nage_max = \"5s\"\nretract_within = \"1s\"\n";

/// A bound, the description of a model that comes near it, and both ways.
struct Scene {
    bound: &'static str,
    settings: String,
    drive: fn(&Stage),
    relax: fn(&Stage),
    /// False while the learner is held: its figures wait for it.
    has_status: bool,
}

/// A served model whose clock and disk the test has in hand.
struct Stage {
    served: Served,
    now: Arc<Mutex<ClockReading>>,
    faults: Arc<Faults>,
    model: &'static str,
}

/// True of the changes of the disk that a fault is about.
type IsMeant = fn(&DiskChange) -> bool;

/// The changes of the disk that are refused, and those that are held until they are let go.
#[derive(Default)]
struct Faults {
    refuses: Mutex<Option<IsMeant>>,
    holds: Mutex<Option<IsMeant>>,
    is_let_go: Condvar,
    is_held: AtomicBool,
}

impl Faults {
    fn disk(self: Arc<Faults>) -> Disk {
        Disk::watched(move |change| {
            let refuses = *self.refuses.lock().unwrap();
            if refuses.is_some_and(|refuses| refuses(&change)) {
                return Err(std::io::Error::from_raw_os_error(libc::ENOSPC));
            }
            let mut holds = self.holds.lock().unwrap();
            while holds.is_some_and(|holds| holds(&change)) {
                self.is_held.store(true, Relaxed);
                holds = self.is_let_go.wait(holds).unwrap();
            }
            Ok(match change {
                DiskChange::Sync(_) | DiskChange::SyncFolder(_) => ChangeOutcome::Pretend,
                _ => ChangeOutcome::Make,
            })
        })
    }

    fn let_go(&self) {
        *self.holds.lock().unwrap() = None;
        self.is_let_go.notify_all();
    }
}

impl Stage {
    async fn new(scene: &Scene) -> Stage {
        let toml = format!("{AUTO}{}", scene.settings);
        let workspace = Workspace::new(&[(scene.bound, &toml)]);
        let now = Arc::new(Mutex::new(ClockReading::agreed(1_700_000_000_000_000)));
        let (faults, read) = (Arc::<Faults>::default(), now.clone());
        let config = Config {
            disk: faults.clone().disk(),
            clock: Clock::simulated(move || *read.lock().unwrap()),
            ..workspace.config()
        };
        let engine = Engine::open(config).expect("the engine opens");
        Stage {
            served: Served::serve(workspace, engine, server::Config::default()).await,
            now,
            faults,
            model: scene.bound,
        }
    }

    fn model(&self) -> &ServedModel {
        self.served.engine.model(self.model).unwrap()
    }

    fn bound(&self) -> Bound {
        let mut bounds = self.model().bounds().into_iter();
        let bound = bounds.find(|bound| bound.name == self.model);
        bound.expect("it is among them")
    }

    fn pass(&self, us: i64) {
        let mut now = self.now.lock().unwrap();
        now.wall.0 += us;
        now.monotonic_us += us;
    }

    /// Half a second after the other, until the bound is far away.
    fn pass_until_ample(&self) {
        until(|| {
            self.pass(SECOND_US / 2);
            self.model().retain_now().unwrap();
            let _ = self.predict(10);
            (self.bound().used < 0.8).then_some(())
        });
    }

    fn predict(&self, n_bytes: usize) -> Option<PredictionId> {
        let (mut batch, _): (Batch, _) = rows(1, 0.0).next().unwrap();
        batch.columns[2] = Column::Strings(vec!["c".repeat(n_bytes)]);
        let snapshot = self.model().snapshot("").unwrap();
        let answer = wait(
            self.model()
                .predict(&snapshot, batch, PredictOptions::default()),
        );
        answer.unwrap().ids.first().copied()
    }

    /// Sends these events, the next ones while earlier ones are on their way, until one is refused.
    fn send(&self, events: impl Iterator<Item = Feedback>) {
        let mut receipts: Vec<Receipt> = Vec::new();
        for event in events {
            match self.model().accept(event) {
                Ok(receipt) => receipts.push(receipt),
                Err(_) => break,
            }
            if receipts.len() == 256 && receipts.drain(..).any(|one| wait(one.wait()).is_err()) {
                break;
            }
        }
        if !self.faults.is_held.load(Relaxed) {
            receipts.drain(..).for_each(|one| drop(wait(one.wait())));
        }
    }

    fn order(&self, order: Order, note: &str) -> Result<NewVersion, perennial::engine::Error> {
        let (actor, note) = ("ann".to_owned(), note.to_owned());
        wait(self.model().command(Command { order, actor, note }))
    }
}

/// An event of a prediction that nobody knows, which takes its room all the same.
fn event(n: usize, n_bytes: usize) -> Feedback {
    Feedback {
        source: "s".repeat(n_bytes),
        ..label(PredictionId(7), &format!("event {n}"), "a")
    }
}

fn until<T>(ask: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < WAIT_MAX, "it does not come to that");
        std::thread::yield_now();
    }
}

fn scene(bound: &'static str, settings: &str, drive: fn(&Stage), relax: fn(&Stage)) -> Scene {
    Scene {
        bound,
        settings: settings.to_owned(),
        drive,
        relax,
        has_status: true,
    }
}

fn fill_with_feedback(stage: &Stage) {
    stage.send((0..10_000).map(|n| event(n, 20_000)));
}

/// Room in the journal and on the disk.
fn of_room() -> Vec<Scene> {
    let small = "[journal]\nbytes_max = \"16MiB\"\n";
    let ids = "[journal]\nids_max = 50\n";
    let passes = Stage::pass_until_ample as fn(&Stage);
    let orders = |stage: &Stage| {
        fill_with_feedback(stage);
        while stage.order(Order::Checkpoint, &"n".repeat(20_000)).is_ok() {}
    };
    // The order that makes room is taken where others are refused.
    let enlarge = |stage: &Stage| {
        let larger = OrderedLimits {
            bytes_max: Some("32MiB".to_owned()),
            retract_within: None,
        };
        wait(stage.model().change_limits(&larger)).expect("it is carried out");
    };
    let refuse_ids = |stage: &Stage| {
        *stage.faults.refuses.lock().unwrap() = Some(|change| match change {
            DiskChange::Create(path) | DiskChange::Write(path, ..) => {
                path.iter().any(|name| name == "ids")
            }
            _ => false,
        });
        stage.send((0..20_000).map(|n| event(n, 10)));
    };
    let refuse_segments = |stage: &Stage| {
        *stage.faults.refuses.lock().unwrap() = Some(|change| match change {
            DiskChange::Create(path) => path.extension().is_some_and(|end| end == "seg"),
            _ => false,
        });
        until(|| {
            let _ = stage.predict(50_000);
            (stage.bound().used >= 1.0).then_some(())
        });
    };
    // None is promised room while others are on their way.
    let predict = |stage: &Stage| {
        while stage.predict(40_000).is_some() {
            stage.model().retain_now().unwrap();
        }
    };
    let accept = |stage: &Stage| *stage.faults.refuses.lock().unwrap() = None;
    vec![
        scene("prediction_bytes", BRIEF, predict, passes),
        scene("feedback_bytes", BRIEF, fill_with_feedback, passes),
        scene("order_bytes", BRIEF, orders, enlarge),
        scene("feedback_ids", ids, refuse_ids, accept),
        scene("descriptors", small, refuse_segments, accept),
    ]
}

/// The pace of writer and learner.
fn of_pace() -> Vec<Scene> {
    let hold_learner = |stage: &Stage| {
        *stage.faults.holds.lock().unwrap() = Some(|change| match change {
            DiskChange::Create(path) => path.iter().any(|name| name == "checkpoints"),
            _ => false,
        });
        let (engine, model) = (stage.served.engine.clone(), stage.model);
        std::thread::spawn(move || {
            let (actor, note) = Default::default();
            let order = Order::Checkpoint;
            let asked = Command { order, actor, note };
            wait(engine.model(model).unwrap().command(asked)).unwrap();
        });
        until(|| stage.faults.is_held.load(Relaxed).then_some(()));
        for n in 0.. {
            match stage.model().accept(event(n, 10)) {
                Ok(receipt) => drop(wait(receipt.wait()).unwrap()),
                Err(_) => break,
            }
        }
    };
    let hold_writer = |stage: &Stage| {
        *stage.faults.holds.lock().unwrap() = Some(|change| matches!(change, DiskChange::Sync(_)));
        drop(stage.model().accept(event(0, 10)));
        until(|| stage.faults.is_held.load(Relaxed).then_some(()));
        stage.send((1..100).map(|n| event(n, 1_000_000)));
    };
    let let_go = |stage: &Stage| stage.faults.let_go();
    let small = "[journal]\nbytes_max = \"16MiB\"\n";
    vec![
        Scene {
            has_status: false,
            ..scene("lag", "[journal]\nlag_max = 8\n", hold_learner, let_go)
        },
        scene("write_queue", small, hold_writer, let_go),
    ]
}

/// Scenes of bounds that waiting, counting or remembering for a time reaches.
fn of_time() -> Vec<Scene> {
    let backfill = format!("{BRIEF}backfill_bytes_max = \"1MiB\"\n");
    let jump = |stage: &Stage| stage.now.lock().unwrap().wall.0 += 3 * 24 * 3600 * SECOND_US;
    let jump_back = |stage: &Stage| stage.now.lock().unwrap().wall.0 -= 3 * 24 * 3600 * SECOND_US;
    let backfilled = |stage: &Stage| {
        stage.send((0..24_000).map(|n| Feedback {
            tags: [(BACKFILL_TAG.to_owned(), "may".to_owned())].into(),
            ..event(n, 10)
        }));
    };
    let teach = |stage: &Stage| {
        for n in 0..8 {
            let id = stage.predict(10).unwrap();
            stage.send([label(id, &format!("row {n}"), "a")].into_iter());
        }
        stage.model().retain_now().unwrap();
    };
    // One label again and again, where another source sends another one.
    let flood = |stage: &Stage| {
        for n in 0..16 {
            let (source, name) = if n < 6 { ("other", "b") } else { ("test", "a") };
            let id = stage.predict(10).unwrap();
            let event = Feedback {
                source: source.to_owned(),
                ..label(id, &format!("row {n}"), name)
            };
            stage.send([event].into_iter());
        }
        stage.model().retain_now().unwrap();
    };
    let wait_for_feedback = |stage: &Stage| {
        (0..4).for_each(|_| assert!(stage.predict(10).is_some()));
        stage.model().retain_now().unwrap();
    };
    let expire = |stage: &Stage| {
        stage.pass(10 * SECOND_US);
        stage.predict(10);
        stage.model().retain_now().unwrap();
    };
    let discard = |stage: &Stage| {
        let source = Selector::Source("test".to_owned()).hashed();
        stage.order(Order::Discard(source), "").unwrap();
    };
    let passes = Stage::pass_until_ample as fn(&Stage);
    let waiting = format!("{BRIEF}[feedback]\nwaiting_max = 4\n");
    let budget = "[sources]\nbudget = 6\nper = 24\nwithin = \"10s\"\nvouched = [\"lab\"]\n";
    let quarantine = "[quarantine]\nflood = 5\nwaiting_max = 1\n";
    vec![
        scene("backfill_ids", &backfill, backfilled, passes),
        scene("waiting_predictions", &waiting, wait_for_feedback, expire),
        scene("clock", "", jump, jump_back),
        scene("source_budget", budget, teach, passes),
        scene("quarantine", quarantine, flood, discard),
    ]
}

/// The lines about bounds, of all threads.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if String::from_utf8_lossy(bytes).contains(" a bound ") {
            self.0.lock().unwrap().extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The writer of a model looks at its bounds as well, so that the log is that of the process.
    fn of_the_process() -> &'static Log {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Log::default();
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::INFO)
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::set_global_default(subscriber).expect("no other test sets one");
            log
        })
    }

    /// How many lines about a bound of the model that is named after it have these words.
    fn count(&self, bound: &str, words: &str) -> usize {
        let log = self.0.lock().unwrap();
        let log = String::from_utf8_lossy(&log);
        let names = [format!("model=\"{bound}\""), format!("bound=\"{bound}\"")];
        let is_meant =
            |line: &&str| line.contains(words) && names.iter().all(|one| line.contains(one));
        log.lines().filter(is_meant).count()
    }
}

async fn check(scene: &Scene) {
    let (log, name) = (Log::of_the_process(), scene.bound);
    let mut stage = Stage::new(scene).await;
    assert_eq!(stage.bound().level, Level::Ample, "{name}");
    // A task has a budget of replies, which a thread that waits for them has not.
    block_in_place(|| (scene.drive)(&stage));
    for _ in 0..4 {
        stage.model().check_bounds_now().unwrap();
    }
    let bound = stage.bound();
    assert!(
        bound.level > Level::Ample && !bound.advice.is_empty(),
        "{bound:?}"
    );
    let level = bound.level.word();
    let near = log.count(name, "level=\"near\"");
    let reached = log.count(name, "level=\"reached\"");
    assert!(
        near <= 1 && reached <= 1 && near + reached > 0,
        "{name}: {near}, {reached}"
    );
    let health = stage.served.get("/v2/health/ready");
    let line = format!("{name}: {name} is {level}: {}", bound.advice);
    assert!(health.contains(&line), "{line}: {health}");
    if scene.has_status {
        let page = stage.served.get("/metrics");
        let line = format!("perennial_bound_level{{model=\"{name}\",bound=\"{name}\"}} ");
        let shown = page.lines().find_map(|one| one.strip_prefix(&line));
        assert!(matches!(shown, Some("1" | "2")), "{name}: {shown:?}");
        let status = stage.served.client.status(name).await;
        let shown = status.bounds.iter().find(|one| one.name == name).unwrap();
        assert_eq!(
            (shown.level.as_str(), &shown.advice),
            (level, &bound.advice)
        );
    }
    block_in_place(|| (scene.relax)(&stage));
    until(|| {
        stage.model().check_bounds_now().unwrap();
        (stage.bound().level == Level::Ample).then_some(())
    });
    stage.model().check_bounds_now().unwrap();
    assert_eq!(log.count(name, "ample room again"), 1, "{name}");
    stage.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_every_bound_is_said_once_and_shown_until_there_is_room() {
    let scenes = of_room().into_iter().chain(of_pace()).chain(of_time());
    let mut names = Vec::new();
    for scene in scenes {
        println!("{}", scene.bound);
        check(&scene).await;
        names.push(scene.bound);
    }
    names.sort_unstable();
    let workspace = Workspace::new(&[("m", AUTO)]);
    let engine = workspace.open();
    let all = engine.model("m").unwrap().bounds().into_iter();
    let mut all: Vec<&str> = all.map(|bound| bound.name).collect();
    all.sort_unstable();
    assert_eq!(names, all, "each bound has a scene");
}
