//! Adapters of a text encoder: their outputs, that they learn, and that their learning can be
//! repeated and taken back.

use std::borrow::Cow;
use std::fs;
use std::ops::Range;
use std::sync::Arc;

use perennial::engine::{
    Acknowledgement, Disposal, Engine, Error, LoadedDescription, Offline, PredictOptions,
    RetractionRequest, ServedModel, describe,
};
use perennial::event::{
    Batch, Column, Command, Entry, Event, Feedback, Order, Outputs, Prediction, PredictionId,
    Selector, Subject, Time,
};
use perennial::learn::{Counterfactual, CounterfactualLookup, Learner, Lookup, LookupError};
use perennial::model::weights::Tensors;
use perennial::model::{Adapters, Choice, LowRank, PinnedFile, TextEncoder};

use crate::support::bert::{Bert, H, LAYERS};
use crate::support::{AUTO, Workspace, digest, label, order};

const SHAPE: LowRank = LowRank {
    rank: 2,
    layers: LAYERS,
    learning_rate: 1e-3,
};
const ADAPTED: &str = "adapters = { rank = 2, layers = 2, learning_rate = 3e-3 }";
const TEXTS: [&str; 4] = ["my card", "refund my money please", "late cards lost", ""];

fn toml(adapters: &str) -> String {
    format!(
        "task = \"classification\"\nclasses = [\"same\", \"other\"]\n\
         [[input]]\nname = \"text\"\nkind = \"text\"\nencoder = \"../../bert\"\n{adapters}\n\
         [learner]\nkind = \"analytic\"\nfeatures = 0\n"
    )
}

fn workspace(adapters: &str) -> Workspace {
    let workspace = Workspace::new(&[("m", &toml(adapters)), ("n", AUTO)]);
    Bert::new().write(&workspace.data().with_file_name("bert"));
    workspace
}

fn encoder(workspace: &Workspace) -> Arc<TextEncoder> {
    let described: LoadedDescription = describe(&workspace.models().join("m/model.toml")).unwrap();
    let (_, pinned, _) = described.spec.adapted_encoders().next().unwrap();
    described.encoder(pinned).unwrap()
}

/// Adapters that have learned: no value is zero.
fn learned() -> Adapters {
    let mut adapters = Adapters::new(SHAPE, H, 1);
    let values = adapters.values.iter_mut().enumerate();
    values.for_each(|(index, value)| *value += 0.3 * (index as f32 * 0.7 + 0.1).sin());
    adapters
}

fn check_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs();
        assert!(off < tolerance, "{index}: {found} {expected}");
    }
}

#[test]
fn adapters_start_as_nothing() {
    let encoder = encoder(&workspace(ADAPTED));
    let new = Adapters::new(SHAPE, H, 1);
    for text in TEXTS {
        let adapted = encoder.embed(&[text], Some(&new)).unwrap();
        check_close(&adapted, &encoder.embed(&[text], None).unwrap(), 1e-6);
    }
}

#[test]
fn adapters_are_products_added_to_queries_and_values() {
    let (encoder, adapters) = (encoder(&workspace(ADAPTED)), learned());
    let mut merged = Bert::new();
    let mut pairs = adapters.values.chunks_exact(2 * SHAPE.rank * H);
    for layer in 0..LAYERS {
        for part in ["query", "value"] {
            let name = format!("encoder.layer.{layer}.attention.self.{part}.weight");
            let (a, b) = pairs.next().unwrap().split_at(SHAPE.rank * H);
            let (_, weight) = merged.0.get_mut(&name).unwrap();
            for (index, weight) in weight.iter_mut().enumerate() {
                let (row, column) = (index / H, index % H);
                let product = |k| b[row * SHAPE.rank + k] * a[k * H + column];
                *weight += (0..SHAPE.rank).map(product).sum::<f32>();
            }
        }
    }
    let together = encoder.embed(&TEXTS, Some(&adapters)).unwrap();
    for (text, together) in TEXTS.iter().zip(together.chunks_exact(H)) {
        check_close(together, &merged.embed(text), 1e-5);
        let alone = encoder.embed(&[text], Some(&adapters)).unwrap();
        check_close(&alone, together, 1e-6);
    }
}

