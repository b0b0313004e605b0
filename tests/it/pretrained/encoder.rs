//! Texts through a pretrained encoder.

use std::fs;
use std::path::{Path, PathBuf};

use perennial::engine::{Engine, PredictOptions, describe};
use perennial::event::{Batch, Column, Order};

use crate::support::bert::{Bert, H};
use crate::support::passed_over::pass_over;
use crate::support::server::{Server, json, text};
use crate::support::{AUTO, Workspace, digest, order, teach};

const TEXTS: [&str; 6] = [
    "my card",
    "My CARDS lost please",
    "money",
    "refund my money late late late late late late late late",
    "something else",
    "",
];

fn toml(learner: &str) -> String {
    format!(
        "task = \"classification\"\nclasses = [\"lost\", \"money\"]\n\
         [[input]]\nname = \"text\"\nkind = \"text\"\nencoder = \"../../bert\"\n\
         [learner]\nkind = \"{learner}\"\n"
    )
}

/// A house with a model of each kind that learns on the small BERT.
fn workspace() -> Workspace {
    let kinds = ["auto", "analytic", "gradient"];
    let workspace = Workspace::new(&[("other", AUTO)]);
    kinds
        .iter()
        .for_each(|kind| workspace.describe(kind, &toml(kind)));
    Bert::new().write(&folder(&workspace));
    workspace
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.data().with_file_name("bert")
}

fn batch(texts: &[&str]) -> Batch {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    Batch {
        n_rows: texts.len(),
        columns: vec![Column::Strings(texts)],
    }
}

/// The vectors of a batch that was encoded, `[rows, length]`.
fn vectors(batch: &Batch, length: usize) -> Vec<Vec<f32>> {
    let Column::Embedded { vectors, .. } = &batch.columns[0] else {
        panic!("it is encoded")
    };
    let floats = vectors.chunks_exact(4);
    let floats = floats.map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    let floats: Vec<f32> = floats.collect();
    floats.chunks_exact(length).map(<[f32]>::to_vec).collect()
}

fn check_close(found: &[f32], expected: &[f32], tolerance: f32, of: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < tolerance,
            "{of:?}: {found} {expected}"
        );
    }
}

#[test]
fn vectors_are_those_of_the_formula_alone_and_together() {
    let workspace = workspace();
    let described = describe(&workspace.models().join("auto/model.toml")).unwrap();
    let mut together = batch(&TEXTS);
    described.embed(&mut together).unwrap();
    for (together, one) in vectors(&together, H).iter().zip(TEXTS) {
        let mut alone = batch(&[one]);
        described.embed(&mut alone).unwrap();
        let expected = Bert::new().embed(one);
        check_close(&vectors(&alone, H)[0], &expected, 1e-5, one);
        check_close(together, &expected, 1e-5, one);
    }
}

