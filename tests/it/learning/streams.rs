//! Streams of many kinds, with nothing set: `auto` keeps up with the best of its members on each.
//!
//! RBF with moving centres, a turning hyperplane, Agrawal-like rules over numbers and categories
//! (Agrawal, Imielinski and Swami 1993), XOR that turns, heavy tails, many classes of which most
//! are rare, a label that repeats itself, concepts that come back, text beside numbers, and
//! Friedman's function (1991) with a change.

use std::f64::consts::PI;

use perennial::event::{Batch, Column, Signal};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::LearnerHarness;

const N_ROWS: usize = 4000;

/// The inputs of a row, and its truth.
struct Row {
    numbers: Vec<f64>,
    strings: Vec<String>,
    truth: Signal,
}

fn row(numbers: Vec<f64>, class: impl ToString) -> Row {
    Row {
        numbers,
        strings: Vec::new(),
        truth: Signal::Label(class.to_string()),
    }
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

fn uniform(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| rng.random()).collect()
}

fn moving_centres(rng: &mut ChaCha8Rng, at: f64) -> Row {
    let centre = rng.random_range(0..12u64);
    let mut of_centre = ChaCha8Rng::seed_from_u64(centre);
    let start = uniform(&mut of_centre, 5);
    let way = uniform(&mut of_centre, 5);
    let numbers = start.iter().zip(way);
    let numbers = numbers.map(|(start, way)| start + at * (way - 0.5) + 0.07 * normal(rng));
    row(numbers.collect(), centre % 4)
}

fn turning_hyperplane(rng: &mut ChaCha8Rng, at: f64) -> Row {
    let x = uniform(rng, 8);
    let weight = |i: usize| 0.5 + 0.5 * (i as f64 + 2.0 * at).sin();
    let side: f64 = x
        .iter()
        .enumerate()
        .map(|(i, x)| weight(i) * (x - 0.5))
        .sum();
    let wrong = rng.random::<f64>() < 0.05;
    row(x, u8::from((side > 0.0) != wrong))
}

fn rules(rng: &mut ChaCha8Rng, at: f64) -> Row {
    let (salary, age) = (rng.random_range(2e4..1.5e5), rng.random_range(20..80));
    let school = rng.random_range(0..5);
    let yes = if at < 0.5 {
        (age < 40) == (school < 2)
    } else {
        salary > 7e4 && age >= 40 || school == 4
    };
    Row {
        strings: vec![format!("school {school}")],
        ..row(
            vec![salary, f64::from(age), 1e5 * rng.random::<f64>()],
            u8::from(yes),
        )
    }
}

fn turning_xor(rng: &mut ChaCha8Rng, at: f64) -> Row {
    let (a, b) = (rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0));
    let (sin, cos) = (PI * at).sin_cos();
    let yes = (a * cos - b * sin) * (a * sin + b * cos) > 0.0;
    row(vec![a, b, normal(rng)], u8::from(yes))
}

fn heavy_tails(rng: &mut ChaCha8Rng, _: f64) -> Row {
    let mut pareto = || {
        let size = rng.random_range(1e-6..1.0f64).powf(-0.9);
        if rng.random() { size } else { -size }
    };
    let x: Vec<f64> = (0..4).map(|_| pareto()).collect();
    let log = |x: f64| x.abs().ln_1p().copysign(x);
    let yes = log(x[0]) + log(x[1]) + 0.3 * normal(rng) > 0.0;
    row(x, u8::from(yes))
}

fn many_classes(rng: &mut ChaCha8Rng, _: f64) -> Row {
    let class = (rng.random_range(1e-3..1.0f64).powf(-0.8) as u64).min(30);
    let mut of_class = ChaCha8Rng::seed_from_u64(class);
    let numbers = (0..10).map(|_| normal(&mut of_class) + 0.8 * normal(rng));
    row(numbers.collect(), class)
}

fn repeats(rng: &mut ChaCha8Rng, at: f64) -> Row {
    // Each class holds for forty rows.
    let stretch = (at * N_ROWS as f64 / 40.0) as u64;
    let class = stretch.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
    let numbers = vec![0.4 * class as f64 + normal(rng), normal(rng)];
    row(numbers, class)
}

fn coming_back(rng: &mut ChaCha8Rng, at: f64) -> Row {
    let x = [normal(rng), normal(rng), normal(rng)];
    let yes = match (at * 8.0) as u64 % 2 {
        0 => x[0] + x[1] > 0.0,
        _ => x[0] - x[1] > 0.2,
    };
    row(x.to_vec(), u8::from(yes))
}

