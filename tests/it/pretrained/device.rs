//! Networks that a device computes, answers and updates alike: on a GPU where one answers, and by
//! the same steps on the processor everywhere.

use std::sync::Arc;

use perennial::engine::{Engine, Offline, PredictOptions, ServedModel};
use perennial::event::{Batch, Event, Order, Outputs, PredictionId, Signal};
use perennial::learn::Error;
use perennial::model::{Choice, Device, Encoded, Network, Parameters};
use perennial::store::{self, Directory, Journal};

use crate::support::passed_over::pass_over;
use crate::support::{
    LearnerHarness, Workspace, digest, gradient, label, order, rows, syncing_nothing, teach_rows,
    wait,
};

/// The devices that answer here.
fn devices() -> Vec<Device> {
    let there = |device: &Device| match device.check() {
        Ok(()) => true,
        Err(why) => {
            pass_over(&why.to_string());
            false
        }
    };
    let all = [Device::Candle, Device::Cuda(0)];
    all.into_iter().filter(there).collect()
}

fn on(toml: &str, device: Device) -> String {
    format!("{toml}[backend]\ndevice = \"{device}\"\n")
}

/// A network on a device answers as the processor does, and each row as if it were alone.
#[test]
fn a_network_answers_alike_on_every_device() {
    let mut parameters = Parameters::new(&[5, 64, 32, 7], 16, 3);
    let mut wave = (0..).map(|index| (index as f32 * 0.7).sin());
    let last = &mut parameters.layers[2].weight;
    last.fill_with(|| wave.next().expect("it has no end"));
    parameters.sparse.row_mut(3).fill(0.25);
    let row = |index: usize| Encoded {
        dense: (0..5)
            .map(|i| ((index * 5 + i) as f32 * 0.3).cos())
            .collect(),
        sparse: vec![(3, 1.0)],
        past: None,
    };
    let rows: Vec<Encoded> = (0..4096).map(row).collect();
    let expected = Network::new(&parameters).forward(&rows).unwrap();
    for device in devices() {
        let network = Network::on(&parameters, device);
        let answer = |rows: &[Encoded]| network.forward(rows).unwrap();
        let found = answer(&rows);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
        assert_eq!(answer(&rows), found, "the same each time");
        for (first, n_rows) in [(0, 1), (255, 2), (300, 256), (4000, 96)] {
            let some = answer(&rows[first..first + n_rows]);
            assert_eq!(some, found[first * 7..(first + n_rows) * 7]);
        }
    }
}

/// The answers of a learner that was taught on this device.
fn taught(toml: &str, device: Device) -> (Vec<f32>, blake3::Hash) {
    let mut harness = LearnerHarness::new(&on(toml, device));
    for (batch, truth) in rows(300, 0.0) {
        let id = harness.predict(batch).ids[0];
        harness.submit(id, Signal::Label(truth.to_owned()));
    }
    let model = harness.learner.model();
    let answers =
        rows(40, 0.3).flat_map(
            |(batch, _)| match model.predict(&batch, Choice::Best).unwrap() {
                Outputs::Probabilities(shares) => shares,
                other => panic!("{other:?}"),
            },
        );
    (answers.collect(), harness.learner.learned().digest())
}

#[test]
fn a_device_learns_what_the_processor_learns_and_the_same_bits_each_time() {
    for strategy in ["none", "er", "er-ace", "der++", "cls-er"] {
        let toml = gradient("adamw", "16, 8", strategy);
        let (expected, _) = taught(&toml, Device::Cpu);
        for device in devices() {
            let (found, digest) = taught(&toml, device);
            for (found, expected) in found.iter().zip(&expected) {
                let error = (found - expected).abs();
                assert!(error < 0.02, "{device} {strategy}: {found} {expected}");
            }
            assert_eq!(
                taught(&toml, device),
                (found, digest),
                "{device} {strategy}"
            );
        }
    }
}

/// Journaled answers of as many callers at once.
fn ask(engine: &Arc<Engine>, n_callers: usize) -> Vec<(PredictionId, Batch, Outputs)> {
    let callers = (0..n_callers).map(|caller| {
        let engine = engine.clone();
        std::thread::spawn(move || {
            let model = engine.model("m").unwrap();
            let ask = |(batch, _): (Batch, _)| {
                let snapshot = model.snapshot("").unwrap();
                assert!(snapshot.model.elsewhere().is_some());
                let answer =
                    wait(model.predict(&snapshot, batch.clone(), PredictOptions::default()));
                let answer = answer.unwrap();
                (answer.ids[0], batch, answer.outputs)
            };
            rows(20, caller as f64).map(ask).collect::<Vec<_>>()
        })
    });
    let callers: Vec<_> = callers.collect();
    let answers = callers
        .into_iter()
        .flat_map(|caller| caller.join().unwrap());
    answers.collect()
}

