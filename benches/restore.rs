//! The time of a restore where the machine is busy: on one core that two other processes of the same
//! niceness never leave.
//!
//! Invariant: everything, this program included, is bound to one core; every restore is followed by
//! answers until one comes from it.
//!
//! `cargo bench --bench restore`, or fewer: `cargo bench --bench restore -- 5`. Linux only.

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::model_infer_request::InferInputTensor;
use perennial::proto::perennial::v1::{CheckpointRequest, RestoreRequest};
use perennial::proto::perennial::v1::{FeedbackRequest, RetractRequest};
use support::Workspace;

use crate::support::server::{Client, Server};

const N_RESTORES: usize = 20;
const N_BUSY: usize = 2;
/// The limit of each of them, in effect and until it is answered.
const LIMIT: Duration = Duration::from_secs(1);
/// Between two answers: to ask without a pause would be one more busy process.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LENGTH: usize = 784;
/// 4.8 million weights, 19 MB.
const DESCRIPTION: &str = "task = 'classification'\nclasses = ['a', 'b']\n\
    [[input]]\nname = 'x'\nkind = 'vector'\nlength = 784\n\
    [network]\nkind = 'mlp'\nhidden = [2048, 1536]\n\
    [learner]\nkind = 'gradient'\noptimizer = 'sgd'\nlearning_rate = 0.01\n\
    [memory]\nstrategy = 'none'\n";

fn main() -> anyhow::Result<()> {
    if std::env::args().any(|argument| argument == "--busy") {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        loop {
            std::hint::spin_loop();
        }
    }
    let n_restores = std::env::args().find_map(|argument| argument.parse().ok());
    bind_to_one_core()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(n_restores.unwrap_or(N_RESTORES)))
}

async fn measure(n_restores: usize) -> anyhow::Result<()> {
    println!("cargo bench --bench restore -- {n_restores}");
    println!("19 MB of weights, one core, {N_BUSY} busy processes beside\n");
    let workspace = Workspace::new(&[("m", DESCRIPTION)]);
    let server = Server::of(&workspace);
    let mut client = Client::connect(&server.address).await;
    let mut last = 0;
    for index in 0..4 {
        last = teach(&mut client, index).await?;
    }
    client.reach(question(), last).await;
    let request = CheckpointRequest {
        model: "m".to_owned(),
        ..Default::default()
    };
    let made = client.registry.checkpoint(request).await?.into_inner();
    let (mut effects, mut returns) = (Vec::new(), Vec::new());
    let busy: Vec<Busy> = (0..N_BUSY)
        .map(|_| Busy::start())
        .collect::<Result<_, _>>()?;
    for index in 0..n_restores {
        teach(&mut client, 100 + index).await?;
        let restoring = Client::connect(&server.address).await;
        let (effect, returned) = restore(&mut client, restoring, made.version).await?;
        effects.push(effect);
        returns.push(returned);
    }
    print_table([("effect", effects), ("return", returns)])?;
    retract(&mut client).await?;
    drop(busy);
    server.stop();
    Ok(())
}

/// Restores a version; the times until its answers are served, and until the call returns.
async fn restore(
    client: &mut Client,
    mut restoring: Client,
    version: u64,
) -> anyhow::Result<(Duration, Duration)> {
    let before = client.status("m", false).await.version.to_string();
    let started = Instant::now();
    let restore = async move {
        let request = RestoreRequest {
            model: "m".to_owned(),
            version,
            ..Default::default()
        };
        restoring.registry.restore(request).await?;
        anyhow::Ok(started.elapsed())
    };
    let effect = async {
        while client.predict(question()).await.model_version == before {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        started.elapsed()
    };
    let (returned, effect) = tokio::join!(restore, effect);
    Ok((effect, returned?))
}

fn print_table(rows: [(&str, Vec<Duration>); 2]) -> anyhow::Result<()> {
    println!(
        "{:>8} {:>10} {:>10} {:>10}",
        "", "median", "most", "over 1 s"
    );
    for (name, mut took) in rows {
        took.sort_unstable();
        let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
        let n_over = took.iter().filter(|took| **took > LIMIT).count();
        println!("{name:>8} {median:>10.2?} {most:>10.2?} {n_over:>10}");
        ensure!(
            n_over == 0,
            "{name}: {n_over} restores took longer than {LIMIT:?}"
        );
    }
    Ok(())
}

/// Retracts one label, and prints the time of it.
async fn retract(client: &mut Client) -> anyhow::Result<()> {
    let started = Instant::now();
    let retract = RetractRequest {
        model: "m".to_owned(),
        feedback_id: Some("row-2".to_owned()),
        ..Default::default()
    };
    let done = client.registry.retract(retract).await?.into_inner();
    println!(
        "\na retraction of one label, {} entries applied again: {:.2?}",
        done.entries,
        started.elapsed()
    );
    Ok(())
}

/// Feeds one row back; where its label stands.
async fn teach(client: &mut Client, index: usize) -> anyhow::Result<u64> {
    let id = client.predict(question()).await.raw_output_contents.pop();
    let id = id.context("an id")?.slice(4..).to_vec();
    let event = FeedbackRequest {
        model: "m".to_owned(),
        feedback_id: format!("row-{index}"),
        prediction_id: Some(String::from_utf8(id)?),
        label: Some(["a", "b"][index % 2].to_owned()),
        ..Default::default()
    };
    Ok(client
        .learning
        .submit_feedback(event)
        .await?
        .into_inner()
        .position)
}

fn question() -> ModelInferRequest {
    let values = (0..LENGTH).map(|index| index as f32 / LENGTH as f32);
    let values: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    ModelInferRequest {
        model_name: "m".to_owned(),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, LENGTH as i64],
            ..Default::default()
        }],
        raw_input_contents: vec![values.into()],
        ..Default::default()
    }
}

/// A process that never leaves its core, as long as this lives.
struct Busy(Child);

impl Busy {
    fn start() -> anyhow::Result<Busy> {
        let program = std::env::current_exe()?;
        let child = Command::new(program)
            .arg("--busy")
            .stdin(Stdio::piped())
            .spawn();
        Ok(Busy(child?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// This process, and all that it starts.
fn bind_to_one_core() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the set is a live value of its own size, and the first core is in it.
        let bound = unsafe {
            let mut cores: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(0, &mut cores);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cores)
        };
        ensure!(bound == 0, "{}", std::io::Error::last_os_error());
        Ok(())
    }
    #[cfg(not(target_os = "linux"))]
    anyhow::bail!("one core can be taken on Linux only")
}
