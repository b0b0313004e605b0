//! The recursion against the batch problem, which is summed and solved here in the plainest way.

use super::*;
use crate::model::weights::Tensors;

const N: usize = 50;

/// Seeded numbers between -1 and 1.
struct Numbers(u64);

impl Numbers {
    fn draw(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Correlated features, the first of them constant, and two targets.
    fn example(&mut self, n: usize) -> (Vec<f32>, Vec<f32>) {
        let shared = self.draw();
        let mut phi: Vec<f32> = (0..n).map(|_| 0.7 * shared + self.draw()).collect();
        phi[0] = 1.0;
        let right = phi[1] - 0.5 * phi[n - 1] + 0.3 * self.draw() > 0.2;
        (phi, vec![f32::from(u8::from(right)), shared])
    }
}

/// The sums of a batch, without any recursion.
struct Batch {
    n: usize,
    forgetting: f64,
    gram: Vec<f64>,
    moments: Vec<f64>,
}

impl Batch {
    fn new(n: usize, forgetting: f64) -> Batch {
        Batch {
            n,
            forgetting,
            gram: vec![0.0; n * n],
            moments: vec![0.0; 2 * n],
        }
    }

    fn observe(&mut self, phi: &[f32], targets: &[f32]) {
        let phi: Vec<f64> = phi.iter().map(|x| f64::from(*x)).collect();
        for (row, a) in self.gram.chunks_exact_mut(self.n).zip(&phi) {
            for (sum, b) in row.iter_mut().zip(&phi) {
                *sum = self.forgetting * *sum + a * b;
            }
        }
        for (row, y) in self.moments.chunks_exact_mut(self.n).zip(targets) {
            for (sum, x) in row.iter_mut().zip(&phi) {
                *sum = self.forgetting * *sum + f64::from(*y) * x;
            }
        }
    }

    /// Gauss and Jordan with pivots, `[2, n]`.
    fn solve(&self, ridge: f64) -> Vec<f64> {
        let n = self.n;
        let row = |i: usize| {
            let mut row = self.gram[i * n..(i + 1) * n].to_vec();
            row[i] += ridge;
            row.extend([self.moments[i], self.moments[n + i]]);
            row
        };
        let mut rows: Vec<Vec<f64>> = (0..n).map(row).collect();
        for i in 0..n {
            let best = (i..n).max_by(|a, b| rows[*a][i].abs().total_cmp(&rows[*b][i].abs()));
            rows.swap(i, best.unwrap());
            let pivot = rows[i].clone();
            for (k, row) in rows.iter_mut().enumerate().filter(|(k, _)| *k != i) {
                let factor = row[i] / pivot[i];
                row.iter_mut()
                    .zip(&pivot)
                    .for_each(|(a, b)| *a -= factor * b);
                debug_assert!(k < n);
            }
        }
        let solution = |output: usize| (0..n).map(move |i| (i, n + output));
        (0..2)
            .flat_map(solution)
            .map(|(i, at)| rows[i][at] / rows[i][i])
            .collect()
    }
}

fn settings(n: usize, forgetting: f64) -> Settings {
    Settings {
        n_features: n,
        n_outputs: 2,
        forgetting,
        ridge: 2.0,
    }
}

/// The ridge as it has faded since the last refresh.
fn faded_ridge(recursion: &Recursion) -> f64 {
    let Settings {
        forgetting, ridge, ..
    } = recursion.settings;
    ridge * forgetting.powi(recursion.n_since_refresh as i32)
}

/// The largest difference of the weights, as a part of the largest weight.
fn distance(recursion: &Recursion, batch: &Batch) -> f64 {
    let exact = batch.solve(faded_ridge(recursion));
    let largest = exact.iter().fold(0.0, |max: f64, w| max.max(w.abs()));
    let differences = recursion
        .weight
        .iter()
        .zip(&exact)
        .map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max) / largest
}

#[test]
fn a_million_updates_are_the_batch_solution() {
    for forgetting in [1.0, 0.999] {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let (mut recursion, mut batch) = (
            Recursion::new(settings(N, forgetting)),
            Batch::new(N, forgetting),
        );
        for index in 1..=1_000_000u32 {
            let (phi, targets) = numbers.example(N);
            assert!(recursion.observe(&phi, &targets));
            batch.observe(&phi, &targets);
            if index < 4 || [50, 1023, 1024, 2000, 999_983, 1_000_000].contains(&index) {
                let distance = distance(&recursion, &batch);
                assert!(distance < 1e-8, "{forgetting} {index}: {distance}");
            }
        }
    }
}

