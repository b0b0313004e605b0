//! Results of a device against those of the processor: on a GPU where one answers, and by the same
//! steps on the processor everywhere.

use super::*;
use crate::learn::algorithms::example::Outcome;
use crate::learn::algorithms::gradient::GradientLearner;
use crate::learn::algorithms::output_loss::OutputLoss;
use crate::model::{Scale, Spec, Target};

fn devices() -> impl Iterator<Item = Device> {
    let all = [Device::Candle, Device::Cuda(0)].into_iter();
    all.filter(|device| device.check().is_ok())
}

fn row(n_dense: usize, index: usize) -> Encoded {
    let value = |index: usize| (index as f32 * 0.71).sin();
    Encoded {
        dense: (0..n_dense).map(|i| value(index * 31 + i)).collect(),
        sparse: vec![(index as u32 % 5, value(index)), (7, 0.5)],
        past: None,
    }
}

fn settings(optimizer: Optimizer) -> Gradient {
    Gradient {
        hidden: vec![],
        weights: None,
        optimizer,
        learning_rate: 0.02,
        examples_per_update: 1,
    }
}

/// Steps towards a wave over the rows, of which one now and then is far off.
fn train(network: &mut TrainingNetwork, optimizer: Optimizer, updates: std::ops::Range<usize>) {
    let n_dense = network.widths()[0];
    for update in updates {
        // Now and then an update is of one row.
        let n_rows = if update % 4 == 3 { 1 } else { 7 };
        let rows: Vec<Encoded> = (0..n_rows).map(|i| row(n_dense, update * 7 + i)).collect();
        let rows: Vec<&Encoded> = rows.iter().collect();
        network.forward(&rows).unwrap();
        let (outputs, gradient) = network.outputs_and_gradient();
        for (index, (output, derivative)) in outputs.iter().zip(gradient).enumerate() {
            let off = if index % 11 == 0 { 40.0 } else { 1.0 };
            *derivative = output - off * (index as f32).cos();
        }
        let shares = [0.25, 0.25, 0.25, 0.25, 0.33, 0.33, 0.33];
        assert_eq!(
            network.step(&settings(optimizer), &rows, &shares[..n_rows]),
            Ok(true)
        );
    }
}

fn network(widths: &[usize], optimizer: Optimizer, device: Device) -> TrainingNetwork {
    let mut parameters = Parameters::new(widths, 16, 3);
    let wave = |values: &mut [f32]| {
        let values = values.iter_mut().enumerate();
        values.for_each(|(index, value)| *value = (index as f32).sin());
    };
    wave(&mut parameters.layers[0].bias);
    wave(&mut parameters.layers.last_mut().unwrap().weight);
    TrainingNetwork::new(parameters, optimizer, device)
}

#[track_caller]
fn assert_near(found: &Parameters, expected: &Parameters, most: f32) {
    let near = |found: &[f32], expected: &[f32]| {
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (found - expected).abs();
            assert!(error < most, "{index}: {found} {expected}");
        }
    };
    for (found, expected) in found.layers.iter().zip(&expected.layers) {
        near(&found.weight, &expected.weight);
        near(&found.bias, &expected.bias);
    }
    for bucket in 0..16 {
        let none = vec![0.0; expected.sparse.row_len()];
        let found = found.sparse.row(bucket).unwrap_or(&none);
        near(found, expected.sparse.row(bucket).unwrap_or(&none));
    }
}

#[test]
fn a_device_takes_the_steps_of_the_processor() {
    let shapes: [&[usize]; 6] = [
        &[5, 64, 33, 7],
        &[6, 12, 2],
        &[7, 3],
        &[0, 8, 3],
        &[9, 12, 1],
        &[784, 32, 10],
    ];
    for (device, widths) in devices().flat_map(|device| shapes.map(|widths| (device, widths))) {
        for optimizer in [Optimizer::Sgd, Optimizer::AdamW] {
            let [mut here, mut there] =
                [Device::Cpu, device].map(|device| network(widths, optimizer, device));
            let start = here.parameters().into_owned();
            train(&mut here, optimizer, 0..30);
            train(&mut there, optimizer, 0..30);
            let (here, there) = (here.parameters(), there.parameters());
            assert_near(&there, &here, 2e-4);
            let moved = |from: &Parameters| here.layers[0].bias != from.layers[0].bias;
            assert!(moved(&start), "{widths:?}");
        }
    }
}

#[test]
fn a_network_goes_on_where_it_was_on_any_device() {
    let both = |device| [Optimizer::Sgd, Optimizer::AdamW].map(|optimizer| (device, optimizer));
    for (device, optimizer) in devices().flat_map(both) {
        let new = || network(&[5, 12, 9, 3], optimizer, device);
        let (mut whole, mut saved) = (new(), new());
        train(&mut whole, optimizer, 0..20);
        train(&mut saved, optimizer, 0..10);
        let mut loaded = new();
        let (parameters, mut state) = (saved.parameters(), saved.optimizer().save());
        loaded.load(parameters.into_owned(), &mut state).unwrap();
        assert_eq!(loaded, saved);
        train(&mut loaded, optimizer, 10..20);
        assert_eq!(loaded, whole, "bit for bit");

        saved.move_to(Device::Cpu);
        train(&mut saved, optimizer, 10..20);
        assert_near(&saved.parameters(), &whole.parameters(), 2e-4);
        saved.move_to(device);
        train(&mut saved, optimizer, 20..21);
    }
}

