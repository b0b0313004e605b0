//! That the default remembers: classes that come in blocks, and the score of retention.
//!
//! Invariant: the rows are seeded, and a model learns each of them once.

use perennial::event::{Batch, Column, Outputs, Signal};
use perennial::learn::Fate;
use perennial::model::{Choice, argmax};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::LearnerHarness;

const LENGTH: usize = 8;
const CLASSES: u64 = 6;
/// Rows of each pair of classes.
const BLOCK: usize = 800;

fn model(rest: &str) -> LearnerHarness {
    let names: Vec<String> = (0..CLASSES).map(|class| format!("\"{class}\"")).collect();
    let names = names.join(", ");
    LearnerHarness::new(&format!(
        "task = \"classification\"\nclasses = [{names}]\nseed = 5\n\
         [[input]]\nname = \"x\"\nkind = \"vector\"\nlength = {LENGTH}\n{rest}"
    ))
}

/// A row of a class: around the place of its own.
fn row(class: u64, rng: &mut ChaCha8Rng) -> Batch {
    let mut place = ChaCha8Rng::seed_from_u64(100 + class);
    let mut value = || 3.0 * (place.random::<f32>() - 0.5) + rng.random::<f32>() - 0.5;
    let bytes: Vec<u8> = (0..LENGTH).flat_map(|_| value().to_le_bytes()).collect();
    Batch {
        n_rows: 1,
        columns: vec![Column::Vectors(bytes.into())],
    }
}

fn answer(model: &LearnerHarness, batch: &Batch) -> u64 {
    match model.learner.model().predict(batch, Choice::Best) {
        Ok(Outputs::Probabilities(p)) => argmax(&p) as u64,
        other => panic!("{other:?}"),
    }
}

/// Whether the answer to a row was right before it was learned.
fn learn(model: &mut LearnerHarness, batch: Batch, class: u64) -> bool {
    let right = answer(model, &batch) == class;
    let id = model.predict(batch).ids[0];
    let step = model.submit(id, Signal::Label(class.to_string()));
    assert!(matches!(step.fate, Some(Fate::Applied | Fate::Pending)));
    right
}

/// Shares of right answers: on the way, and of all classes afterwards.
fn in_blocks(model: &mut LearnerHarness) -> [f64; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut n_right = 0;
    for block in 0..CLASSES / 2 {
        for _ in 0..BLOCK {
            let class = 2 * block + u64::from(rng.random::<bool>());
            let batch = row(class, &mut rng);
            n_right += usize::from(learn(model, batch, class));
        }
    }
    let n_rows = CLASSES as usize / 2 * BLOCK;
    let tested = 600;
    let mut n_kept = 0;
    for index in 0..tested {
        let class = index % CLASSES;
        n_kept += usize::from(answer(model, &row(class, &mut rng)) == class);
    }
    [
        n_right as f64 / n_rows as f64,
        n_kept as f64 / tested as f64,
    ]
}

#[test]
fn the_default_keeps_the_classes_of_earlier_blocks() {
    let mut default = model("");
    let [progressive, kept] = in_blocks(&mut default);
    let retention = default.learner.learned().retention().expect("anchors");
    println!(
        "balanced: {progressive:.3} on the way, {kept:.3} afterwards, retention {retention:.3}"
    );
    assert!(progressive > 0.9 && kept > 0.85);
    assert!((retention - kept).abs() < 0.1);

    let mut recent = model("[learner]\nkeep = \"recent\"\n");
    let [progressive, forgotten] = in_blocks(&mut recent);
    let retention = recent.learner.learned().retention().expect("anchors");
    println!(
        "recent: {progressive:.3} on the way, {forgotten:.3} afterwards, retention {retention:.3}"
    );
    assert!(progressive > 0.95 && forgotten < kept - 0.1);
    // Retention shows the loss that progressive accuracy hides.
    assert!(retention < kept - 0.1);

    let mut everything = model("[learner]\nkeep = \"everything\"\n");
    let [progressive, kept] = in_blocks(&mut everything);
    println!("everything: {progressive:.3} on the way, {kept:.3} afterwards");
    assert!(kept > 0.85);
}

#[test]
fn of_random_labels_nothing_is_retained() {
    for rest in [
        "",
        "[learner]\nkind = \"gradient\"\n[memory]\nstrategy = \"cls-er\"\nlong_term = 500\n",
        "[learner]\nkind = \"analytic\"\nfeatures = 50\n",
    ] {
        let mut model = model(rest);
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        for _ in 0..6_000 {
            let batch = row(rng.random_range(0..CLASSES), &mut rng);
            learn(&mut model, batch, rng.random_range(0..CLASSES));
        }
        let learned = model.learner.learned();
        // Some 40 anchors a class, of which each has been asked.
        let (chance, deviation) = (1.0 / CLASSES as f64, (5.0 / 36.0 / 240.0_f64).sqrt());
        let of_model = learned.retention().expect("anchors");
        let members = learned.member_weights();
        let members = members.iter().map(|(name, _)| name.clone());
        let scores = members.zip(learned.member_retention().iter().copied());
        let all = std::iter::once(("model".to_owned(), of_model)).chain(scores);
        for (name, score) in all {
            let off = (score - chance).abs();
            assert!(off < 3.0 * deviation, "{rest}{name}: {score:.3}");
        }
    }
}

#[test]
fn retention_is_of_classes_and_of_the_third_revision() {
    let learned = |rest: &str| {
        let mut model = model(rest);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for index in 0..1_000 {
            let class = index % CLASSES;
            learn(&mut model, row(class, &mut rng), class);
        }
        model.learner.learned().retention()
    };
    assert!(learned("").is_some_and(|retention| retention > 0.9));
    assert_eq!(learned("[rules]\nrevision = 2\n"), None);
    assert_eq!(learned("[learner]\nkind = \"neighbours\"\n"), None);
}