async fn teach_and_save(model: &ServedModel, prefix: &str) -> (blake3::Hash, u64) {
    teach_rows(model, 40, 0.0, prefix).await;
    let made = order(model, Order::Checkpoint).await;
    (digest(model), made.version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_answers_callers_together_while_it_learns_and_can_give_each_answer_again() {
    for device in devices() {
        let toml = on(&gradient("adamw", "16", "er"), device);
        let workspace = Workspace::new(&[("m", &toml)]);
        let engine = workspace.open();
        let asking = engine.clone();
        let asking = tokio::task::spawn_blocking(move || ask(&asking, 8));
        let (learned, _) = teach_and_save(engine.model("m").unwrap(), "t").await;
        let answers = asking.await.unwrap();
        assert_eq!(answers.len(), 160);
        for (id, batch, outputs) in answers.iter().step_by(17) {
            let audit = engine.audit(*id, None).unwrap().unwrap();
            assert_eq!(&audit.answer, outputs, "{device} {batch:?}");
            assert!(audit.bit_equal(), "{device} {audit:?}");
        }
        engine.close();
        drop(engine);
        // The journal alone leads to the same.
        std::fs::remove_dir_all(workspace.data().join("m/checkpoints")).unwrap();
        let engine = workspace.open();
        assert_eq!(digest(engine.model("m").unwrap()), learned, "{device}");
        engine.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_moves_between_devices() {
    for device in devices() {
        let toml = gradient("adamw", "16", "der++");
        let workspace = Workspace::new(&[("m", &on(&toml, Device::Cpu))]);
        let mut versions = Vec::new();
        for (index, device) in [Device::Cpu, device, Device::Cpu].into_iter().enumerate() {
            workspace.describe("m", &on(&toml, device));
            let engine = workspace.open();
            let model = engine.model("m").unwrap();
            if let Some((digest_before, version)) = versions.last() {
                assert_eq!(digest(model), *digest_before, "as it was left");
                assert_eq!(model.snapshot("").unwrap().version, *version);
            }
            versions.push(teach_and_save(model, &format!("{index}")).await);
            for (learned, version) in &versions {
                order(model, Order::Restore { version: *version }).await;
                assert_eq!(&digest(model), learned, "{device}: version {version}");
            }
            let made = order(model, Order::Checkpoint).await;
            versions.last_mut().unwrap().1 = made.version;
            engine.close();
        }
        let mut learned: Vec<_> = versions.iter().map(|(digest, _)| digest).collect();
        learned.dedup();
        assert_eq!(learned.len(), 3, "each of them has learned");
    }
}

#[test]
fn p9_learning_on_a_device_that_is_not_there_stops_with_a_sentence() {
    let mut harness = LearnerHarness::new(&on(&gradient("sgd", "4", "er"), Device::Cuda(63)));
    let (batch, truth) = rows(1, 0.0).next().unwrap();
    let elsewhere = on(&gradient("sgd", "4", "er"), Device::Cpu);
    let prediction = LearnerHarness::new(&elsewhere).predict(batch);
    let id = prediction.ids[0];
    assert!(
        harness
            .learner
            .model()
            .predict(&prediction.batch, Choice::Best)
            .is_err()
    );
    harness.append(Event::Prediction(prediction));
    let entry = harness.next(Event::Feedback(label(id, "f", truth)));
    let position = entry.position;
    let error = harness.try_apply(entry).unwrap_err();
    assert!(matches!(error, Error::Device { position: at, .. } if at == position));
    let error = error.to_string();
    let expected = format!("entry {position}: device cuda:63 is not ");
    assert!(
        error.starts_with(&expected) && !error.contains('\n'),
        "{error}"
    );
}

/// The end of a journal was learned on a device that is gone since: another one learns it.
#[test]
fn a_model_leaves_a_device_that_is_gone() {
    let toml = gradient("adamw", "16", "er");
    let mut harness = LearnerHarness::new(&on(&toml, Device::Cpu));
    for (batch, truth) in rows(60, 0.0) {
        let id = harness.predict(batch).ids[0];
        harness.submit(id, Signal::Label(truth.to_owned()));
    }
    let workspace = Workspace::new(&[("m", &on(&toml, Device::Cpu))]);
    let directory = Directory::open(&workspace.data()).unwrap();
    let config = store::Config {
        disk: syncing_nothing(),
        ..store::Config::default()
    };
    let (mut journal, _) = Journal::create_or_open(&directory.journal("m"), 0, config).unwrap();
    for mut entry in harness.journal.clone() {
        if let Event::Description(description) = &mut entry.event {
            let gone = description
                .toml
                .replace("device = \"cpu\"", "device = \"cuda:63\"");
            assert_ne!(gone, description.toml);
            description.toml = gone;
        }
        journal.append(entry.time, &entry.event).unwrap();
    }
    journal.close().unwrap();
    drop(directory);
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let mut replay = offline.replay(None).unwrap();
    let error = replay.advance(u64::MAX).unwrap_err().to_string();
    assert!(error.contains("device cuda:63 is not "), "{error}");
    drop((replay, offline));
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    assert_eq!(digest(model), harness.learner.learned().digest());
    engine.close();
}
