//! Texts through a sentence encoder that came as an ONNX file.

use std::fs;
use std::path::{Path, PathBuf};

use perennial::engine::describe;
use perennial::event::{Batch, Column};

use crate::support::bert::{Bert, H, HEADS, LAYERS};
use crate::support::onnx::{Onnx, Set};
use crate::support::{AUTO, Workspace, digest, teach};

const TEXTS: [&str; 4] = [
    "my card",
    "My CARDS lost please",
    "refund my money late late late late late late late late",
    "",
];
const TOML: &str = "task = \"classification\"\nclasses = [\"lost\", \"money\"]\n\
    [[input]]\nname = \"text\"\nkind = \"text\"\nencoder = \"../../bert\"\n";

/// How the vector of a text leaves the graph.
#[derive(Clone, Copy)]
enum Gives {
    Tokens,
    /// The first token's, under this name: it is not the mean, and not of length one.
    Sentence,
}

/// The small BERT as PyTorch would export it, with free dimensions.
fn graph(bert: &Bert, gives: Gives) -> Onnx {
    let mut file = Onnx::new();
    file.graph().output.clear();
    for name in ["input_ids", "attention_mask", "token_type_ids"] {
        file.input(name, 7, &[-1, -1]);
    }
    for (name, (shape, values)) in &bert.0 {
        file.floats(name, shape, values);
    }
    for (name, values) in [("zero", 0), ("one", 1), ("axis1", 1), ("axis2", 2)] {
        file.ints(name, &[1], &[values]);
    }
    file.ints("heads", &[4], &[0, 0, HEADS as i64, (H / HEADS) as i64]);
    file.ints("joined", &[3], &[0, 0, -1]);
    for (name, value) in [
        ("minus", -1e9),
        ("single", 1.0),
        ("half", 0.5),
        ("root2", 2f32.sqrt()),
        ("root", ((H / HEADS) as f32).sqrt()),
    ] {
        file.floats(name, &[], &[value]);
    }
    // Added to the scores [batch, heads, tokens, tokens].
    file.node(
        "Cast",
        &["attention_mask"],
        "present",
        &[("to", Set::Int(1))],
    );
    file.ints("axes", &[2], &[1, 2]);
    file.node("Unsqueeze", &["present", "axes"], "wide", &[]);
    file.node("Sub", &["single", "wide"], "absent", &[]);
    file.node("Mul", &["absent", "minus"], "mask", &[]);
    embed(&mut file);
    for layer in 0..LAYERS {
        attend(&mut file, layer);
        transform(&mut file, layer);
    }
    let last = format!("x{LAYERS}");
    match gives {
        Gives::Tokens => {
            file.node("Identity", &[&last], "last_hidden_state", &[]);
            file.output("pooler_output");
            file.output("last_hidden_state");
            file.node("Identity", &["single"], "pooler_output", &[]);
        }
        Gives::Sentence => {
            file.ints("first", &[], &[0]);
            file.output("sentence_embedding");
            let along = [("axis", Set::Int(1))];
            file.node("Gather", &[&last, "first"], "sentence_embedding", &along);
        }
    }
    file
}

fn embed(file: &mut Onnx) {
    let table = |name: &str| format!("embeddings.{name}_embeddings.weight");
    file.node("Gather", &[&table("word"), "input_ids"], "words", &[]);
    file.node(
        "Gather",
        &[&table("token_type"), "token_type_ids"],
        "kinds",
        &[],
    );
    file.node("Shape", &["input_ids"], "shape", &[]);
    file.node("Gather", &["shape", "one"], "n_tokens", &[]);
    file.node(
        "Slice",
        &[&table("position"), "zero", "n_tokens"],
        "places",
        &[],
    );
    file.node("Add", &["words", "kinds"], "both", &[]);
    file.node("Add", &["both", "places"], "sum", &[]);
    norm(file, "embeddings.LayerNorm", "sum", "x0");
}

