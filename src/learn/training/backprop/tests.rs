//! Passes against the same computed by definition: values, gradients and their cost.

use super::*;
use crate::model::Network;

fn row(dense: Vec<f32>, sparse: &[(u32, f32)]) -> Encoded {
    Encoded {
        dense,
        sparse: sparse.to_vec(),
        past: None,
    }
}

/// Seeded numbers in [-0.5, 0.5).
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

/// Enough rows and width for every shape of block, tile and tail.
fn rows() -> Vec<Encoded> {
    let dense = numbers(43 * 37, 7);
    let rows = dense.chunks_exact(37).enumerate();
    rows.map(|(index, dense)| row(dense.to_vec(), &[(index as u32 % 5, 0.5), (7, -1.0)]))
        .collect()
}

fn parameters() -> Parameters {
    let mut parameters = Parameters::new(&[37, 150, 6, 3], 16, 3);
    parameters.layers[2].weight = numbers(18, 5);
    parameters.sparse.row_mut(3)[1] = 0.7;
    parameters
}

/// The sum over all rows of the product of each output with a number.
fn loss(parameters: &Parameters, rows: &[&Encoded], factors: &[f32]) -> f64 {
    let mut pass = TrainingPass::default();
    pass.forward(parameters, rows);
    let products = pass.outputs().iter().zip(factors);
    products
        .map(|(o, s)| f64::from(*o) * f64::from(*s))
        .sum::<f64>()
}

#[test]
fn the_gradient_holds_the_derivatives_of_the_loss() {
    let (parameters, rows) = (parameters(), rows());
    let rows: Vec<&Encoded> = rows.iter().collect();
    let factors = numbers(rows.len() * 3, 11);
    let mut pass = TrainingPass::default();
    pass.forward(&parameters, &rows);
    pass.outputs_and_gradient().1.copy_from_slice(&factors);
    assert!(pass.backward(&parameters, &rows, &vec![1.0; rows.len()]));
    let check = |name: &str, derivative: f32, nudge: &dyn Fn(&mut Parameters, f32)| {
        let moved = |step: f32| {
            let mut moved = parameters.clone();
            nudge(&mut moved, step);
            loss(&moved, &rows, &factors)
        };
        let numeric = (moved(2e-4) - moved(-2e-4)) / 4e-4;
        let error = (numeric - f64::from(derivative)).abs();
        assert!(
            error < 3e-2 * (1.0 + numeric.abs()),
            "{name}: {numeric} {derivative}"
        );
    };
    for index in 0..3 {
        let (weight, bias) = pass.layer_gradient(&parameters, index);
        for (at, derivative) in weight.iter().enumerate().step_by(37) {
            check("weight", *derivative, &|p, step| {
                p.layers[index].weight[at] += step;
            });
        }
        for (at, derivative) in bias.iter().enumerate() {
            check("bias", *derivative, &|p, step| {
                p.layers[index].bias[at] += step;
            });
        }
    }
    for (bucket, row) in sparse_gradient(&rows, pass.first_gradient(), 150) {
        for (at, derivative) in row.iter().enumerate().step_by(29) {
            check("sparse", *derivative, &|p, step| {
                p.sparse.row_mut(bucket)[at] += step;
            });
        }
    }
}

