//! Shortages that pass: descriptors, and room for another file.
//!
//! Invariant: predictions go on, feedback is refused with a retry delay, nothing that was taken is lost, and
//! once there is some again all is well without a restart.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use perennial::engine::{Acknowledgement, Engine, Error, PredictOptions, Readiness, ServedModel};
use perennial::event::{Batch, Column, Command as Asked, Order, PredictionId};
use perennial::proto::inference::ModelInferResponse;
use perennial::proto::perennial::v1::{FeedbackReply, FeedbackRequest, feedback_reply};
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};
use tonic::{Code, Status};

use crate::damage::case::check_sentence;
use crate::support::server::{Client, Server, WAIT_MAX, run, text};
use crate::support::{AUTO, Workspace, digest, label, question, rows, syncing_nothing, wait};

/// Segments of a megabyte.
const SMALL: &str = "[journal]\nbytes_max = \"16MiB\"\n";
/// Fifty of these do not fit into two of them.
const N_LARGE: usize = 50;

fn workspace() -> Workspace {
    Workspace::new(&[("m", &format!("{AUTO}{SMALL}"))])
}

/// A row of 50 kB.
fn large() -> Batch {
    let (mut batch, _) = rows(1, 0.0).next().unwrap();
    batch.columns[2] = Column::Strings(vec!["c".repeat(50_000)]);
    batch
}

/// Asks until there is an answer; what never gets one has stopped.
pub(super) fn until<T>(ask: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < WAIT_MAX, "it does not come to that");
        std::thread::yield_now();
    }
}

fn predict(model: &ServedModel) -> Option<PredictionId> {
    let snapshot = model.snapshot("").unwrap();
    let answer = wait(model.predict(&snapshot, large(), PredictOptions::default()));
    answer.unwrap().ids.first().copied()
}

async fn feed(model: &ServedModel, id: PredictionId) -> Result<u64, Error> {
    let receipt = model.accept(label(id, &format!("of {}", id.0), "a"))?;
    match receipt.wait().await? {
        Acknowledgement::Accepted { position } => Ok(position),
        other => panic!("each is fed once: {other:?}"),
    }
}

/// A disk on which no segment can be made while the switch is on.
fn refusing(code: i32) -> (Arc<AtomicBool>, Disk) {
    let refuses = Arc::new(AtomicBool::new(false));
    let switch = refuses.clone();
    let disk = Disk::watched(move |change| match change {
        DiskChange::Create(path)
            if switch.load(Relaxed) && path.extension().is_some_and(is_seg) =>
        {
            Err(std::io::Error::from_raw_os_error(code))
        }
        DiskChange::Sync(_) | DiskChange::SyncFolder(_) => Ok(ChangeOutcome::Pretend),
        _ => Ok(ChangeOutcome::Make),
    });
    (refuses, disk)
}

fn is_seg(end: &std::ffi::OsStr) -> bool {
    end == "seg"
}