#[test]
fn blocks_are_the_batch_solution() {
    for (forgetting, n) in [(1.0, 80), (0.99, 80), (1.0, 600)] {
        let mut numbers = Numbers(77);
        let (mut recursion, mut batch) = (
            Recursion::new(settings(n, forgetting)),
            Batch::new(n, forgetting),
        );
        // Full blocks, odd ones, and single examples between them.
        for n_rows in [64, 1, 9, 40, 3, 64, 64, 5, 128] {
            let (mut all, mut wanted) = (Vec::new(), Vec::new());
            for _ in 0..n_rows {
                let (phi, targets) = numbers.example(n);
                batch.observe(&phi, &targets);
                all.extend(phi);
                wanted.extend(targets);
            }
            recursion.observe(&all, &wanted);
            let distance = distance(&recursion, &batch);
            assert!(distance < 1e-8, "{forgetting} {n} {n_rows}: {distance}");
        }
    }
}

#[test]
fn blocks_and_single_examples_leave_the_same_noise_and_posterior() {
    for forgetting in [1.0, 0.99] {
        let mut numbers = Numbers(3);
        let mut one = Recursion::new(settings(20, forgetting));
        let mut many = one.clone();
        let (mut all, mut wanted) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            let (phi, targets) = numbers.example(20);
            one.observe(&phi, &targets);
            all.extend(phi);
            wanted.extend(targets);
        }
        many.observe(&all, &wanted);
        let (phi, _) = numbers.example(20);
        let (a, b) = (one.posterior(), many.posterior());
        assert!((a.noise - b.noise).abs() < 1e-9 * a.noise);
        let (a, b) = (a.deviation(&phi), b.deviation(&phi));
        assert!((a - b).abs() < 1e-5 * a, "{a} {b}");
    }
}

#[test]
fn a_deviation_is_that_of_the_formula() {
    let mut numbers = Numbers(11);
    let mut recursion = Recursion::new(settings(3, 1.0));
    let phi = [1.0, 0.5, -0.25f32];
    // Before the first example: noise 1, P = I / ridge.
    let length: f32 = phi.iter().map(|x| x * x).sum();
    let first = recursion.posterior().deviation(&phi);
    assert!((first - (length / 2.0).sqrt()).abs() < 1e-6);
    for _ in 0..5000 {
        // Independent features with variance 1/3 but for the constant; targets of noise 1/3.
        let row = [1.0, numbers.draw(), numbers.draw()];
        recursion.observe(&row, &[numbers.draw(), numbers.draw()]);
    }
    let expected = (1.0 / 3.0 * (1.0 + 3.0 * (0.25 + 0.0625)) / 5000.0f32).sqrt();
    let last = recursion.posterior().deviation(&phi);
    assert!((last / expected - 1.0).abs() < 0.05, "{last} {expected}");
}