#[test]
fn every_value_of_the_adapters_has_its_derivative() {
    let (encoder, adapters) = (encoder(&workspace(ADAPTED)), learned());
    let tokens: Vec<Vec<u32>> = TEXTS.iter().map(|t| encoder.tokens(t).unwrap()).collect();
    let pull: Vec<f32> = (0..TEXTS.len() * H).map(|i| (i as f32).cos()).collect();
    let gradient = encoder
        .gradient(&tokens, &adapters, |_| pull.clone())
        .unwrap();
    let loss = |adapters: &Adapters| -> f64 {
        let vectors = encoder.embed(&TEXTS, Some(adapters)).unwrap();
        let each = vectors.iter().zip(&pull);
        each.map(|(value, pull)| f64::from(*value) * f64::from(*pull))
            .sum()
    };
    assert_eq!(gradient.len(), adapters.values.len());
    for (index, derivative) in gradient.iter().enumerate() {
        let at = |by: f32| {
            let mut moved = adapters.clone();
            moved.values[index] += by;
            loss(&moved)
        };
        let measured = ((at(0.02) - at(-0.02)) / 0.04) as f32;
        let tolerance = 2e-3 + 0.02 * derivative.abs();
        assert!(
            (derivative - measured).abs() < tolerance,
            "{index}: {derivative} {measured}"
        );
        assert!(derivative.abs() > 1e-6, "{index}: nothing would train it");
    }
}

fn batch(text: &str) -> Batch {
    Batch {
        n_rows: 1,
        columns: vec![Column::Strings(vec![text.to_owned()])],
    }
}

/// Texts of two words each, and whether these are the same: no sum of words tells.
fn labelled_text(index: usize) -> (String, &'static str) {
    const WORDS: [&str; 4] = ["card", "late", "refund", "money"];
    let draw = index * 7 % 16;
    let (first, second) = (draw / 4, draw % 4);
    let second = if index.is_multiple_of(2) {
        first
    } else {
        second
    };
    let truth = if first == second { "same" } else { "other" };
    (format!("{} {}", WORDS[first], WORDS[second]), truth)
}

/// Teaches lessons, in turn from either source, or from `only` one.
async fn teach(model: &ServedModel, range: Range<usize>, only: Option<&str>) {
    for index in range {
        let (text, truth) = labelled_text(index);
        let snapshot = model.snapshot("").unwrap();
        let batch = model.embed(&snapshot, batch(&text)).await.unwrap();
        let id = model
            .predict(&snapshot, batch, PredictOptions::default())
            .await
            .unwrap()
            .ids[0];
        let source = ["people", "batch"][index % 5 / 4];
        if only.is_some_and(|only| only != source) {
            continue;
        }
        let feedback = Feedback {
            source: source.to_owned(),
            ..label(id, &format!("row-{index}"), truth)
        };
        match model.accept(feedback).unwrap().wait().await.unwrap() {
            Acknowledgement::Accepted { position } => {
                model.wait_for_position(position).await.unwrap();
            }
            other => panic!("row {index} came before: {other:?}"),
        }
    }
}

fn values(engine: &Engine) -> Vec<f32> {
    let snapshot = engine.model("m").unwrap().snapshot("").unwrap();
    let adapters = snapshot.model.adapters[0].as_ref().unwrap();
    adapters.values.clone()
}

/// Gives a learner its encoder, and nothing else.
struct Encoders(LoadedDescription);

fn absent(what: &str) -> LookupError {
    LookupError::NotRetained(what.to_owned())
}

impl Lookup for Encoders {
    fn encoder(&mut self, pinned: &PinnedFile) -> Result<Arc<TextEncoder>, LookupError> {
        self.0.encoder(pinned).ok_or_else(|| absent("another"))
    }

    fn prediction(&mut self, _: u64) -> Result<Cow<'_, Prediction>, LookupError> {
        Err(absent("rows come with their labels"))
    }

    fn version(&mut self, _: u64) -> Result<(Tensors, Tensors), LookupError> {
        Err(absent("nothing is restored"))
    }
}

impl CounterfactualLookup for Encoders {
    fn counterfactual(
        &mut self,
        _: &Order,
        _: u64,
        _: &[u64],
        _: Option<u64>,
    ) -> Result<Counterfactual, LookupError> {
        Err(absent("nothing is taken back"))
    }
}