#[test]
fn a_descent_moves_against_the_gradient() {
    let (mut moved, rows) = (parameters(), rows());
    let rows: Vec<&Encoded> = rows.iter().collect();
    let mut pass = TrainingPass::default();
    pass.forward(&moved, &rows);
    let factors = numbers(rows.len() * 3, 11);
    pass.outputs_and_gradient().1.copy_from_slice(&factors);
    let shares: Vec<f32> = (0..rows.len()).map(|r| 1.0 + r as f32).collect();
    assert!(pass.backward(&moved, &rows, &shares));
    pass.descend(&mut moved, &rows, 0.01);
    for index in 0..3 {
        let before = parameters();
        let (weight, bias) = pass.layer_gradient(&before, index);
        let (then, now) = (&before.layers[index], &moved.layers[index]);
        let pairs = weight.iter().zip(then.weight.iter().zip(&now.weight));
        let biases = bias.iter().zip(then.bias.iter().zip(&now.bias));
        for (derivative, (then, now)) in pairs.chain(biases) {
            assert!((then - 0.01 * derivative - now).abs() < 1e-4);
        }
    }
    for (bucket, gradient) in sparse_gradient(&rows, pass.first_gradient(), 150) {
        let before = parameters();
        let then = before.sparse.row(bucket).unwrap_or(&[0.0; 150]);
        let now = moved.sparse.row(bucket).expect("it was written");
        for (derivative, (then, now)) in gradient.iter().zip(then.iter().zip(now)) {
            assert!((then - 0.01 * derivative - now).abs() < 1e-4);
        }
    }
}

#[test]
fn a_long_row_is_shortened_and_an_endless_one_is_reported() {
    let parameters = Parameters::new(&[1, 1], 0, 1);
    let wild = row(vec![1e6], &[]);
    let mut pass = TrainingPass::default();
    pass.forward(&parameters, &[&wild]);
    pass.outputs_and_gradient().1[0] = 3.0;
    assert!(pass.backward(&parameters, &[&wild], &[0.5]));
    let (weight, bias) = pass.layer_gradient(&parameters, 0);
    let length = (weight[0].powi(2) + bias[0].powi(2)).sqrt();
    assert!((length - 0.5 * LENGTH_MAX).abs() < 1e-3, "{length}");
    pass.outputs_and_gradient().1[0] = f32::INFINITY;
    assert!(!pass.backward(&parameters, &[&wild], &[0.5]));
}

#[test]
fn a_row_pulls_a_network_no_harder_than_a_linear_model() {
    let mut deep = Parameters::new(&[2, 4, 2], 0, 3);
    deep.layers[1].weight = vec![8.0; 8];
    let linear = Parameters::new(&[2, 2], 0, 3);
    let length = |parameters: &Parameters, size: f32, gradient: [f32; 2]| {
        let row = row(vec![3.0 * size, 4.0 * size], &[]);
        let mut pass = TrainingPass::default();
        pass.forward(parameters, &[&row]);
        pass.outputs_and_gradient().1.copy_from_slice(&gradient);
        assert!(pass.backward(parameters, &[&row], &[1.0]));
        let square = |(weight, bias): (&[f32], &[f32])| -> f32 {
            weight
                .iter()
                .chain(bias)
                .map(|derivative| derivative * derivative)
                .sum()
        };
        let each = 0..parameters.layers.len();
        let squares: f32 = each
            .map(|i| square(pass.layer_gradient(parameters, i)))
            .sum();
        squares.sqrt()
    };
    // Whatever the scale of the inputs, and also for values that are off by more.
    for size in [0.1, 1.0] {
        for (gradient, worst) in [([0.7, -0.2], [1.0, -1.0]), ([2.0, -3.0], [2.0, -3.0])] {
            let (own, most) = (length(&deep, size, gradient), length(&linear, size, worst));
            assert!(
                (own / most - 1.0).abs() < 1e-4,
                "{gradient:?}: {own} {most}"
            );
        }
    }
    // A short gradient stays as it is.
    let steep = |derivative: f32| length(&deep, 0.1, [derivative, derivative]);
    assert!((steep(2e-3) / steep(1e-3) - 2.0).abs() < 1e-3);
}

#[test]
fn the_pass_agrees_with_the_served_network() {
    let rows = rows();
    let mut pass = TrainingPass::default();
    let rows: Vec<&Encoded> = rows.iter().collect();
    pass.forward(&parameters(), &rows);
    let served = Network::new(&parameters()).forward(&rows).unwrap();
    for (ours, theirs) in pass.outputs().iter().zip(served) {
        assert!((ours - theirs).abs() < 1e-4);
    }
}
