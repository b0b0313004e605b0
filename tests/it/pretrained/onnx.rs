//! Vectors through a network from an ONNX file.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use perennial::engine::{Engine, Error, PredictOptions, describe};
use perennial::event::{Batch, Column, Order, Outputs};

use crate::support::onnx::{Onnx, OperatorSetIdProto, Set, TensorProto};
use crate::support::server::{Server, json, text};
use crate::support::{AUTO, Workspace, digest, order, teach};

/// Values that a row of the small networks comes with.
const N_VALUES: usize = 6;

fn toml(learner: &str, n_values: usize) -> String {
    format!(
        "task = \"classification\"\nclasses = [\"in\", \"out\"]\n\
         [[input]]\nname = \"v\"\nkind = \"vector\"\nlength = {n_values}\n\
         encoder = \"../../trunk.onnx\"\n[learner]\nkind = \"{learner}\"\n"
    )
}

/// A house with models that learn on this file, and another.
pub(super) fn workspace(file: &Onnx, n_values: usize) -> Workspace {
    let workspace = Workspace::new(&[("other", AUTO)]);
    for kind in ["auto", "analytic", "gradient"] {
        workspace.describe(kind, &toml(kind, n_values));
    }
    fs::write(path(&workspace), file.bytes()).unwrap();
    workspace
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.data().with_file_name("trunk.onnx")
}

pub(super) fn wave(n_values: usize, start: usize) -> Vec<f32> {
    let values = (start..start + n_values).map(|index| (index as f32 * 0.7).sin());
    values.collect()
}

fn batch(rows: &[Vec<f32>]) -> Batch {
    let bytes = rows.iter().flatten().flat_map(|value| value.to_le_bytes());
    let bytes = Bytes::from(bytes.collect::<Vec<u8>>());
    Batch {
        n_rows: rows.len(),
        columns: vec![Column::Vectors(bytes)],
    }
}

/// The vectors of a batch, `[rows, width]`.
pub(super) fn vectors(batch: &Batch) -> Vec<Vec<f32>> {
    let Column::Vectors(bytes) = &batch.columns[0] else {
        panic!("vectors stay vectors")
    };
    let floats = bytes.chunks_exact(4);
    let floats = floats.map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    let floats: Vec<f32> = floats.collect();
    let width = floats.len() / batch.n_rows;
    floats.chunks_exact(width).map(<[f32]>::to_vec).collect()
}

fn check_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

/// Checks the outputs of a file for rows alone and together.
pub(super) fn check_formula(file: &Onnx, rows: &[Vec<f32>], formula: impl Fn(&[f32]) -> Vec<f32>) {
    let workspace = workspace(file, rows[0].len());
    let described = describe(&workspace.models().join("auto/model.toml")).unwrap();
    let mut together = batch(rows);
    described.embed(&mut together).unwrap();
    for (row, together) in rows.iter().zip(vectors(&together)) {
        let mut alone = batch(std::slice::from_ref(row));
        described.embed(&mut alone).unwrap();
        check_close(&vectors(&alone)[0], &formula(row));
        check_close(&together, &formula(row));
    }
}

/// `W2 tanh(W1 x + b1) + b2` of widths 6, 5 and 4.
pub(crate) fn mlp() -> Onnx {
    let mut file = Onnx::new();
    file.input("x", 1, &[-1, N_VALUES as i64]);
    file.floats("w1", &[5, N_VALUES], &wave(30, 0));
    file.floats("b1", &[5], &wave(5, 40));
    file.floats("w2", &[5, 4], &wave(20, 50));
    file.floats("b2", &[4], &wave(4, 80));
    file.node("Gemm", &["x", "w1", "b1"], "z", &[("transB", Set::Int(1))]);
    file.node("Tanh", &["z"], "h", &[]);
    file.node("MatMul", &["h", "w2"], "p", &[]);
    file.node("Add", &["p", "b2"], "y", &[]);
    file
}

fn mlp_formula(x: &[f32]) -> Vec<f32> {
    let (w1, b1, w2, b2) = (wave(30, 0), wave(5, 40), wave(20, 50), wave(4, 80));
    let hidden = w1.chunks_exact(N_VALUES).zip(&b1);
    let hidden = hidden.map(|(w, b)| (b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>()).tanh());
    let hidden: Vec<f32> = hidden.collect();
    let output = |i: usize| b2[i] + (0..5).map(|j| hidden[j] * w2[j * 4 + i]).sum::<f32>();
    (0..4).map(output).collect()
}

fn some_rows(n_rows: usize, n_values: usize) -> Vec<Vec<f32>> {
    (0..n_rows)
        .map(|row| wave(n_values, 100 + 31 * row))
        .collect()
}