#[test]
fn on_a_device_an_infinite_gradient_moves_nothing() {
    for device in devices() {
        let mut network = network(&[5, 8, 2], Optimizer::AdamW, device);
        train(&mut network, Optimizer::AdamW, 0..3);
        let before = network.clone();
        let wild = row(5, 1);
        network.forward(&[&wild]).unwrap();
        network.outputs_and_gradient().1[0] = f32::INFINITY;
        let moved = network.step(&settings(Optimizer::AdamW), &[&wild], &[1.0]);
        assert_eq!(moved, Ok(false));
        assert_eq!(network, before);
        network.shrink();
        let halved = &network.parameters().layers[0].weight;
        assert_eq!(halved[3], before.parameters().layers[0].weight[3] * 0.5);
    }
}

#[test]
fn an_average_follows_on_a_device_as_on_the_processor() {
    let late = [(1, 0.9), (2, 1.0)];
    let average = |of: Device, follows: Device| {
        let new = |device| network(&[5, 8, 3], Optimizer::Sgd, device);
        let (mut network, mut average) = (new(of), new(follows));
        average.forward(&[&row(5, 0)]).unwrap();
        train(&mut network, Optimizer::Sgd, 0..5);
        average.approach(&network, 0.25, &[]).unwrap();
        train(&mut network, Optimizer::Sgd, 5..9);
        average.approach(&network, 0.25, &late).unwrap();
        average.take_sparse(&network, &[&row(5, 3)]);
        average.parameters().into_owned()
    };
    let expected = average(Device::Cpu, Device::Cpu);
    for device in devices() {
        for (of, follows) in [
            (device, device),
            (device, Device::Cpu),
            (Device::Cpu, device),
        ] {
            assert_near(&average(of, follows), &expected, 2e-4);
        }
    }
}

fn learner(strategy: &str, device: Device) -> (Spec, GradientLearner) {
    let toml = format!(
        "task = 'classification'\nclasses = ['a', 'b', 'c']\n[[input]]\nname = 'x'\n\
         kind = 'vector'\nlength = 4\n[learner]\nkind = 'gradient'\n\
         learning_rate = 0.05\n[network]\nkind = 'mlp'\nhidden = [16, 9]\n\
         [memory]\nstrategy = '{strategy}'\nreplay = 8\n"
    );
    let mut spec = Spec::parse(&toml).unwrap();
    spec.device = device;
    let crate::model::LearnerKind::Gradient(settings) = spec.learner.clone() else {
        unreachable!("it says so");
    };
    let learner = GradientLearner::new(&spec, &settings, 4);
    (spec, learner)
}

fn learn(learner: &mut GradientLearner, examples: std::ops::Range<usize>) {
    let scale = Scale::default();
    for index in examples {
        let mut row = row(4, index);
        row.sparse.clear();
        let class = usize::from(row.dense[0] > 0.3) + usize::from(row.dense[1] > 0.0);
        let outcome = learner.observe(
            row,
            Target::Class(class as u32).into(),
            OutputLoss::Plain(&scale),
        );
        assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
}

#[test]
fn every_strategy_learns_on_a_device() {
    let strategies = ["none", "er", "er-ace", "der++", "cls-er"];
    for (device, strategy) in devices().flat_map(|device| strategies.map(|name| (device, name))) {
        let [mut here, mut there] = [Device::Cpu, device].map(|device| learner(strategy, device).1);
        learn(&mut here, 0..120);
        learn(&mut there, 0..120);
        let probe: Vec<Encoded> = (0..40)
            .map(|index| Encoded {
                sparse: vec![],
                ..row(4, 1000 + index)
            })
            .collect();
        let probe: Vec<&Encoded> = probe.iter().collect();
        let outputs = |learner: &GradientLearner| learner.network().forward(&probe).unwrap();
        for (here, there) in outputs(&here).iter().zip(outputs(&there)) {
            assert!((here - there).abs() < 0.02, "{strategy}: {here} {there}");
        }

        // The saved state goes on bit for bit.
        let (spec, mut loaded) = learner(strategy, device);
        let (mut weights, mut state) = (there.weights(), there.state());
        loaded.load(&spec, &mut weights, &mut state).unwrap();
        learn(&mut there, 120..200);
        learn(&mut loaded, 120..200);
        assert_eq!(loaded, there, "{strategy}");
    }
}

#[test]
fn p9_a_missing_device_is_named_in_the_error() {
    let (_, mut learner) = learner("er", Device::Cuda(63));
    let mut row = row(4, 1);
    row.sparse.clear();
    let output_loss = OutputLoss::Plain(&Scale::default());
    let outcomes =
        (0..64).map(|_| learner.observe(row.clone(), Target::Class(0).into(), output_loss));
    let failed = outcomes
        .filter_map(|outcome| match outcome {
            Outcome::Failed(what) => Some(what),
            _ => None,
        })
        .next();
    let what = failed.expect("nothing can be learned there");
    assert!(what.starts_with("device cuda:63 is not "), "{what}");
}