#[test]
fn an_estimate_without_a_row_is_that_of_a_regression_that_never_saw_it() {
    for forgetting in [1.0, 0.99] {
        for n_after in [0, 3, 40, 300] {
            let mut numbers = Numbers(7);
            let [mut with, mut without] =
                [(); 2].map(|()| Recursion::new(settings(20, forgetting)));
            let mut asked = None;
            for index in 0..60 + n_after {
                let (phi, targets) = numbers.example(20);
                with.observe(&phi, &targets);
                if index == 59 {
                    // In its place a row without information, so that ages are alike.
                    without.observe(&[0.0; 20], &[0.0; 2]);
                    asked = Some((phi, targets));
                } else {
                    without.observe(&phi, &targets);
                }
            }
            let (phi, targets) = asked.expect("it came");
            let found = with.estimates_without(&phi, &targets, n_after as u64);
            for (found, expected) in found.iter().zip(without.scores(&phi)) {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{forgetting} {n_after}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn a_correction_is_as_if_it_had_been_learned_so() {
    for forgetting in [1.0, 0.99] {
        for n_after in [0, 3, 40, 2000] {
            let mut numbers = Numbers(5);
            let mut recursion = Recursion::new(settings(20, forgetting));
            let mut batch = Batch::new(20, forgetting);
            let mut first = Vec::new();
            for index in 0..100 + n_after {
                let (phi, targets) = numbers.example(20);
                if index == 90 {
                    first = phi.clone();
                }
                recursion.observe(&phi, &targets);
                batch.observe(&phi, &targets);
                if index == 99 {
                    assert!(recursion.correct(&first, 1, -0.75));
                    for (sum, x) in batch.moments[20..].iter_mut().zip(&first) {
                        *sum -= 0.75 * f64::from(*x);
                    }
                    assert!(distance(&recursion, &batch) < 1e-9);
                }
            }
            let distance = distance(&recursion, &batch);
            assert!(distance < 1e-9, "{forgetting} {n_after}: {distance}");
        }
    }
}

#[test]
fn an_amended_example_is_as_if_it_had_been_learned_so() {
    for forgetting in [1.0, 0.99] {
        for n_later in [0, 3, 40, 2000] {
            let mut numbers = Numbers(5);
            let mut amended = Recursion::new(settings(20, forgetting));
            let mut right = amended.clone();
            let (mut first, mut before) = (Vec::new(), Vec::new());
            let after = vec![-0.5, 2.0];
            for index in 0..=90 + n_later {
                let (phi, targets) = numbers.example(20);
                amended.observe(&phi, &targets);
                if index == 90 {
                    right.observe(&phi, &after);
                    (first, before) = (phi, targets);
                } else {
                    right.observe(&phi, &targets);
                }
            }
            let left = amended.left_after(n_later);
            assert!(amended.amend(&first, [&before, &after], left));
            let apart = apart(&amended, &right);
            assert!(apart < 1e-9, "{forgetting} {n_later}: {apart}");
            let noises = [&amended, &right].map(|one| one.posterior().noise);
            assert!((noises[0] - noises[1]).abs() < 1e-6, "{noises:?}");
        }
    }
}

/// The largest difference of two regressions' weights.
fn apart(one: &Recursion, other: &Recursion) -> f64 {
    let weights = one.weight.iter().zip(&other.weight);
    weights.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_regression_stands_in_another_scale_as_if_it_had_been_learned_in_it() {
    let (factor, shifts) = (0.4, [-1.5, 0.25]);
    let change = |(y, shift): (&f32, &f64)| (factor * f64::from(*y) + shift) as f32;
    for forgetting in [1.0, 0.99] {
        for n_examples in [0, 1, 7, 32, 90, 2000] {
            let mut numbers = Numbers(5);
            let mut moved = Recursion::new(settings(20, forgetting));
            let mut right = moved.clone();
            for _ in 0..n_examples {
                let (phi, targets) = numbers.example(20);
                moved.observe(&phi, &targets);
                let other: Vec<f32> = targets.iter().zip(&shifts).map(change).collect();
                right.observe(&phi, &other);
            }
            moved.rescale(factor, &shifts, 0);
            for n_later in 0..60 {
                let apart = apart(&moved, &right);
                assert!(apart < 1e-5, "{forgetting} {n_examples} {n_later}: {apart}");
                let (phi, targets) = numbers.example(20);
                moved.observe(&phi, &targets);
                right.observe(&phi, &targets);
            }
        }
    }
}

#[test]
fn nothing_winds_up_where_nothing_is_excited() {
    let mut recursion = Recursion::new(settings(N, 0.95));
    let mut phi = vec![0.0; N];
    phi[0] = 1.0;
    phi[7] = 3.0;
    for _ in 0..100_000 {
        recursion.observe(&phi, &[1.0, -1.0]);
    }
    let scores = recursion.scores(&phi);
    assert!(
        (scores[0] - 1.0).abs() < 0.02 && (scores[1] + 1.0).abs() < 0.02,
        "{scores:?}"
    );
    let largest = recursion.matrices.as_ref().unwrap().inverse.diagonal_max();
    assert!(
        largest * recursion.growth <= 1.01 / (0.5 * 0.95 * 2.0),
        "{largest}"
    );
    // A world that never showed is learned at its first look.
    phi[7] = 0.0;
    phi[8] = 3.0;
    recursion.observe(&phi, &[-1.0, 1.0]);
    assert!(recursion.scores(&phi)[0] < 0.0);
}

#[test]
fn hostile_numbers_leave_everything_finite() {
    let mut recursion = Recursion::new(settings(12, 0.99));
    for index in 0..5000u32 {
        let sign = if index % 3 == 0 { -1.0 } else { 1.0 };
        let phi = [100.0 * sign; 12];
        assert!(recursion.observe(&phi, &[f32::MAX * sign, -1e30]));
    }
    for bad in [f32::NAN, f32::INFINITY] {
        let before = recursion.clone();
        assert!(!recursion.observe(&[bad; 12], &[0.0, 0.0]));
        assert!(!recursion.observe(&[0.0; 12], &[0.0, bad]));
        assert!(!recursion.correct(&[0.0; 12], 0, bad));
        assert_eq!(recursion, before);
    }
    for tensors in [recursion.weights(), recursion.state()] {
        for (name, tensor) in tensors.0 {
            if let crate::model::weights::Data::F64(values) = tensor.data {
                assert!(values.iter().all(|value| value.is_finite()), "{name}");
            }
        }
    }
}

#[test]
fn an_output_that_was_never_wanted_scores_nothing() {
    let mut numbers = Numbers(9);
    let mut recursion = Recursion::new(settings(20, 1.0));
    for _ in 0..300 {
        let (phi, targets) = numbers.example(20);
        recursion.observe(&phi, &[targets[0], 0.0]);
        assert_eq!(recursion.scores(&phi)[1], 0.0);
    }
}

#[test]
fn what_is_saved_is_loaded_and_goes_on_equal() {
    for (forgetting, n_before) in [(1.0, 0), (1.0, 75), (0.99, 75), (1.0, 1030), (1.0, 32)] {
        let mut numbers = Numbers(21);
        let mut recursion = Recursion::new(settings(70, forgetting));
        let mut learn = |recursion: &mut Recursion, n: usize| {
            for _ in 0..n {
                let (phi, targets) = numbers.example(70);
                recursion.observe(&phi, &targets);
            }
        };
        learn(&mut recursion, n_before);
        let (mut weights, mut state) = (recursion.weights(), recursion.state());
        let mut loaded =
            Recursion::load(recursion.settings, &mut weights, &mut state).expect("it was saved");
        assert!(weights.0.is_empty() && state.0.is_empty());
        assert_eq!(loaded, recursion);
        learn(&mut recursion, 50);
        let mut again = Numbers(21);
        (0..n_before).for_each(|_| drop(again.example(70)));
        for _ in 0..50 {
            let (phi, targets) = again.example(70);
            loaded.observe(&phi, &targets);
        }
        assert_eq!(loaded, recursion);
    }
}

#[test]
fn damaged_states_are_refused() {
    let mut numbers = Numbers(21);
    let mut recursion = Recursion::new(settings(10, 1.0));
    for _ in 0..5 {
        let (phi, targets) = numbers.example(10);
        recursion.observe(&phi, &targets);
    }
    let refused = |damage: &dyn Fn(&mut Tensors, &mut Tensors)| {
        let (mut weights, mut state) = (recursion.weights(), recursion.state());
        damage(&mut weights, &mut state);
        Recursion::load(recursion.settings, &mut weights, &mut state).is_err()
    };
    assert!(!refused(&|_, _| {}));
    assert!(refused(&|_, state| drop(state.0.remove("gram"))));
    assert!(refused(&|_, state| drop(state.0.remove("inverse"))));
    assert!(refused(&|_, state| drop(state.0.remove("gains"))));
    assert!(refused(&|weights, _| weights.put_f64(
        "weight",
        &[10, 2],
        vec![0.0; 20]
    )));
    assert!(refused(&|weights, _| weights.put_f64(
        "weight",
        &[2, 10],
        vec![f64::NAN; 20]
    )));
    assert!(refused(&|_, state| state.put_f64(
        "gains",
        &[4, 10],
        vec![0.0; 40]
    )));
    assert!(refused(&|_, state| state.put_f64(
        "sums",
        &[3],
        vec![0.0, 0.0, 0.0]
    )));
    assert!(refused(&|_, state| state.put_f64(
        "sums",
        &[3],
        vec![1.0, -1.0, 0.0]
    )));
}