/// The share of the last lessons that were answered rightly before they were learned.
fn learned_share(adapters: &str) -> f64 {
    const LESSONS: u64 = 6000;
    const LAST: u64 = 500;
    let workspace = workspace(adapters);
    let described = describe(&workspace.models().join("m/model.toml")).unwrap();
    let mut learner = described.learner();
    let mut lookup = Encoders(described.clone());
    let mut append = |learner: &mut Learner, position, event| {
        let entry = Entry {
            position,
            time: Time(0),
            event,
        };
        learner.apply(&entry, &mut lookup).unwrap();
    };
    append(
        &mut learner,
        1,
        Event::Description(described.description.clone()),
    );
    let mut n_right = 0;
    for index in 0..LESSONS {
        let (text, truth) = labelled_text(index as usize);
        let mut batch = batch(&text);
        let model = learner.model();
        described.embed(&mut batch).unwrap();
        described.embed_adapted(&mut batch, &model).unwrap();
        let Outputs::Probabilities(shares) = model.predict(&batch, Choice::Best).unwrap() else {
            panic!("a classification")
        };
        let right = (shares[0] > 0.5) == (truth == "same");
        n_right += u64::from(right && index >= LESSONS - LAST);
        let feedback = Feedback {
            subject: Subject::Inputs {
                batch,
                decision: None,
            },
            ..label(PredictionId(1), &index.to_string(), truth)
        };
        append(&mut learner, index + 2, Event::Feedback(feedback));
    }
    n_right as f64 / LAST as f64
}