fn applied(model: &ServedModel) -> u64 {
    model.status(false).fates["applied"]
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_journal_without_a_next_segment_waits_and_goes_on() {
    for code in [libc::EMFILE, libc::ENOSPC] {
        let workspace = workspace();
        let (refuses, disk) = refusing(code);
        let engine = workspace.open_on(disk);
        let model = engine.model("m").unwrap();
        let mut ids = vec![predict(model).unwrap()];
        refuses.store(true, Relaxed);
        while let Some(id) = predict(model) {
            ids.push(id);
            assert!(ids.len() < 10_000, "predictions come to be without an id");
        }
        // Feedback and orders are refused with a hint, and nothing is taken for damage.
        let refused = feed(model, ids[0]).await.unwrap_err();
        assert!(matches!(refused, Error::Full { .. }), "{refused}");
        let why = std::io::Error::from_raw_os_error(code).to_string();
        let words = [
            ".seg: cannot make this segment now",
            &why,
            "takes no more now",
        ];
        check_sentence(&refused.to_string(), &words);
        let order = Asked {
            order: Order::Checkpoint,
            actor: String::new(),
            note: String::new(),
        };
        let refused = model.command(order).await.unwrap_err();
        assert!(matches!(refused, Error::Full { .. }), "{refused}");
        assert_eq!(model.status(false).state, Readiness::Ready);
        assert_eq!(predict(model), None);
        // There is some again: every prediction that has an id takes its feedback.
        refuses.store(false, Relaxed);
        ids.push(until(|| predict(model)));
        let mut last = 0;
        for id in &ids {
            last = feed(model, *id).await.unwrap();
        }
        model.wait_for_position(last).await.unwrap();
        assert_eq!(applied(model), ids.len() as u64, "{code}");
        goes_on_after_a_restart(&workspace, engine, ids.len());
    }
}

fn goes_on_after_a_restart(workspace: &Workspace, engine: Arc<Engine>, n_applied: usize) {
    let learned = digest(engine.model("m").unwrap());
    engine.close();
    drop(engine);
    run(&["verify", "--data", text(&workspace.data())], 0);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").unwrap();
    assert_eq!(digest(model), learned);
    assert_eq!(applied(model), n_applied as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_server_that_stops_without_a_next_segment_loses_nothing_acknowledged() {
    let workspace = workspace();
    let (refuses, disk) = refusing(libc::ENOSPC);
    let engine = workspace.open_on(disk);
    let model = engine.model("m").unwrap();
    let mut ids = vec![predict(model).unwrap()];
    let last = feed(model, ids[0]).await.unwrap();
    refuses.store(true, Relaxed);
    while let Some(id) = predict(model) {
        ids.push(id);
        assert!(ids.len() < 10_000, "predictions come to be without an id");
    }
    model.wait_for_position(last).await.unwrap();
    goes_on_after_a_restart(&workspace, engine, 1);
}

/// The limit of descriptors of another process, and its value before.
fn limit(process: u32, soft: Option<u64>) -> libc::rlimit {
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let set = |new: *const libc::rlimit, old: *mut libc::rlimit| {
        // SAFETY: both pointers are null or to live values.
        let done = unsafe { libc::prlimit(process as i32, libc::RLIMIT_NOFILE, new, old) };
        assert_eq!(done, 0, "the process is ours");
    };
    set(std::ptr::null(), &mut before);
    if let Some(soft) = soft {
        let new = libc::rlimit {
            rlim_cur: soft,
            ..before
        };
        set(&new, std::ptr::null_mut());
    }
    before
}

/// A server that begins with these limits.
fn start(workspace: &Workspace, soft: u64, hard: u64) -> Server {
    let set = move || {
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: the pointer is to a live value.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    Server::start_with(&workspace.models(), &workspace.data(), |command| {
        // SAFETY: it makes one system call, and allocates nothing.
        unsafe { command.pre_exec(set) };
    })
}

/// The id of the only row, if it has one.
fn id(response: &ModelInferResponse) -> Option<String> {
    let mut names = response.outputs.iter().map(|output| &*output.name);
    let place = names.position(|name| name == "prediction_id").unwrap();
    let id = String::from_utf8(response.raw_output_contents[place][4..].to_vec()).unwrap();
    (!id.is_empty()).then_some(id)
}

async fn submit(client: &mut Client, id: &str) -> Result<FeedbackReply, Status> {
    let request = FeedbackRequest {
        model: "m".to_owned(),
        feedback_id: format!("of {id}"),
        prediction_id: Some(id.to_owned()),
        label: Some("a".to_owned()),
        ..FeedbackRequest::default()
    };
    let reply = client.learning.submit_feedback(request).await;
    reply.map(tonic::Response::into_inner)
}

/// All of these are taken; the last position.
async fn submit_all(client: &mut Client, ids: &[String]) -> u64 {
    let mut last = 0;
    for id in ids {
        let reply = submit(client, id).await.unwrap();
        assert_eq!(reply.status(), feedback_reply::Status::Accepted);
        last = reply.position;
    }
    last
}

/// How long a process has computed.
fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_server_without_descriptors_goes_on_once_it_has_some() {
    let workspace = workspace();
    let server = Server::of(&workspace);
    let process = server.child.id();
    let mut client = Client::connect(&server.address).await;
    let mut ids = vec![id(&client.predict(question("m", &large())).await).unwrap()];
    // Fewer than it has open: whatever is to be opened is refused.
    let before = limit(process, Some(4));
    for n in 0.. {
        match id(&client.predict(question("m", &large())).await) {
            Some(id) => ids.push(id),
            None => break,
        }
        assert!(n < 10_000, "predictions come to be without an id");
    }
    let refused = submit(&mut client, &ids[0]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
    assert!(
        refused.message().contains("cannot make this segment now"),
        "{refused}"
    );
    // Connections that wait to be accepted do not keep it busy.
    let waiting: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(&server.address))
        .collect();
    let spent = cpu(process);
    let second = tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>());
    second.await.unwrap_err();
    let spent = cpu(process) - spent;
    assert!(spent < Duration::from_millis(400), "{spent:?}");
    limit(process, Some(before.rlim_cur));
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < WAIT_MAX, "it does not go on");
        if let Some(id) = id(&client.predict(question("m", &large())).await) {
            break ids.push(id);
        }
    }
    submit_all(&mut client, &ids).await;
    drop(waiting);
    let status = server.status("m").await;
    assert_eq!(status.fates["applied"], ids.len() as u64, "{status:?}");
    server.stop();
    run(&["verify", "--data", text(&workspace.data())], 0);
    let again = Server::of(&workspace).status("m").await;
    assert_eq!(again.digest, status.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_learning_waits_for_a_descriptor_to_look_something_up_with_and_goes_on() {
    for stops in [false, true] {
        let workspace = workspace();
        let server = Server::of(&workspace);
        let mut client = Client::connect(&server.address).await;
        let mut ids = Vec::new();
        for _ in 0..N_LARGE {
            ids.push(id(&client.predict(question("m", &large())).await).unwrap());
        }
        server.stop();
        // The learner's reader has the last segment open, and no other one.
        let server = Server::of(&workspace);
        let process = server.child.id();
        let mut client = Client::connect(&server.address).await;
        // It has accepted the connection once it answers.
        let (small, _) = rows(1, 0.0).next().unwrap();
        ids.push(id(&client.predict(question("m", &small)).await).unwrap());
        let before = limit(process, Some(4));
        submit_all(&mut client, &ids[..1]).await;
        let started = Instant::now();
        let status = loop {
            let status = client.status("m", false).await;
            let mut bounds = status.bounds.iter();
            let bound = bounds.find(|bound| bound.name == "descriptors").unwrap();
            if bound.level == "reached" {
                assert!(bound.advice.contains("raise the limit"), "{bound:?}");
                break status;
            }
            assert!(started.elapsed() < WAIT_MAX, "it is short of descriptors");
        };
        assert_eq!(status.state, "READY", "{status:?}");
        ids.push(id(&client.predict(question("m", &small)).await).unwrap());
        submit_all(&mut client, &ids[1..2]).await;
        let server = if stops {
            server.stop();
            Server::of(&workspace)
        } else {
            server
        };
        if !stops {
            limit(process, Some(before.rlim_cur));
        }
        let mut client = Client::connect(&server.address).await;
        submit_all(&mut client, &ids[2..]).await;
        let status = server.status("m").await;
        assert_eq!(status.state, "READY", "{status:?}");
        assert_eq!(status.fates["applied"], ids.len() as u64, "{status:?}");
        server.stop();
        run(&["verify", "--data", text(&workspace.data())], 0);
        let again = Server::of(&workspace).status("m").await;
        assert_eq!(again.digest, status.digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_silent_connections_leave_descriptors_to_files() {
    let workspace = workspace();
    let server = start(&workspace, 256, 256);
    let mut client = Client::connect(&server.address).await;
    let silent: Vec<TcpStream> = (0..368)
        .map(|_| TcpStream::connect(&server.address).expect("it is listening"))
        .collect();
    // 128 are left to files, so that of those which came last all were closed.
    for mut closed in &silent[150..] {
        closed.set_read_timeout(Some(WAIT_MAX)).unwrap();
        match closed.read(&mut [0]) {
            Ok(n) => assert_eq!(n, 0, "nothing was asked"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    let mut ids = Vec::new();
    for _ in 0..N_LARGE {
        let answer = client.predict(question("m", &large())).await;
        ids.push(id(&answer).expect("it is journaled"));
    }
    submit_all(&mut client, &ids).await;
    let segments = std::fs::read_dir(workspace.data().join("m/journal")).unwrap();
    assert!(segments.count() > 2, "it has gone on to other segments");
    drop(silent);
    let started = Instant::now();
    while TcpStream::connect(&server.address)
        .and_then(is_kept)
        .is_err()
    {
        assert!(started.elapsed() < WAIT_MAX, "places become free");
    }
    let page = server.metrics();
    let metric = "perennial_refused_connections_total{reason=\"descriptors\"} ";
    let refused = page.lines().find_map(|line| line.strip_prefix(metric));
    assert!(refused.unwrap().parse::<u64>().unwrap() >= 218, "{page}");
    server.stop();
}

/// Whether a connection is still open once it has sent the preface of HTTP/2.
fn is_kept(mut connection: TcpStream) -> std::io::Result<()> {
    use std::io::Write;
    connection.set_read_timeout(Some(WAIT_MAX))?;
    connection
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")?;
    connection.read_exact(&mut [0; 9])
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_server_takes_the_descriptors_that_it_may_have_and_memory_in_small_pages() {
    let workspace = workspace();
    let server = start(&workspace, 64, 4096);
    let process = server.child.id();
    assert_eq!(limit(process, None).rlim_cur, 4096);
    let proc = |file: &str| {
        let path = format!("/proc/{process}/{file}");
        std::fs::read_to_string(Path::new(&path)).unwrap()
    };
    let status = proc("status");
    assert!(status.contains("THP_enabled:\t0\n"), "{status}");
    let pages = proc("smaps_rollup");
    let huge = pages
        .lines()
        .find(|line| line.starts_with("AnonHugePages:"));
    let huge = huge.and_then(|line| line.split_whitespace().nth(1));
    assert_eq!(huge, Some("0"), "{pages}");
    server.stop();
}
