//! Models that are larger than one from scratch: weights of a file, as PyTorch would have exported
//! them, texts and vectors through a pretrained encoder, and networks on a device.

mod adapters;
mod device;
mod encoder;
pub(crate) mod onnx;
mod operators;
mod sentence;
mod special;
mod together;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{AUTO, Workspace, digest, order, syncing_nothing, teach, wait};
use bytes::Bytes;
use perennial::engine::{Config, Engine, Offline, PredictOptions};
use perennial::event::{Batch, Column, Order, Outputs};
use safetensors::tensor::{Dtype, TensorView};

const TOML: &str = "task = \"classification\"\nclasses = [\"no\", \"yes\"]\n\
    [[input]]\nname = \"v\"\nkind = \"vector\"\nlength = 3\n\
    [network]\nkind = \"mlp\"\nhidden = [4]\nweights = \"net.safetensors\"\n\
    [learner]\nkind = \"gradient\"\n";

/// A tensor as a file holds it.
type Part = (&'static str, Dtype, Vec<usize>, Vec<u8>);

fn f32s(name: &'static str, shape: &[usize], values: impl Fn(usize) -> f32) -> Part {
    let n_values = shape.iter().product();
    let bytes = (0..n_values).flat_map(|index| values(index).to_le_bytes());
    (name, Dtype::F32, shape.to_vec(), bytes.collect())
}

/// The `state_dict` of `nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))`.
fn state() -> Vec<Part> {
    let wave = |index: usize| (index as f32 * 0.7).sin();
    vec![
        f32s("0.weight", &[4, 3], wave),
        f32s("0.bias", &[4], |index| 0.1 * wave(index + 3)),
        f32s("2.weight", &[2, 4], |index| 2.0 * wave(index + 5)),
        f32s("2.bias", &[2], |index| wave(index + 7)),
    ]
}

fn write(path: &Path, parts: &[Part]) {
    let views = parts.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).expect("as many bytes");
        (*name, view)
    });
    let bytes = safetensors::serialize(views, None).expect("a file");
    fs::write(path, bytes).expect("it is written");
}

fn values(part: &Part) -> Vec<f32> {
    let floats = part.3.chunks_exact(4);
    floats
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect()
}

/// The outputs of the network of these parts for a row, written out.
fn forward(parts: &[Part], x: [f32; 3]) -> [f32; 2] {
    let layer = |x: &[f32], weight: &Part, bias: &Part| -> Vec<f32> {
        let rows = values(weight);
        let rows = rows.chunks_exact(x.len()).zip(values(bias));
        rows.map(|(w, b)| b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>())
            .collect()
    };
    let hidden = layer(&x, &parts[0], &parts[1])
        .into_iter()
        .map(|z| z.max(0.0));
    let outputs = layer(&hidden.collect::<Vec<_>>(), &parts[2], &parts[3]);
    let total: f32 = outputs.iter().map(|z| z.exp()).sum();
    [0, 1].map(|index| outputs[index].exp() / total)
}

fn row(x: [f32; 3]) -> Batch {
    let bytes = x.iter().flat_map(|x| x.to_le_bytes());
    let columns = vec![Column::Vectors(Bytes::from(bytes.collect::<Vec<u8>>()))];
    Batch { n_rows: 1, columns }
}

fn outputs(engine: &Engine, x: [f32; 3]) -> Vec<f32> {
    let model = engine.model("net").unwrap();
    let snapshot = model.snapshot("").unwrap();
    let options = PredictOptions {
        journal: false,
        explore: false,
        ..PredictOptions::default()
    };
    match wait(model.predict(&snapshot, row(x), options))
        .unwrap()
        .outputs
    {
        Outputs::Probabilities(shares) => shares,
        other => panic!("{other:?}"),
    }
}

/// The house of a model that arrives with these weights.
fn workspace(toml: &str, parts: &[Part]) -> Workspace {
    let workspace = Workspace::new(&[("net", toml), ("other", AUTO)]);
    write(&workspace.models().join("net/net.safetensors"), parts);
    workspace
}

const ROWS: [[f32; 3]; 3] = [[1.0, -2.0, 0.5], [40.0, 3.0, -7.0], [0.0, 0.0, 0.0]];

#[test]
fn a_model_serves_what_it_was_trained_to() {
    let workspace = workspace(TOML, &state());
    let engine = workspace.open();
    for x in ROWS {
        let (answered, expected) = (outputs(&engine, x), forward(&state(), x));
        for (answered, expected) in answered.iter().zip(expected) {
            assert!(
                (answered - expected).abs() < 1e-5,
                "{x:?}: {answered} {expected}"
            );
        }
    }
}