#[test]
fn an_mlp_gives_what_its_formula_gives() {
    check_formula(&mlp(), &some_rows(300, N_VALUES), mlp_formula);
}

/// Images of two channels, 5 by 6: convolved, normed, pooled, multiplied.
const IMAGE: [usize; 3] = [2, 5, 6];

pub(crate) fn cnn() -> Onnx {
    let ints = |values: &[i64]| Set::Ints(values.to_vec());
    let mut file = Onnx::new();
    file.input("x", 1, &[-1, 2, 5, 6]);
    file.floats("w", &[4, 1, 3, 3], &wave(36, 0));
    file.floats("c", &[4], &wave(4, 40));
    for (name, start) in [("scale", 50), ("bias", 60), ("mean", 70)] {
        file.floats(name, &[4], &wave(4, start));
    }
    file.floats("var", &[4], &[0.5, 1.0, 1.5, 2.0]);
    file.floats("dense", &[3, 8], &wave(24, 80));
    file.node(
        "Conv",
        &["x", "w", "c"],
        "z",
        &[
            ("group", Set::Int(2)),
            ("pads", ints(&[1, 1, 1, 1])),
            ("strides", ints(&[1, 2])),
            ("kernel_shape", ints(&[3, 3])),
        ],
    );
    let norms = ["z", "scale", "bias", "mean", "var"];
    file.node(
        "BatchNormalization",
        &norms,
        "n",
        &[("epsilon", Set::Float(0.01))],
    );
    file.node("Relu", &["n"], "r", &[]);
    let window = [
        ("kernel_shape", ints(&[3, 2])),
        ("pads", ints(&[1, 0, 0, 1])),
        ("strides", ints(&[3, 2])),
    ];
    file.node("MaxPool", &["r"], "m", &window);
    file.node(
        "ReduceMean",
        &["m"],
        "a",
        &[("axes", ints(&[3])), ("keepdims", Set::Int(0))],
    );
    file.node("Flatten", &["a"], "f", &[]);
    file.node("Gemm", &["f", "dense"], "y", &[("transB", Set::Int(1))]);
    file
}

fn cnn_formula(x: &[f32]) -> Vec<f32> {
    let (w, c) = (wave(36, 0), wave(4, 40));
    let (scale, bias, mean) = (wave(4, 50), wave(4, 60), wave(4, 70));
    let variance = [0.5f32, 1.0, 1.5, 2.0];
    let [_, height, width] = IMAGE;
    let pixel = |channel: usize, i: isize, j: isize| {
        let inside = (0..height as isize).contains(&i) && (0..width as isize).contains(&j);
        if inside {
            x[(channel * height + i as usize) * width + j as usize]
        } else {
            0.0
        }
    };
    // Two output channels of each group; a stride of one down, of two across: 5 by 3.
    let normed = |o: usize, i: isize, j: isize| {
        let taps = (0..9).map(|tap| {
            let (di, dj) = (tap / 3, tap % 3);
            w[o * 9 + tap as usize] * pixel(o / 2, i + di - 1, 2 * j + dj - 1)
        });
        let z = c[o] + taps.sum::<f32>();
        let n = (z - mean[o]) / (variance[o] + 0.01).sqrt() * scale[o] + bias[o];
        n.max(0.0)
    };
    // Windows of 3 by 2 that start above the first row: rows 0..2 and 2..5, columns 0..2 and 2..3.
    let largest = |o: usize, rows: [isize; 2], columns: [isize; 2]| {
        let places = (rows[0]..rows[1]).flat_map(|i| (columns[0]..columns[1]).map(move |j| (i, j)));
        places
            .map(|(i, j)| normed(o, i, j))
            .fold(f32::MIN, f32::max)
    };
    let mut features = Vec::new();
    for o in 0..4 {
        for rows in [[0, 2], [2, 5]] {
            features.push((largest(o, rows, [0, 2]) + largest(o, rows, [2, 3])) / 2.0);
        }
    }
    let dense = wave(24, 80);
    let rows = dense.chunks_exact(8);
    rows.map(|w| w.iter().zip(&features).map(|(w, f)| w * f).sum())
        .collect()
}

#[test]
fn a_cnn_gives_what_its_formula_gives() {
    check_formula(&cnn(), &some_rows(5, 60), cnn_formula);
}