#[test]
fn an_adapted_encoder_learns_what_a_frozen_one_cannot() {
    let (frozen, adapted) = (learned_share(""), learned_share(ADAPTED));
    println!("{frozen} {adapted}");
    assert!(adapted > frozen + 0.1, "{frozen} {adapted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_adapters_are_the_same_again_without_the_folder() {
    let workspace = workspace(ADAPTED);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach(model, 0..70, None).await;
    order(model, Order::Checkpoint).await;
    teach(model, 70..140, None).await;
    let (before, adapters) = (digest(model), values(&engine));
    assert_ne!(adapters, Adapters::new(SHAPE, H, 0).values);
    // Served texts are encoded as they were learned.
    let snapshot = model.snapshot("").unwrap();
    let served = model.embed(&snapshot, batch("my card")).await.unwrap();
    let Column::Embedded { vectors, .. } = &served.columns[0] else {
        panic!("it is encoded")
    };
    let mut learned = Adapters::new(SHAPE, H, 0);
    learned.values = adapters;
    let expected = encoder(&workspace)
        .embed(&["my card"], Some(&learned))
        .unwrap();
    let expected: Vec<u8> = expected.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(vectors[..], expected[..]);
    order(model, Order::Restore { version: 2 }).await;
    let restored = digest(model);
    assert_ne!(restored, before);
    drop(engine);
    assert_eq!(
        crate::pretrained::replayed(&workspace, "m"),
        restored.to_string()
    );
    let folder = workspace.data().with_file_name("bert");
    fs::rename(&folder, folder.with_extension("away")).unwrap();
    assert_eq!(
        crate::pretrained::replayed(&workspace, "m"),
        restored.to_string()
    );
    workspace.describe("m", &toml(ADAPTED).replace("bert", "bert.away"));
    assert_eq!(digest(workspace.open().model("m").unwrap()), restored);
}

/// A request that arrived before the adapters changed is encoded and answered as of its arrival.
#[tokio::test(flavor = "multi_thread")]
async fn p4_the_snapshot_that_answers_a_text_has_encoded_it() {
    let workspace = workspace(ADAPTED);
    let engine = workspace.open();
    let model = engine.model("m").unwrap();
    teach(model, 0..70, None).await;
    let arrived = model.snapshot("").unwrap();
    let embed = async |snapshot| model.embed(snapshot, batch("my card")).await.unwrap();
    let before = embed(&arrived).await;
    teach(model, 70..140, None).await;
    let newest = model.snapshot("").unwrap();
    assert_ne!(embed(&newest).await, before);
    let encoded = embed(&arrived).await;
    assert_eq!(encoded, before);
    let answer = model
        .predict(&arrived, encoded, PredictOptions::default())
        .await;
    let answer = answer.unwrap();
    assert_eq!(answer.position, arrived.position);
    let audit = engine.audit(answer.ids[0], None).unwrap().unwrap();
    assert!(audit.bit_equal(), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_adapters_forget_a_retracted_source() {
    let (workspace, other) = (workspace(ADAPTED), self::workspace(ADAPTED));
    let (engine, twin) = (workspace.open(), other.open());
    let (model, twin) = (engine.model("m").unwrap(), twin.model("m").unwrap());
    teach(model, 0..130, None).await;
    teach(twin, 0..130, Some("people")).await;
    assert_ne!(digest(model), digest(twin));
    let selector = Selector::Source("batch".to_owned());
    let request = RetractionRequest {
        selector,
        actor: String::new(),
        note: "a test asks".to_owned(),
        disposal: Disposal::Keep,
    };
    assert_eq!(model.retract(request).await.unwrap().plan.excluded, 26);
    assert_eq!(digest(model), digest(twin));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_adapters_are_adopted_and_given_up() {
    let workspace = workspace("");
    let engine = workspace.open();
    teach(engine.model("m").unwrap(), 0..70, None).await;
    drop(engine);
    for (adapters, range) in [(ADAPTED, 70..140), ("", 140..150)] {
        workspace.describe("m", &toml(adapters));
        let described = describe(&workspace.models().join("m/model.toml")).unwrap();
        let offline = Offline::open(&workspace.data(), "m").unwrap();
        offline.keep_encoders(&described).unwrap();
        let mut other = offline.replay_with(described.description.clone()).unwrap();
        while other.advance(1000).unwrap() {}
        let expected = other.outcome().digest;
        drop(offline);
        let command = Command {
            order: Order::Adopt(described.description),
            actor: String::new(),
            note: "a test asks".to_owned(),
        };
        Offline::order(&workspace.data(), "m", command).unwrap();
        let engine = workspace.open();
        let model = engine.model("m").unwrap();
        assert_eq!(digest(model).to_string(), expected);
        teach(model, range, None).await;
        let learned = digest(model);
        drop(engine);
        assert_eq!(
            crate::pretrained::replayed(&workspace, "m"),
            learned.to_string()
        );
    }
}

#[test]
fn p9_adapters_that_cannot_be_are_refused() {
    let check = |adapters: &str, expected: &str| {
        let workspace = workspace(adapters);
        let error: Error = describe(&workspace.models().join("m/model.toml")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        let engine = workspace.open();
        assert!(engine.model("m").unwrap().snapshot("").is_err());
        assert!(engine.model("n").unwrap().snapshot("").is_ok());
    };
    check(
        "adapters = { rank = 0 }",
        "adapters.rank = 0: expected a whole number from 1 to 64",
    );
    check(
        "adapters = { layers = 65 }",
        "adapters.layers = 65: expected a whole number of layers from 1 to 64",
    );
    check(
        "adapters = { learning_rate = 0 }",
        "learning_rate = 0: expected a number larger than 0, at most 1",
    );
    check("adapters = { layers = 3 }", "8 wide, and 2 layers of it");
    check("adapters = { rank = 9 }", "8 wide, and 2 layers of it");
    check(
        "adapters = { alpha = 2 }",
        "[input.adapters] has no key \"alpha\"",
    );
    let workspace = workspace(ADAPTED);
    workspace.describe(
        "m",
        &toml(ADAPTED).replace("encoder = \"../../bert\"\n", ""),
    );
    let error = describe(&workspace.models().join("m/model.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("only a text with an encoder has them"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_kept_encoder_that_was_changed_is_named() {
    let workspace = workspace(ADAPTED);
    let engine = workspace.open();
    teach(engine.model("m").unwrap(), 0..10, None).await;
    drop(engine);
    let kept = fs::read_dir(workspace.data().join("m/encoders")).unwrap();
    let kept = kept.map(|one| one.unwrap().path()).next().unwrap();
    let config = fs::read_to_string(kept.join("config.json")).unwrap();
    fs::write(kept.join("config.json"), format!("{config} ")).unwrap();
    let offline = Offline::open(&workspace.data(), "m").unwrap();
    let mut replay = offline.replay(None).unwrap();
    let error = replay.advance(1000).unwrap_err().to_string();
    assert!(
        error.contains("not the encoder that the model started with"),
        "{error}"
    );
    drop((replay, offline));
    // A start with the folder that describes it mends what is kept.
    let engine = workspace.open();
    assert!(engine.model("m").unwrap().snapshot("").is_ok());
    drop(engine);
    assert_eq!(
        fs::read_to_string(kept.join("config.json")).unwrap(),
        config
    );
}
