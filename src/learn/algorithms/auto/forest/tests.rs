//! The trees on their own: inputs that meet, rules that turn, bounds, corrections, saves.

use super::*;
use crate::event::{Batch, Column};
use crate::model::{Encoder, Spec};

const SPEC: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n\
    [[input]]\nname = \"y\"\nkind = \"number\"\n\
    [[input]]\nname = \"c\"\nkind = \"category\"\n";
const N_DENSE: usize = 2;

/// Rows in the unit square with a category that depends on a number alone.
fn row(number: u64) -> Encoded {
    let part = |turn| (mixed(number ^ mixed(turn)) >> 40) as f32 / (1u64 << 24) as f32;
    Encoded {
        dense: vec![part(1), part(2)],
        sparse: vec![((mixed(number ^ mixed(3)) % 3) as u32, 1.0)],
        past: None,
    }
}

/// A class that neither the first number nor the category predicts alone.
fn class(row: &Encoded) -> u32 {
    u32::from((row.dense[0] > 0.5) ^ (row.sparse[0].0 == 1))
}

fn begun() -> (Forest, ForestLearner) {
    let forest = Forest::new(6, 2);
    let learner = ForestLearner::new(&forest, 7);
    (forest, learner)
}

/// Learns rows, and counts those whose class the forest knew before.
fn learn(
    (forest, learner): &mut (Forest, ForestLearner),
    numbers: std::ops::Range<u64>,
    class: fn(&Encoded) -> u32,
) -> usize {
    let mut n_right = 0;
    for number in numbers {
        let row = row(number);
        let class = class(&row);
        n_right += usize::from(crate::model::argmax(&forest.outputs(&row)) == class as usize);
        learner.observe(forest, &row, Target::Class(class).into());
    }
    n_right
}

#[test]
fn what_holds_only_where_two_inputs_meet_is_found() {
    let mut both = begun();
    learn(&mut both, 0..2000, class);
    let n_right = learn(&mut both, 2000..3000, class);
    assert!(n_right > 970, "{n_right}");
}

#[test]
fn a_rule_that_turns_is_followed() {
    let mut both = begun();
    learn(&mut both, 0..4000, class);
    let turned = |row: &Encoded| 1 - class(row);
    learn(&mut both, 4000..4300, turned);
    let n_right = learn(&mut both, 4300..5300, turned);
    assert!(n_right > 950, "{n_right}");
    let other = |row: &Encoded| u32::from((row.dense[1] > 0.3) ^ (row.dense[0] > 0.8));
    learn(&mut both, 5300..7300, other);
    let n_right = learn(&mut both, 7300..8300, other);
    assert!(n_right > 930, "{n_right}");
}

#[test]
fn a_small_weight_neither_teaches_nor_judges_much() {
    let mut both = begun();
    learn(&mut both, 0..3000, class);
    let errors =
        |both: &(Forest, ForestLearner)| both.0.trees.iter().map(|one| one.error).sum::<f32>();
    let before = errors(&both);
    for number in 3000..3500 {
        let row = row(number);
        let known = Known {
            weight: 0.001,
            ..Target::Class(1 - class(&row)).into()
        };
        both.1.observe(&mut both.0, &row, known);
    }
    assert!(errors(&both) < before + 0.1, "{before} {}", errors(&both));
    let n_right = learn(&mut both, 3500..4000, class);
    assert!(n_right > 480, "{n_right}");
}

#[test]
fn trees_are_bounded() {
    let noise = |row: &Encoded| (row.dense[1] * 1e6) as u32 % 2;
    let mut both = begun();
    learn(&mut both, 0..30_000, noise);
    for tree in &both.0.trees {
        assert!(tree.splits.len() <= ForestLearner::nodes_max(2));
    }
    for n_outputs in [2, 10, 64] {
        let leaves = ForestLearner::nodes_max(n_outputs) / 2;
        assert!((16..=LEAVES_MAX).contains(&leaves), "{n_outputs}: {leaves}");
        assert!(leaves * (TESTS_MAX + 2) * n_outputs <= NUMBERS_MAX);
    }
}