fn words(rng: &mut ChaCha8Rng, _: f64) -> Row {
    let (happy, price) = (rng.random::<bool>(), rng.random_range(0.0..100.0));
    let mut words: Vec<String> = (0..8)
        .map(|_| format!("word{}", rng.random_range(0..300)))
        .collect();
    let kind = if happy { "good" } else { "bad" };
    words.push(format!("{kind}{}", rng.random_range(0..6)));
    Row {
        strings: vec![words.join(" ")],
        ..row(vec![price], u8::from(happy && price < 60.0))
    }
}

fn wide(rng: &mut ChaCha8Rng, _: f64) -> Row {
    let x: Vec<f64> = (0..64).map(|_| normal(rng)).collect();
    let sum: f64 = x[..8].iter().sum();
    let wrong = rng.random::<f64>() < 0.05;
    row(x, u8::from((sum > 0.0) != wrong))
}

fn friedman(rng: &mut ChaCha8Rng, at: f64) -> Row {
    let x = uniform(rng, 8);
    let [a, b, c, d, e] = if at < 0.5 {
        [0, 1, 2, 3, 4]
    } else {
        [3, 4, 0, 1, 2]
    };
    let value = 10.0 * (PI * x[a] * x[b]).sin() + 20.0 * (x[c] - 0.5).powi(2);
    let value = value + 10.0 * x[d] + 5.0 * x[e] + normal(rng);
    Row {
        truth: Signal::Value(value),
        ..row(x, 0)
    }
}

/// The description of a stream's learner, with the classes by their names.
fn description(first: &Row, strings: &str, n_classes: usize) -> String {
    let classes: Vec<String> = (0..n_classes).map(|class| class.to_string()).collect();
    let mut toml = match n_classes {
        0 => "task = \"regression\"\n".to_owned(),
        _ => format!("task = \"classification\"\nclasses = {classes:?}\n"),
    };
    let input = |name: String, kind: &str| format!("[[input]]\nname = {name:?}\nkind = {kind:?}\n");
    for place in 0..first.numbers.len() {
        toml += &input(format!("x{place}"), "number");
    }
    for place in 0..first.strings.len() {
        toml += &input(format!("s{place}"), strings);
    }
    toml
}

/// Plays a stream; the scores of `auto` and of the best of its members.
fn play(next: fn(&mut ChaCha8Rng, f64) -> Row, strings: &str, n_classes: usize) -> (f64, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let at = |row: usize| row as f64 / N_ROWS as f64;
    let toml = description(&next(&mut rng, 0.0), strings, n_classes);
    let mut harness = LearnerHarness::new(&toml);
    for index in 0..N_ROWS {
        let row = next(&mut rng, at(index));
        let numbers = row.numbers.into_iter().map(|x| Column::Numbers(vec![x]));
        let strings = row.strings.into_iter().map(|s| Column::Strings(vec![s]));
        let columns = numbers.chain(strings).collect();
        let id = harness.predict(Batch { n_rows: 1, columns }).ids[0];
        harness.submit(id, row.truth);
    }
    let evaluation = harness.learner.evaluation();
    let members = evaluation.members().iter();
    let scores = members.filter(|member| member.examples > 0);
    let scores = scores.map(|member| member.sum / member.examples as f64);
    let best = match n_classes {
        0 => scores.fold(f64::INFINITY, f64::min),
        _ => scores.fold(0.0, f64::max),
    };
    (evaluation.served().mean(), best)
}

#[test]
fn auto_keeps_up_with_its_best_member_on_streams_of_many_kinds() {
    type Stream = (&'static str, fn(&mut ChaCha8Rng, f64) -> Row, usize);
    let streams: [Stream; 10] = [
        ("moving centres", moving_centres, 4),
        ("turning hyperplane", turning_hyperplane, 2),
        ("rules over categories", rules, 2),
        ("turning xor", turning_xor, 2),
        ("heavy tails", heavy_tails, 2),
        ("many classes", many_classes, 31),
        ("repeats", repeats, 4),
        ("coming back", coming_back, 2),
        ("wide", wide, 2),
        ("friedman", friedman, 0),
    ];
    for (what, next, n_classes) in streams {
        let (auto, best) = play(next, "category", n_classes);
        println!("{what}: {auto:.4}, best member {best:.4}");
        // In so short a stream three tenths of a point are twelve rows.
        let keeps_up = match n_classes {
            0 => auto < 1.01 * best,
            _ => auto > best - 0.003,
        };
        assert!(keeps_up, "{what}: {auto}, best member {best}");
    }
    let (auto, best) = play(words, "text", 2);
    println!("words and a price: {auto:.4}, best member {best:.4}");
    assert!(auto > best - 0.003, "words: {auto}, best member {best}");
}