#[test]
fn a_value_is_answered_in_the_unit_it_was_trained_in() {
    let toml = TOML.replace(
        "classification\"\nclasses = [\"no\", \"yes\"]",
        "regression\"",
    );
    let mut parts = state();
    parts[2] = f32s("2.weight", &[1, 4], |index| 300.0 * index as f32);
    parts[3] = f32s("2.bias", &[1], |_| 5000.0);
    let workspace = workspace(&toml, &parts);
    let engine = workspace.open();
    let model = engine.model("net").unwrap();
    let snapshot = model.snapshot("").unwrap();
    let answer = wait(model.predict(&snapshot, row(ROWS[2]), PredictOptions::default())).unwrap();
    let hidden = values(&parts[1]).into_iter().enumerate();
    let expected: f32 = hidden.map(|(i, z)| 300.0 * i as f32 * z.max(0.0)).sum();
    let Outputs::Values(answered) = answer.outputs else {
        panic!("a regression")
    };
    assert!(
        (answered[0] - f64::from(expected) - 5000.0).abs() < 0.01,
        "{answered:?} {expected}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_what_was_learned_on_top_is_derived_from_the_data_directory_alone() {
    for strategy in ["er", "der++", "cls-er"] {
        let toml = format!("{TOML}optimizer = \"adamw\"\n[memory]\nstrategy = \"{strategy}\"\n");
        let workspace = workspace(&toml, &state());
        let engine = workspace.open();
        let model = engine.model("net").unwrap();
        let before = outputs(&engine, ROWS[0]);
        for index in 0..30 {
            let truth = ["no", "yes"][index % 2];
            teach(model, row(ROWS[index % 3]), truth, &index.to_string()).await;
        }
        order(model, Order::Checkpoint).await;
        assert_ne!(outputs(&engine, ROWS[0]), before);
        let (learned, answered) = (digest(model), outputs(&engine, ROWS[1]));
        drop(engine);

        // The file is needed no more for what was; the folder still has to be what it was.
        let file = workspace.models().join("net/net.safetensors");
        fs::rename(&file, file.with_extension("away")).unwrap();
        assert_eq!(
            replayed(&workspace, "net"),
            learned.to_string(),
            "{strategy}"
        );
        fs::remove_dir_all(workspace.data().join("net/checkpoints")).unwrap();
        fs::rename(file.with_extension("away"), &file).unwrap();
        let engine = workspace.open();
        assert_eq!(digest(engine.model("net").unwrap()), learned, "{strategy}");
        assert_eq!(outputs(&engine, ROWS[1]), answered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_power_cut_loses_neither_the_start_nor_what_was_learned_on_top() {
    let workspace = workspace(TOML, &state());
    let root = workspace.data().parent().unwrap().to_owned();
    let (recording, disk) = crate::support::disk::Recording::of(&root);
    let engine = workspace.open_on(disk);
    let model = engine.model("net").unwrap();
    let mut learned = vec![(0, digest(model))];
    for index in 0..4 {
        let truth = ["no", "yes"][index % 2];
        teach(model, row(ROWS[index % 3]), truth, &index.to_string()).await;
        learned.push((recording.len(), digest(model)));
    }
    engine.close();
    drop(engine);
    let image = root.join("image");
    for n in 0..=recording.len() {
        recording.image(n, true, n as u64, &image);
        let data = image.join("data");
        let config = Config {
            data: data.clone(),
            disk: syncing_nothing(),
            ..workspace.config()
        };
        let engine = Engine::open(config).unwrap();
        let found = digest(engine.model("net").unwrap());
        let place = learned.iter().rposition(|(_, digest)| *digest == found);
        let acknowledged = learned.iter().rposition(|(changes, _)| *changes <= n);
        assert!(place >= acknowledged, "cut after {n}: {place:?}");
        engine.close();
        drop(engine);
        assert_eq!(
            replayed_in(&data, "net"),
            found.to_string(),
            "cut after {n}"
        );
        fs::remove_dir_all(&image).unwrap();
    }
}

/// The digest that the journal gives from its first entry on, every checkpoint compared.
fn replayed(workspace: &Workspace, name: &str) -> String {
    replayed_in(&workspace.data(), name)
}

fn replayed_in(data: &Path, name: &str) -> String {
    let offline = Offline::open(data, name).unwrap();
    let mut replay = offline.replay(None).unwrap();
    assert_eq!(replay.positions().1, 0, "it starts before the first entry");
    while replay.advance(1000).unwrap() {}
    let replayed = replay.outcome();
    assert!(replayed.compared >= 2);
    replayed.digest
}

/// Why the model is not served; the other one is.
fn refusal(workspace: &Workspace) -> String {
    let engine = workspace.open();
    assert!(engine.model("other").unwrap().snapshot("").is_ok());
    let error = engine.model("net").unwrap().snapshot("").unwrap_err();
    error.to_string()
}

#[test]
fn p9_a_file_that_does_not_fit_is_refused_in_a_sentence() {
    let check = |parts: &[Part], expected: &str| {
        let error = refusal(&workspace(TOML, parts));
        assert!(error.contains("network.weights"), "{error}");
        assert!(error.contains("net.safetensors"), "{error}");
        assert!(error.ends_with(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    };
    let with = |index: usize, part: Part| {
        let mut parts = state();
        parts[index] = part;
        parts
    };
    check(
        &with(0, f32s("0.weight", &[3, 4], |_| 0.0)),
        "found F32 [3, 4]: transpose it: PyTorch's Linear keeps [out, in]",
    );
    check(
        &state()[..3],
        "\"2.bias\": expected F32 [2], found none: the file has no such layer; see network.hidden",
    );
    check(
        &[state(), vec![f32s("4.bias", &[1], |_| 0.0)]].concat(),
        "\"4.bias\": expected none, found F32 [1]: the network has 2 layers, named 0 to 2 in \
         steps of 2; leave it out",
    );
    check(
        &with(3, ("2.bias", Dtype::F16, vec![2], vec![0; 4])),
        "\"2.bias\": expected F32 [2], found F16 [2]: save it in 32 bits, as .float() does",
    );
    check(
        &with(3, f32s("2.bias", &[2], |_| f32::INFINITY)),
        "its value at index 0 is inf; weights are finite, and at most 10000 in size",
    );
}

#[test]
fn p9_a_hostile_or_missing_file_is_refused_in_a_sentence() {
    let check = |bytes: Option<&[u8]>, expected: &str| {
        let workspace = workspace(TOML, &state());
        let file = workspace.models().join("net/net.safetensors");
        match bytes {
            Some(bytes) => fs::write(file, bytes).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        let error = refusal(&workspace);
        assert!(error.contains("network.weights: "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    };
    check(None, "net.safetensors: cannot read it");
    let huge = [&98_000_000u64.to_le_bytes()[..], &[b' '; 4096]].concat();
    check(
        Some(&huge),
        "a header of 98000000 bytes, expected at most 4096",
    );
    check(Some(b"text"), "4 bytes hold no safetensors header");
}

#[test]
fn a_model_that_has_started_keeps_its_start() {
    let workspace = workspace(TOML, &state());
    drop(workspace.open());
    let file = workspace.models().join("net/net.safetensors");
    let mut other = state();
    other[3] = f32s("2.bias", &[2], |_| 0.5);
    write(&file, &other);
    let error = refusal(&workspace);
    assert!(error.contains("network.weights is another"), "{error}");
    workspace.describe("net", &TOML.replace("weights = \"net.safetensors\"\n", ""));
    assert_eq!(refusal(&workspace), error);
    workspace.describe("net", TOML);
    write(&file, &state());
    let engine = workspace.open();
    assert!(engine.model("net").unwrap().snapshot("").is_ok());
}

#[test]
fn verify_sees_that_the_start_is_not_what_it_was() {
    let workspace = workspace(TOML, &state());
    drop(workspace.open());
    let data = workspace.data();
    let verify = || run(&["verify", "--data", data.to_str().unwrap()]);
    assert_eq!(verify().status.code(), Some(0));
    let mut other = state();
    other[3] = f32s("2.bias", &[2], |_| 0.5);
    write(&data.join("net/start.safetensors"), &other);
    let output = verify();
    assert_eq!(output.status.code(), Some(1));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.contains("net: damaged: "), "{lines}");
    assert!(
        lines.contains("start.safetensors: not the weights"),
        "{lines}"
    );
}

fn run(args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_perennial"));
    program.args(args).output().expect("the program starts")
}

#[test]
fn import_tells_of_each_tensor_and_brings_only_what_fits() {
    let toml = TOML.replace("weights = \"net.safetensors\"\n", "");
    let workspace = Workspace::new(&[("net", &toml)]);
    let folder = workspace.models().join("net");
    let export = workspace.models().join("export.safetensors");
    let mut wrong = state();
    wrong[0].0 = "model.0.weight";
    write(&export, &wrong);
    let paths = [&folder, &export].map(|path| path.to_str().unwrap());
    let import = |extra: &[&str]| run(&[&["import", paths[0], paths[1]], extra].concat());
    let output = import(&[]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        lines.lines().collect::<Vec<_>>(),
        [
            "0.weight: expected F32 [4, 3], found none: it may be \"model.0.weight\": \
             save the nn.Sequential itself",
            "0.bias: expected F32 [4], found F32 [4]",
            "2.weight: expected F32 [2, 4], found F32 [2, 4]",
            "2.bias: expected F32 [2], found F32 [2]",
            "model.0.weight: expected none, found F32 [4, 3]: the network has 2 layers, \
             named 0 to 2 in steps of 2; leave it out",
        ]
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("2 of 5 tensors do not fit"), "{errors}");
    assert!(!folder.join("export.safetensors").exists());

    write(&export, &state());
    let output = import(&["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let lines = String::from_utf8(output.stdout).unwrap();
    let fits =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["fits"] == true;
    assert_eq!(lines.lines().filter(|line| fits(line)).count(), 4);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(
        notes.contains("weights = \"export.safetensors\""),
        "{notes}"
    );
    let named = TOML.replace("net.safetensors", "export.safetensors");
    workspace.describe("net", &named);
    let notes = String::from_utf8(import(&[]).stderr).unwrap();
    assert!(
        notes.contains("all 4 tensors fit; it serves from"),
        "{notes}"
    );
    let engine = workspace.open();
    let (answered, expected) = (outputs(&engine, ROWS[0]), forward(&state(), ROWS[0]));
    assert!((answered[0] - expected[0]).abs() < 1e-5);
}