/// A file that computes three rows or more only in parts.
fn narrow() -> Onnx {
    let mut file = mlp();
    file.ints("zero", &[1], &[0]);
    file.ints("least", &[1], &[-1]);
    file.ints("table", &[3], &[0, 0, 0]);
    file.node("Shape", &["x"], "shape", &[]);
    file.node("Gather", &["shape", "zero"], "rows", &[]);
    file.node("Gather", &["table", "rows"], "nothing", &[]);
    file.node("Cast", &["nothing"], "none", &[("to", Set::Int(1))]);
    file.graph().node[3].output[0] = "sum".to_owned();
    file.node("Add", &["sum", "none"], "y", &[]);
    file
}

#[test]
fn a_batch_without_room_is_split() {
    check_formula(&narrow(), &some_rows(9, N_VALUES), mlp_formula);
}

/// Rows of two kinds, and their classes.
fn labelled_row(index: usize) -> (Vec<f32>, &'static str) {
    let mut row = wave(N_VALUES, index % 4);
    row[1] += [3.0, -3.0][index % 2];
    (row, ["in", "out"][index % 2])
}

async fn learn(engine: &Engine, kind: &str, rounds: usize) {
    let model = engine.model(kind).unwrap();
    for index in 0..rounds {
        let (row, truth) = labelled_row(index);
        let snapshot = model.snapshot("").unwrap();
        let batch = model.embed(&snapshot, batch(&[row])).await.unwrap();
        teach(model, batch, truth, &format!("{index}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_nothing_that_learns_or_replays_asks_the_network() {
    let workspace = workspace(&mlp(), N_VALUES);
    let engine = workspace.open();
    let mut learned = Vec::new();
    for kind in ["auto", "analytic", "gradient"] {
        learn(&engine, kind, 60).await;
        let model = engine.model(kind).unwrap();
        order(model, Order::Checkpoint).await;
        learned.push((kind, digest(model)));
        let snapshot = model.snapshot("").unwrap();
        let batch = model
            .embed(&snapshot, batch(&[labelled_row(0).0]))
            .await
            .unwrap();
        let answer = model
            .predict(&snapshot, batch, PredictOptions::default())
            .await
            .unwrap();
        let Outputs::Probabilities(shares) = answer.outputs else {
            panic!("a classification")
        };
        assert!(shares[0] > 0.6, "{kind}: {shares:?}");
    }
    drop(engine);
    let away = path(&workspace).with_extension("away");
    fs::rename(path(&workspace), &away).unwrap();
    for (kind, digest) in &learned {
        assert_eq!(
            crate::pretrained::replayed(&workspace, kind),
            digest.to_string(),
            "{kind}"
        );
    }
    // The file may move: it is known by what it is.
    for (kind, _) in &learned {
        let moved = toml(kind, N_VALUES).replace("trunk.onnx", "trunk.away");
        workspace.describe(kind, &moved);
    }
    let engine = workspace.open();
    for (kind, before) in &learned {
        assert_eq!(digest(engine.model(kind).unwrap()), *before, "{kind}");
    }
    drop(engine);
    let mut other = mlp();
    other.floats("more", &[1], &[0.5]);
    fs::write(&away, other.bytes()).unwrap();
    let engine = workspace.open();
    let error = engine.model("auto").unwrap().snapshot("").unwrap_err();
    assert!(error.to_string().contains("has another encoder"), "{error}");
}

#[test]
fn p2_stream_equals_evaluate_with_a_network() {
    let workspace = workspace(&mlp(), N_VALUES);
    let rows = workspace.data().with_file_name("rows.csv");
    let names = (0..N_VALUES).map(|index| format!("v[{index}],"));
    let mut lines = names.collect::<String>() + "target\n";
    for index in 0..200 {
        let (row, truth) = labelled_row(index);
        let cells = row.iter().map(|value| format!("{value},"));
        lines += &format!("{}{truth}\n", cells.collect::<String>());
    }
    fs::write(&rows, lines).unwrap();
    let folder = workspace.models().join("auto");
    let target = [text(&rows), "--target", "target", "--test", text(&rows)];
    let alone = [&["evaluate", text(&folder)], &target[..], &["--json"]].concat();
    let alone = json(&alone);
    let server = Server::of(&workspace);
    let served = server.json(&[&["stream", "auto"], &target[..]].concat());
    server.stop();
    let server = Server::of(&workspace);
    let shown = server.ask(&["predict", "auto", "--set", "v=[0.1,3,0,0,0,0]"]);
    assert!(shown.contains("in"), "{shown}");
    server.stop();
    assert_eq!(served["examples"], 200);
    for key in ["progressive_accuracy", "members", "test_accuracy"] {
        assert_eq!(served[key], alone[key], "{key}");
    }
    assert_eq!(served["test_accuracy"], 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_row_that_cannot_be_encoded_is_refused_alone() {
    // The first value chooses from three, and 1e30 is squared.
    let mut file = Onnx::new();
    file.input("x", 1, &[-1, 2]);
    file.ints("first", &[1], &[0]);
    file.floats("table", &[3, 1], &[1.0, 2.0, 3.0]);
    file.node(
        "Gather",
        &["x", "first"],
        "chosen",
        &[("axis", Set::Int(1))],
    );
    file.node("Cast", &["chosen"], "place", &[("to", Set::Int(7))]);
    file.node("Gather", &["table", "place"], "found", &[]);
    file.node("Mul", &["x", "x"], "square", &[]);
    file.node("Flatten", &["found"], "flat", &[]);
    file.node("Concat", &["square", "flat"], "y", &[("axis", Set::Int(1))]);
    let workspace = workspace(&file, 2);
    let engine = workspace.open();
    let model = engine.model("auto").unwrap();
    let snapshot = model.snapshot("").unwrap();
    let embed = async |row: [f32; 2]| model.embed(&snapshot, batch(&[row.to_vec()])).await;
    let (good, outside, large) =
        tokio::join!(embed([2.0, 1.0]), embed([9.0, 1.0]), embed([0.0, 1e30]));
    assert_eq!(vectors(&good.unwrap()), [[4.0, 1.0, 3.0]]);
    // The same row would never be encoded, so that no refusal asks for it again.
    let outside = outside.unwrap_err();
    let is_refused = matches!(
        outside,
        Error::Refused {
            field: "inputs",
            ..
        }
    );
    let outside = outside.to_string();
    assert!(is_refused, "{outside}");
    assert!(
        outside.contains("cannot encode a row: node \"Gather of found\""),
        "{outside}"
    );
    let large = large.unwrap_err().to_string();
    assert_eq!(
        large,
        "inputs: the encoder gives a vector that is not finite"
    );
}

/// Why a file is refused; other models serve.
fn refusal(bytes: &[u8]) -> String {
    let workspace = workspace(&mlp(), N_VALUES);
    fs::write(path(&workspace), bytes).unwrap();
    let engine = workspace.open();
    assert!(engine.model("other").unwrap().snapshot("").is_ok());
    let error = engine.model("auto").unwrap().snapshot("").unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("encoder: ") && error.contains("trunk.onnx: "),
        "{error}"
    );
    assert!(!error.contains('\n') && error.len() < 1000, "{error}");
    error
}

pub(super) fn check_refused(spoil: impl Fn(&mut Onnx), expected: &str) {
    let mut file = mlp();
    spoil(&mut file);
    let error = refusal(&file.bytes());
    assert!(error.contains(expected), "{error}");
}

#[test]
fn p9_unknown_operators_are_refused_all_at_once() {
    check_refused(
        |file| {
            file.node("GridSample", &["x"], "g", &[]);
            file.node("Loop", &["x"], "l", &[]);
            file.node("FusedGelu", &["x"], "q", &[]);
            file.graph().node[6].domain = "com.acme".to_owned();
            file.node("Loop", &["x"], "m", &[]);
        },
        "it needs operators that are not supported: \"GridSample\", \"Loop\", \
         \"com.acme::FusedGelu\"",
    );
    check_refused(
        |file| file.node("Relu", &["x"], "r", &[("speed", Set::Int(9))]),
        "node \"Relu of r\" (\"Relu\"): attribute \"speed\" is not supported",
    );
    check_refused(
        |file| file.0.opset_import[0].version = 9,
        "it is of opset 9: export it with one from 11 to 22",
    );
    check_refused(
        |file| {
            let domain = "ai.onnx.ml".to_owned();
            file.0.opset_import = vec![OperatorSetIdProto { domain, version: 3 }];
        },
        "it is of opset 1",
    );
}

#[test]
fn p9_a_file_that_is_none_is_refused() {
    let bytes = mlp().bytes();
    for end in (0..bytes.len()).step_by(41) {
        let error = refusal(&bytes[..end]);
        let known = ["cut short", "no graph", "of opset"];
        assert!(
            known.iter().any(|known| error.contains(known)),
            "{end}: {error}"
        );
    }
    let error = refusal(b"{\"format\": \"onnx\"}");
    assert!(error.contains("no ONNX file"), "{error}");
}

/// Puts a value behind itself along its last axis, and what comes of that, 60 times.
fn double(file: &mut Onnx, value: &str) {
    let mut last = value.to_owned();
    for n in 0..60 {
        let doubled = format!("doubled {n}");
        file.node(
            "Concat",
            &[&last, &last],
            &doubled,
            &[("axis", Set::Int(-1))],
        );
        last = doubled;
    }
    file.graph().output[0].name = last;
}

#[test]
fn p9_a_hostile_graph_is_refused() {
    check_refused(
        |file| file.graph().node[0].input[0] = "y".to_owned(),
        "nothing before it gives its input \"y\"; it is in a cycle, or out of order",
    );
    check_refused(
        |file| file.node("Relu", &["x"], "y", &[]),
        "two values are named \"y\"",
    );
    check_refused(
        |file| file.graph().output[0].name = "gone".to_owned(),
        "nothing gives its output \"gone\"",
    );
    check_refused(
        |file| {
            file.ints("huge", &[2], &[1 << 40, 1 << 40]);
            file.node("ConstantOfShape", &["huge"], "end", &[]);
            file.graph().output[0].name = "end".to_owned();
        },
        "a tensor [1099511627776, 1099511627776] has more than 134217728 values",
    );
    check_refused(
        |file| {
            file.ints("places", &[1], &[7]);
            file.node("Gather", &["b1", "places"], "end", &[]);
            file.graph().output[0].name = "end".to_owned();
        },
        "node \"Gather of end\" (\"Gather\"): a place outside of [5] along axis 0",
    );
    check_refused(
        |file| {
            let window = [("kernel_shape", Set::Ints(vec![1 << 24]))];
            file.ints("deep", &[1], &[1]);
            file.node("Unsqueeze", &["x", "deep"], "places", &[]);
            file.node("MaxPool", &["places"], "end", &window);
            file.graph().output[0].name = "end".to_owned();
        },
        "(\"MaxPool\"): kernel_shape = [16777216]: expected 1 to 4096",
    );
    check_refused(
        |file| double(file, "x"),
        "more than 16777216 values stand at a time",
    );
    check_refused(|file| double(file, "b1"), "it unfolds into more than 16777");
    check_refused(
        |file| file.graph().sparse_initializer.push(Bytes::new()),
        "it has sparse tensors",
    );
}

#[test]
fn p9_tensors_that_cannot_be_are_refused() {
    let check = |spoil: fn(&mut TensorProto), expected: &str| {
        check_refused(|file| spoil(&mut file.graph().initializer[0]), expected);
    };
    check(
        |tensor| tensor.data_location = 1,
        "tensor \"w1\": its values stand in another file: export it as one file",
    );
    check(
        |tensor| {
            let mut raw = tensor.raw_data.to_vec();
            raw[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
            tensor.raw_data = raw.into();
        },
        "tensor \"w1\": the value at index 1 is not finite",
    );
    check(
        |tensor| tensor.dims[0] = 6,
        "tensor \"w1\": 120 bytes, expected 144 by its shape",
    );
    check(
        |tensor| tensor.dims = vec![i64::MAX, 2],
        "has more than 134217728 values",
    );
    check(
        |tensor| tensor.dims = vec![-5, -6],
        "tensor \"w1\": a dimension below 0",
    );
    check(
        |tensor| tensor.data_type = 10,
        "tensor \"w1\": values of type FLOAT16, expected FLOAT, DOUBLE, INT32, INT64 or BOOL",
    );
    check(
        |tensor| tensor.dims = vec![6, 5],
        "node \"Gemm of z\" (\"Gemm\"): 1x6 times 5x6",
    );
}

#[test]
fn p9_inputs_and_outputs_that_do_not_fit_are_refused() {
    let workspace = workspace(&mlp(), 12);
    let engine = workspace.open();
    let error = engine.model("auto").unwrap().snapshot("").unwrap_err();
    let expected = "trunk.onnx: it takes 6 values a row, and the input has length = 12";
    assert!(error.to_string().contains(expected), "{error}");
    let input = |dims: &'static [i64]| {
        move |file: &mut Onnx| {
            file.graph().input.clear();
            file.input("x", 1, dims);
        }
    };
    check_refused(
        input(&[1, 6]),
        "its input \"x\" [1, 6] has no free first dimension: export it with a dynamic batch",
    );
    check_refused(
        input(&[-1, -1]),
        "its input \"x\" [*, *] needs fixed dimensions behind the batch",
    );
    check_refused(
        |file| {
            file.graph().input.clear();
            file.input("x", 7, &[-1, 6]);
        },
        "its input \"x\" [*, 6] is not of floats",
    );
    check_refused(
        |file| file.input("mask", 1, &[-1, 6]),
        "it has 2 inputs, expected one",
    );
    check_refused(
        |file| file.graph().node[3].input[0] = "b2".to_owned(),
        "its output for 1 rows is [4], expected [1, ...]",
    );
}
