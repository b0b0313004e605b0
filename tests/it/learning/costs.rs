//! Rare classes: the label follows from costs where a description gives them, and probabilities do not.
//!
//! Invariant: the rows are seeded, and each is answered before it is learned.

use std::sync::Arc;

use perennial::event::{Batch, Column, Outputs, Prediction, Signal};
use perennial::learn::Fate;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::LearnerHarness;

fn model(learner: &str) -> LearnerHarness {
    LearnerHarness::new(&format!(
        "task = \"classification\"\nclasses = [\"no\", \"yes\"]\nseed = 3\n\
         [[input]]\nname = \"x\"\nkind = \"number\"\n[learner]\n{learner}\n"
    ))
}

/// A row, and whether it is of the rare class: one in thirty, the likelier the larger the number.
fn rows(n: usize) -> impl Iterator<Item = (Batch, bool)> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    (0..n).map(move |_| {
        let rare = rng.random_range(0..30) == 0;
        let x = rng.random::<f64>() + if rare { 0.7 } else { 0.0 };
        let columns = vec![Column::Numbers(vec![x])];
        (Batch { n_rows: 1, columns }, rare)
    })
}

/// The class answered, and the probability of the rare one.
fn answer(prediction: &Prediction) -> (usize, f32) {
    match &prediction.outputs {
        Outputs::Probabilities(p) => (usize::from(p[1] > p[0]), p[1]),
        Outputs::Decisions {
            probabilities,
            chosen,
        } => (chosen[0] as usize, probabilities[1]),
        other => panic!("{other:?}"),
    }
}

/// The shares of both classes that are answered right, the probabilities, and the score that the
/// learner states.
fn run(learner: &str) -> ([f64; 2], Vec<u32>, f64) {
    let mut model = model(learner);
    let (mut right, mut all, mut bits) = ([0.0; 2], [0.0; 2], Vec::new());
    let n_rows = 1500;
    for (batch, rare) in rows(n_rows) {
        let prediction = model.predict(batch);
        let (class, p) = answer(&prediction);
        let place = usize::from(rare);
        all[place] += 1.0;
        right[place] += f64::from(u8::from(class == place));
        bits.push(p.to_bits());
        let label = Signal::Label(["no", "yes"][place].to_owned());
        let step = model.submit(prediction.ids[0], label);
        assert!(matches!(step.fate, Some(Fate::Applied | Fate::Pending)));
    }
    let stated = model.learner.evaluation().served();
    assert_eq!(
        stated.sum,
        right[0] + right[1],
        "what was answered is judged"
    );
    let digest = model.learner.learned().digest();
    model.reload();
    assert_eq!(model.learner.learned().digest(), digest);
    ([right[0] / all[0], right[1] / all[1]], bits, stated.mean())
}

#[test]
fn costs_move_the_label_and_not_the_probabilities() {
    for kind in [
        "kind = \"auto\"",
        "kind = \"analytic\"",
        "kind = \"gradient\"",
    ] {
        let (likeliest, bits, _) = run(kind);
        let (balanced, same, _) = run(&format!("{kind}\nbalanced = true"));
        let (costly, also, _) = run(&format!("{kind}\ncosts = {{ yes = 1e6 }}"));
        println!("{kind}: {likeliest:?} balanced {balanced:?} costly {costly:?}");
        assert!(bits == same && bits == also, "{kind}");
        assert!(
            balanced[1] > likeliest[1] + 0.1 && balanced[1] > 0.6,
            "{kind}"
        );
        assert!(balanced[0] > 0.6, "{kind}");
        assert!(costly[1] > 0.99, "{kind}");
    }
}

#[test]
fn a_description_can_take_up_costs_and_leave_them() {
    let mut one = model("kind = \"analytic\"\nbalanced = true");
    for (batch, rare) in rows(300) {
        let id = one.predict(batch).ids[0];
        let label = ["no", "yes"][usize::from(rare)];
        one.submit(id, Signal::Label(label.to_owned()));
    }
    let spec = one.learner.spec();
    let plain = perennial::model::Spec {
        costs: perennial::model::Costs::None,
        ..(**spec).clone()
    };
    assert_eq!(spec.check_change(&plain), Ok(()));
    let asked = rows(1).next().expect("a row").0;
    let answers = |spec: &Arc<perennial::model::Spec>| {
        let model = one.learner.learned().model(spec);
        model.predict(&asked, perennial::model::Choice::Best)
    };
    let decided = answers(spec).expect("the processor answers");
    let plain = answers(&Arc::new(plain)).expect("the processor answers");
    assert!(matches!(decided, Outputs::Decisions { .. }));
    assert!(matches!(plain, Outputs::Probabilities(_)));
    assert_eq!(decided.probabilities(), plain.probabilities());
}