/// As older opsets have it, out of its parts.
fn norm(file: &mut Onnx, name: &str, from: &str, to: &str) {
    let part = |part: &str| format!("{to}.{part}");
    let (mean, centred, squared) = (part("mean"), part("centred"), part("squared"));
    let (variance, shifted, deviation) = (part("variance"), part("shifted"), part("deviation"));
    let (unit, scaled) = (part("unit"), part("scaled"));
    let last = [("axes", Set::Ints(vec![-1]))];
    let (two, epsilon) = (part("two"), part("epsilon"));
    file.floats(&two, &[], &[2.0]);
    file.floats(&epsilon, &[], &[1e-12]);
    file.node("ReduceMean", &[from], &mean, &last);
    file.node("Sub", &[from, &mean], &centred, &[]);
    file.node("Pow", &[&centred, &two], &squared, &[]);
    file.node("ReduceMean", &[&squared], &variance, &last);
    file.node("Add", &[&variance, &epsilon], &shifted, &[]);
    file.node("Sqrt", &[&shifted], &deviation, &[]);
    file.node("Div", &[&centred, &deviation], &unit, &[]);
    file.node("Mul", &[&unit, &format!("{name}.weight")], &scaled, &[]);
    file.node("Add", &[&scaled, &format!("{name}.bias")], to, &[]);
}

fn linear(file: &mut Onnx, name: &str, from: &str, to: &str) {
    let (turned, product) = (format!("{to}.turned"), format!("{to}.product"));
    file.node("Transpose", &[&format!("{name}.weight")], &turned, &[]);
    file.node("MatMul", &[from, &turned], &product, &[]);
    file.node("Add", &[&format!("{name}.bias"), &product], to, &[]);
}

fn attend(file: &mut Onnx, layer: usize) {
    let own = |part: &str| format!("{layer}.{part}");
    let name = |part: &str| format!("encoder.layer.{layer}.attention.{part}");
    let (from, to) = (format!("x{layer}"), own("attended"));
    for (part, order) in [
        ("query", vec![0, 2, 1, 3]),
        ("key", vec![0, 2, 3, 1]),
        ("value", vec![0, 2, 1, 3]),
    ] {
        let (flat, split) = (own(&format!("{part}.flat")), own(&format!("{part}.split")));
        linear(file, &name(&format!("self.{part}")), &from, &flat);
        file.node("Reshape", &[&flat, "heads"], &split, &[]);
        file.node(
            "Transpose",
            &[&split],
            &own(part),
            &[("perm", Set::Ints(order))],
        );
    }
    let (scores, scaled) = (own("scores"), own("scaled"));
    let (masked, shares) = (own("masked"), own("shares"));
    file.node("MatMul", &[&own("query"), &own("key")], &scores, &[]);
    file.node("Div", &[&scores, "root"], &scaled, &[]);
    file.node("Add", &[&scaled, "mask"], &masked, &[]);
    file.node("Softmax", &[&masked], &shares, &[("axis", Set::Int(-1))]);
    let (mixed, moved) = (own("mixed"), own("moved"));
    file.node("MatMul", &[&shares, &own("value")], &mixed, &[]);
    let back = [("perm", Set::Ints(vec![0, 2, 1, 3]))];
    file.node("Transpose", &[&mixed], &moved, &back);
    file.node("Reshape", &[&moved, "joined"], &own("rows"), &[]);
    linear(file, &name("output.dense"), &own("rows"), &own("dense"));
    file.node("Add", &[&own("dense"), &from], &own("residual"), &[]);
    norm(file, &name("output.LayerNorm"), &own("residual"), &to);
}

fn transform(file: &mut Onnx, layer: usize) {
    let own = |part: &str| format!("{layer}.{part}");
    let name = |part: &str| format!("encoder.layer.{layer}.{part}");
    linear(
        file,
        &name("intermediate.dense"),
        &own("attended"),
        &own("inner"),
    );
    // `x/2 (1 + erf(x / sqrt 2))`
    file.node("Div", &[&own("inner"), "root2"], &own("small"), &[]);
    file.node("Erf", &[&own("small")], &own("erf"), &[]);
    file.node("Add", &[&own("erf"), "single"], &own("above"), &[]);
    file.node("Mul", &[&own("inner"), &own("above")], &own("twice"), &[]);
    file.node("Mul", &[&own("twice"), "half"], &own("gelu"), &[]);
    linear(file, &name("output.dense"), &own("gelu"), &own("outer"));
    file.node("Add", &[&own("outer"), &own("attended")], &own("last"), &[]);
    let next = format!("x{}", layer + 1);
    norm(file, &name("output.LayerNorm"), &own("last"), &next);
}

/// A house whose encoder is this file.
fn workspace(file: &Onnx) -> Workspace {
    let workspace = Workspace::new(&[("m", TOML), ("other", AUTO)]);
    Bert::new().write(&folder(&workspace));
    fs::remove_file(folder(&workspace).join("model.safetensors")).unwrap();
    fs::write(folder(&workspace).join("model.onnx"), file.bytes()).unwrap();
    workspace
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.data().with_file_name("bert")
}