#[test]
fn an_anchor_is_not_learned() {
    let mut both = begun();
    learn(&mut both, 0..500, class);
    let before = both.clone();
    let known = Known {
        is_anchor: true,
        ..Target::Class(0).into()
    };
    both.1.observe(&mut both.0, &row(501), known);
    let amendment = Amendment {
        example: 501,
        before: Target::Class(0),
        after: Target::Class(1),
        n_since: 0,
        weight: 1.0,
        is_anchor: true,
    };
    both.1.amend(&mut both.0, &row(501), &amendment);
    assert!(both == before);
}

#[test]
fn a_class_that_was_wrong_is_put_right() {
    let mut both = begun();
    let wrong = |_: &Encoded| 0;
    learn(&mut both, 0..30, wrong);
    for number in 0..30 {
        let amendment = Amendment {
            example: number,
            before: Target::Class(0),
            after: Target::Class(1),
            n_since: 30 - number,
            weight: 1.0,
            is_anchor: false,
        };
        both.1.amend(&mut both.0, &row(number), &amendment);
    }
    assert!(both.0.outputs(&row(99))[1] > 0.9);
}

#[test]
fn thresholds_stand_in_the_scales_of_now() {
    let spec = Spec::parse(SPEC).expect("a description");
    let mut encoder = Encoder::new(&spec, 1 << 10);
    let batch = |value: f64| Batch {
        n_rows: 1,
        columns: vec![
            Column::Numbers(vec![value]),
            Column::Numbers(vec![0.0]),
            Column::Strings(vec!["a".to_owned()]),
        ],
    };
    let mut both = begun();
    let mut n_right = 0;
    for turn in 0..6000u64 {
        // The level rises, and the rule is of the value as it is.
        let value = (mixed(turn) % 100) as f64 + turn as f64 / 100.0;
        let batch = batch(value);
        encoder.observe(&batch, 0);
        both.1.stand_in(&mut both.0, &Arc::new(encoder.scales()));
        let row = encoder.encode(&batch, 0);
        let class = u32::from(value > 60.0);
        let known = crate::model::argmax(&both.0.outputs(&row)) == class as usize;
        n_right += usize::from(turn >= 3000 && known);
        both.1
            .observe(&mut both.0, &row, Target::Class(class).into());
    }
    assert!(n_right > 2970, "{n_right}");
}

#[test]
fn p2_what_is_saved_is_loaded_and_goes_on_alike() {
    let scales = || {
        let spec = Spec::parse(SPEC).expect("a description");
        Arc::new(Encoder::new(&spec, 1 << 10).scales())
    };
    let mut one = begun();
    one.1.stand_in(&mut one.0, &scales());
    learn(&mut one, 0..3000, class);
    let mut other = begun();
    other.1.stand_in(&mut other.0, &scales());
    let (mut weights, mut state) = (one.0.save(), one.1.save());
    let loaded = other
        .1
        .load(&mut other.0, N_DENSE, (&mut weights, &mut state));
    assert_eq!(loaded, Ok(()));
    assert!(weights.0.is_empty() && state.0.is_empty(), "all is read");
    assert!(one == other);
    assert_eq!(
        learn(&mut one, 3000..4000, class),
        learn(&mut other, 3000..4000, class)
    );
    assert!(one == other);
}

#[test]
fn p9_what_was_forged_is_refused() {
    let mut one = begun();
    learn(&mut one, 0..1000, class);
    let check = |change: fn(&mut Tensors)| {
        let (mut weights, mut state) = (one.0.save(), one.1.save());
        change(&mut state);
        let mut other = begun();
        let loaded = other
            .1
            .load(&mut other.0, N_DENSE, (&mut weights, &mut state));
        assert!(loaded.is_err());
    };
    check(|state| state.put_u8("0.observes", &[1], vec![1]));
    check(|state| {
        let n = state
            .take_u32("0.n_rows", &[None])
            .expect("it is there")
            .len();
        state.put_u32("0.n_rows", &[n], vec![0; n]);
        state.put_u32("0.n_tests", &[n], vec![1000; n]);
    });
    check(|state| state.put_f32("1.held", &[1], vec![0.0]));
    check(|state| state.put_u64("0.numbers", &[4], vec![1, 1, 2, 0]));
    check(|state| state.put_u64("0.numbers", &[4], vec![1, 1, 0, 1 << 32]));
    check(|state| state.put_f32("0.error_mean", &[1], vec![1.5]));
    check(|state| state.put_u64("numbers", &[1], vec![0]));
}