/// Teaches a model which texts are of cards.
async fn learn(engine: &Engine, kind: &str, rounds: usize) {
    let model = engine.model(kind).unwrap();
    for index in 0..rounds {
        let one = TEXTS[index % 4];
        let truth = if one.to_lowercase().contains("card") {
            "lost"
        } else {
            "money"
        };
        let snapshot = model.snapshot("").unwrap();
        let batch = model.embed(&snapshot, batch(&[one])).await.unwrap();
        teach(model, batch, truth, &format!("{index}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_nothing_that_learns_or_replays_asks_the_encoder() {
    let workspace = workspace();
    let engine = workspace.open();
    let mut learned = Vec::new();
    for kind in ["auto", "analytic", "gradient"] {
        learn(&engine, kind, 40).await;
        let model = engine.model(kind).unwrap();
        order(model, Order::Checkpoint).await;
        learned.push((kind, digest(model)));
        let snapshot = model.snapshot("").unwrap();
        let batch = model.embed(&snapshot, batch(&["my cards"])).await.unwrap();
        let answer = model
            .predict(&snapshot, batch, PredictOptions::default())
            .await
            .unwrap();
        let perennial::event::Outputs::Probabilities(shares) = answer.outputs else {
            panic!("a classification")
        };
        assert!(shares[0] > 0.6, "{kind}: {shares:?}");
    }
    drop(engine);
    fs::rename(
        folder(&workspace),
        folder(&workspace).with_extension("away"),
    )
    .unwrap();
    for (kind, digest) in &learned {
        assert_eq!(
            crate::pretrained::replayed(&workspace, kind),
            digest.to_string(),
            "{kind}"
        );
    }
    // The encoder itself may move: it is known by what it is.
    for (kind, _) in &learned {
        workspace.describe(kind, &toml(kind).replace("bert", "bert.away"));
    }
    let engine = workspace.open();
    for (kind, before) in learned {
        assert_eq!(digest(engine.model(kind).unwrap()), before, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_holds_the_text_and_can_be_learned_as_words() {
    let workspace = workspace();
    let engine = workspace.open();
    learn(&engine, "auto", 20).await;
    drop(engine);
    let words = Workspace::new(&[("m", &toml("auto").replace("encoder = \"../../bert\"\n", ""))]);
    let described = describe(&words.models().join("m/model.toml")).unwrap();
    let offline = perennial::engine::Offline::open(&workspace.data(), "auto").unwrap();
    let mut replay = offline.replay_with(described.description).unwrap();
    while replay.advance(1000).unwrap() {}
    assert_eq!(replay.outcome().evaluation.served().count, 20.0);

    // Another encoder has not seen the texts.
    let mut other = Bert::new();
    let bias = other.0.get_mut("embeddings.LayerNorm.bias").unwrap();
    bias.1[0] += 1.0;
    other.write(&folder(&words));
    words.describe("m", &toml("auto"));
    let described = describe(&words.models().join("m/model.toml")).unwrap();
    let error = offline
        .replay_with(described.description)
        .and_then(|mut replay| {
            while replay.advance(1000)? {}
            Ok(())
        });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("\"text\""), "{error}");
}

#[test]
fn p2_stream_equals_evaluate_with_an_encoder() {
    let workspace = workspace();
    let rows = workspace.data().with_file_name("rows.csv");
    let mut lines = "text,target\n".to_owned();
    for index in 0..200 {
        let one = ["my card", "cards lost", "refund money", "money late please"][index % 4];
        lines += &format!("{one} {}\n", ["card,lost", "money,money"][index % 4 / 2]);
    }
    fs::write(&rows, lines).unwrap();
    let folder = workspace.models().join("auto");
    let alone = ["evaluate", text(&folder), text(&rows), "--target", "target"];
    let test = ["--test", text(&rows), "--json"];
    let alone = json(&[&alone[..], &test[..]].concat());
    let server = Server::of(&workspace);
    let served = server.json(&[
        "stream",
        "auto",
        text(&rows),
        "--target",
        "target",
        "--test",
        text(&rows),
    ]);
    server.stop();
    assert_eq!(served["examples"], 200);
    for key in [
        "progressive_accuracy",
        "last_tenth_accuracy",
        "members",
        "test_accuracy",
    ] {
        assert_eq!(served[key], alone[key], "{key}");
    }
    assert_eq!(served["test_accuracy"], 1.0);
}

#[test]
fn p9_a_bad_folder_is_refused_in_a_sentence_and_others_serve() {
    let check = |spoil: &dyn Fn(&Path), expected: &str| {
        let workspace = workspace();
        spoil(&folder(&workspace));
        let engine = workspace.open();
        assert!(engine.model("other").unwrap().snapshot("").is_ok());
        let error = engine.model("auto").unwrap().snapshot("").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("encoder: "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    };
    let with = |name: &'static str, shape: &'static [usize], value: f32| {
        move |folder: &Path| {
            let mut bert = Bert::new();
            let values = vec![value; shape.iter().product()];
            bert.0.insert(name.to_owned(), (shape.to_vec(), values));
            bert.write_weights(folder);
        }
    };
    check(
        &|folder| fs::remove_dir_all(folder).unwrap(),
        "bert: no such folder",
    );
    check(
        &|folder| {
            fs::remove_dir_all(folder).unwrap();
            fs::write(folder, "a network").unwrap();
        },
        "bert: a file; the encoder of a text is a folder",
    );
    check(
        &|folder| fs::remove_file(folder.join("tokenizer.json")).unwrap(),
        "tokenizer.json: cannot read it",
    );
    check(
        &|folder| fs::write(folder.join("tokenizer.json"), "{}").unwrap(),
        "bert: tokenizer.json: ",
    );
    check(
        &|folder| fs::write(folder.join("config.json"), "{\"model_type\":\"bert\"}").unwrap(),
        "bert: config.json: missing field",
    );
    check(
        &with("embeddings.LayerNorm.bias", &[H + 1], 0.0),
        "model.safetensors: tensor \"embeddings.LayerNorm.bias\" is F32 [9], expected F32 [8]",
    );
    check(
        &with("encoder.layer.1.output.dense.bias", &[H], f32::NAN),
        "tensor \"encoder.layer.1.output.dense.bias\" has a value at index 0 that is not finite",
    );
    check(
        &|folder| {
            let mut bert = Bert::new();
            bert.0.remove("encoder.layer.0.output.dense.bias");
            bert.write_weights(folder);
        },
        "tensor \"encoder.layer.0.output.dense.bias\" is missing",
    );
    let hostile = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    check(
        &|folder| fs::write(folder.join("model.safetensors"), &hostile).unwrap(),
        "model.safetensors: a header of 18446744073709551615 bytes",
    );
    check(
        &|folder| {
            let config = fs::read_to_string(folder.join("config.json")).unwrap();
            let config = config.replace("\"vocab_size\":12", "\"vocab_size\":5");
            fs::write(folder.join("config.json"), config).unwrap();
        },
        "tokenizer.json: it has a token 11, and config.json a vocab_size of 5",
    );
}

#[test]
fn p9_a_device_that_is_not_there_is_refused_and_others_serve() {
    let workspace = workspace();
    let on = |device: &str| format!("{}[backend]\ndevice = \"{device}\"\n", toml("auto"));
    workspace.describe("auto", &on("cuda:63"));
    workspace.describe("gradient", &on("cpu").replace("auto", "gradient"));
    let engine = workspace.open();
    let error = engine.model("auto").unwrap().snapshot("").unwrap_err();
    let error = error.to_string();
    let expected = if cfg!(feature = "cuda") {
        "backend.device: device cuda:63 is not there: "
    } else {
        "backend.device: device cuda:63 is not in this build: take \"cpu\", or build with \
         --features cuda"
    };
    assert!(error.contains(expected), "{error}");
    assert!(!error.contains('\n'), "{error}");
    for name in ["gradient", "other"] {
        assert!(engine.model(name).unwrap().snapshot("").is_ok(), "{name}");
    }
}

/// Where a GPU answers, an encoder gives the vectors that it gives on the processor.
#[test]
fn an_encoder_computes_alike_on_every_device() {
    let workspace = workspace();
    let path = workspace.models().join("auto/model.toml");
    workspace.describe(
        "auto",
        &format!("{}[backend]\ndevice = \"cuda:0\"\n", toml("auto")),
    );
    let described = match describe(&path) {
        Ok(described) => described,
        Err(why) => return pass_over(&why.to_string()),
    };
    let mut together = batch(&TEXTS);
    described.embed(&mut together).unwrap();
    for (found, one) in vectors(&together, H).iter().zip(TEXTS) {
        check_close(found, &Bert::new().embed(one), 1e-4, one);
    }
}

#[test]
fn another_encoder_is_another_model() {
    let workspace = workspace();
    drop(workspace.open());
    let mut other = Bert::new();
    other.0.get_mut("embeddings.LayerNorm.bias").unwrap().1[0] += 1.0;
    other.write(&folder(&workspace));
    let engine = workspace.open();
    let error = engine.model("auto").unwrap().snapshot("").unwrap_err();
    assert!(error.to_string().contains("has another encoder"), "{error}");
}

/// Made by this script, with sentence-transformers 6.2.0 and PyTorch 2.15.0 on a CPU:
///
/// ```python
/// from sentence_transformers import SentenceTransformer
/// model = SentenceTransformer(FOLDER, device="cpu")
/// for vector in model.encode(TEXTS): print([round(float(x), 6) for x in vector[:8]])
/// ```
const MINILM: [(&str, [f32; 8]); 3] = [
    (
        "The card did not arrive.",
        [
            -0.01999, 0.101119, -0.038701, 0.046418, -0.004009, -0.063623, -0.004233, -0.012876,
        ],
    ),
    (
        "Why was I charged twice for one payment? Please refund it.",
        [
            -0.006768, 0.005404, 0.053673, 0.050929, 0.008337, -0.066035, 0.025498, -0.043971,
        ],
    ),
    (
        "naïve café, Zürich — 東京 2024!",
        [
            0.04041, 0.070766, 0.060685, -0.013007, 0.018109, 0.016618, -0.025619, -0.043075,
        ],
    ),
];
/// Of `card payment 0 failed card payment 1 failed ..` up to 199: cut at 256 tokens.
const MINILM_LONG: [f32; 8] = [
    -0.035823, 0.034024, -0.010661, -0.042881, -0.04022, 0.029433, 0.042609, -0.040114,
];

#[test]
fn minilm_gives_what_sentence_transformers_gives() {
    let Some(encoder) = std::env::var_os("PERENNIAL_ENCODER") else {
        return pass_over("set PERENNIAL_ENCODER to the folder of all-MiniLM-L6-v2");
    };
    let encoder = fs::canonicalize(encoder).expect("PERENNIAL_ENCODER names a folder");
    let named = format!("encoder = {:?}", text(&encoder));
    let workspace = Workspace::new(&[(
        "m",
        &toml("auto").replace("encoder = \"../../bert\"", &named),
    )]);
    let described = describe(&workspace.models().join("m/model.toml")).unwrap();
    let long: Vec<String> = (0..200)
        .map(|i| format!("card payment {i} failed"))
        .collect();
    let long = long.join(" ");
    let mut texts: Vec<(&str, [f32; 8])> = MINILM.to_vec();
    texts.push((&long, MINILM_LONG));
    let mut together = batch(&texts.iter().map(|(one, _)| *one).collect::<Vec<_>>());
    described.embed(&mut together).unwrap();
    for (vector, (one, expected)) in vectors(&together, 384).iter().zip(texts) {
        check_close(&vector[..8], &expected, 1e-4, one);
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}