fn embedded(workspace: &Workspace, texts: &[&str]) -> Vec<Vec<f32>> {
    let described = describe(&workspace.models().join("m/model.toml")).unwrap();
    let mut batch = batch(texts);
    described.embed(&mut batch).unwrap();
    let Column::Embedded { vectors, .. } = &batch.columns[0] else {
        panic!("texts are embedded")
    };
    let floats = vectors.chunks_exact(4);
    let floats = floats.map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    let floats: Vec<f32> = floats.collect();
    floats.chunks_exact(H).map(<[f32]>::to_vec).collect()
}

fn batch(texts: &[&str]) -> Batch {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    Batch {
        n_rows: texts.len(),
        columns: vec![Column::Strings(texts)],
    }
}

fn check_close(found: &[f32], expected: &[f32], of: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-5,
            "{of:?}: {found} {expected}"
        );
    }
}

#[test]
fn an_exported_encoder_gives_what_the_formula_gives_alone_and_together() {
    let workspace = workspace(&graph(&Bert::new(), Gives::Tokens));
    for (together, one) in embedded(&workspace, &TEXTS).iter().zip(TEXTS) {
        let expected = Bert::new().embed(one);
        check_close(&embedded(&workspace, &[one])[0], &expected, one);
        check_close(together, &expected, one);
    }
}

#[test]
fn a_sentence_embedding_is_taken_as_it_is() {
    let workspace = workspace(&graph(&Bert::new(), Gives::Sentence));
    for (found, one) in embedded(&workspace, &TEXTS).iter().zip(TEXTS) {
        let tokens = Bert::new().tokens_of(one);
        check_close(found, &tokens[0], one);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_on_an_exported_encoder_survives_a_restart() {
    let workspace = workspace(&graph(&Bert::new(), Gives::Tokens));
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    for index in 0..30 {
        let (one, truth) = [("my card", "lost"), ("money", "money")][index % 2];
        let snapshot = model.snapshot("").unwrap();
        let batch = model.embed(&snapshot, batch(&[one])).await.unwrap();
        teach(model, batch, truth, &index.to_string()).await;
    }
    let before = digest(model);
    drop(engine);
    let engine = workspace.open();
    assert_eq!(digest(engine.model("m").unwrap()), before);
    drop(engine);
    // The same weights in another file are another encoder.
    Bert::new().write_weights(&folder(&workspace));
    let engine = workspace.open();
    let error = engine.model("m").unwrap().snapshot("").unwrap_err();
    assert!(error.to_string().contains("has another encoder"), "{error}");
}

#[test]
fn p9_a_folder_whose_graph_does_not_fit_is_refused() {
    let check = |spoil: &dyn Fn(&mut Onnx, &Path), expected: &str| {
        let mut file = graph(&Bert::new(), Gives::Tokens);
        let workspace = workspace(&file);
        spoil(&mut file, &folder(&workspace));
        fs::write(folder(&workspace).join("model.onnx"), file.bytes()).unwrap();
        let engine = workspace.open();
        assert!(engine.model("other").unwrap().snapshot("").is_ok());
        let error = engine.model("m").unwrap().snapshot("").unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    };
    check(
        &|_, folder| fs::remove_file(folder.join("tokenizer.json")).unwrap(),
        "tokenizer.json: cannot read it",
    );
    check(
        &|file, _| file.graph().input[0].name = "ids".to_owned(),
        "model.onnx: node \"Gather of words\" (\"Gather\"): nothing before it gives its input",
    );
    check(
        &|file, _| file.input("pixels", 1, &[-1, 3, 8, 8]),
        "its input \"pixels\" [*, 3, 8, 8] is not of whole numbers [batch, tokens]",
    );
    check(
        &|file, _| {
            file.graph().input.remove(1);
            file.input("attention_mask", 7, &[1, 12]);
        },
        "its input \"attention_mask\" [1, 12] has fixed dimensions",
    );
    // The highest token, and as many as a text can have, are tried.
    let config = |folder: &Path, from: &str, to: &str| {
        let path = folder.join("config.json");
        let config = fs::read_to_string(&path).unwrap().replace(from, to);
        fs::write(path, config).unwrap();
    };
    check(
        &|_, folder| config(folder, "\"vocab_size\":12", "\"vocab_size\":13"),
        "node \"Gather of words\" (\"Gather\"): a place outside of [12, 8] along axis 0",
    );
    check(
        &|_, folder| config(folder, "_embeddings\":12", "_embeddings\":13"),
        "node \"Add of sum\" (\"Add\"): shapes [1, 13, 8] and [12, 8] do not fit",
    );
}
