//! Streams on which no side is worse, and on which one is.
//!
//! Invariant: every stream follows from its seed.

use super::*;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    /// A uniform number in [0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform().max(1e-300), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

const ALPHA: f64 = 0.05;
const STREAMS: u64 = 300;
const LABELS: usize = 2000;

/// The share of streams on which the hypothesis is rejected, though it holds.
fn wrong(stream: impl Fn(&mut Random) -> Vec<f64>) -> f64 {
    let rejects = |seed: &u64| {
        let mut process = EProcess::default();
        let stream = stream(&mut Random(seed * 7919));
        stream.into_iter().any(|x| {
            process.observe(x);
            process.wealth() >= 1.0 / ALPHA
        })
    };
    (0..STREAMS).filter(rejects).count() as f64 / STREAMS as f64
}

#[test]
fn equal_sides_are_rarely_decided() {
    let check = |name: &str, stream: &dyn Fn(&mut Random) -> Vec<f64>| {
        let wrong = wrong(stream);
        assert!(wrong <= ALPHA, "{name}: {wrong}");
    };
    let three = |random: &mut Random| match random.uniform() {
        u if u < 0.075 => 1.0,
        u if u < 0.15 => -1.0,
        _ => 0.0,
    };
    check("independent", &|random| {
        (0..LABELS).map(|_| three(random)).collect()
    });
    check("rare and large", &|random| {
        let one = |random: &mut Random| {
            if random.uniform() < 0.02 {
                1.0
            } else {
                -0.02 / 0.98
            }
        };
        (0..LABELS).map(|_| one(random)).collect()
    });
    check("autoregression of 0.9", &|random| {
        let mut x = 0.1 * random.normal();
        let mut next = |random: &mut Random| {
            x = 0.9 * x + 0.1 * 0.19_f64.sqrt() * random.normal();
            x
        };
        (0..LABELS).map(|_| next(random)).collect()
    });
    check("sorted blocks", &|random| {
        let mut all: Vec<f64> = (0..LABELS).map(|_| 0.2 * random.normal()).collect();
        all.chunks_mut(100)
            .for_each(|block| block.sort_by(f64::total_cmp));
        all
    });
}

/// The median number of labels until a side is found worse that is worse by `loss`, where both
/// disagree on a part of the rows.
fn delay(loss: f64, disagreement: f64, labels_before: usize) -> usize {
    let mut delays: Vec<usize> = (0..101)
        .map(|seed| {
            let (mut random, mut process) = (Random(seed * 31 + 5), EProcess::default());
            let mut next = |loss: f64| match random.uniform() {
                u if u < (disagreement + loss) / 2.0 => 1.0,
                u if u < disagreement => -1.0,
                _ => 0.0,
            };
            (0..labels_before).for_each(|_| process.observe(next(0.0)));
            let rejects = |_: &usize| {
                process.observe(next(loss));
                process.wealth() >= 1.0 / ALPHA
            };
            (1..100_000).find(rejects).expect("it is found")
        })
        .collect();
    delays.sort_unstable();
    delays[delays.len() / 2]
}

#[test]
fn a_worse_side_is_found_near_the_bound() {
    for (loss, disagreement) in [(0.02, 0.15), (0.05, 0.15), (0.05, 0.3)] {
        let variance = disagreement - loss * loss;
        let bound = 2.0 * (1.0 / ALPHA).ln() * variance / (loss * loss);
        let delay = delay(loss, disagreement, 0) as f64;
        assert!(delay <= 1.4 * bound, "{loss}: {delay} labels of {bound}");
    }
    // Later beginnings find a change that comes late.
    assert!(delay(0.05, 0.15, 10_000) < 2500);
    assert!(delay(1.0, 1.0, 0) < 60);
}

#[test]
fn p2_a_saved_process_goes_on_as_it_was() {
    let mut process = EProcess::default();
    (0..300).for_each(|n| process.observe(f64::from(n % 7) / 9.0 - 0.3));
    let mut tensors = Tensors::default();
    process.save("e", &mut tensors);
    let mut loaded = EProcess::load("e", &mut tensors).expect("it was saved");
    assert_eq!(loaded, process);
    for x in [0.5, -0.25, f64::NAN, 7.0] {
        loaded.observe(x);
        process.observe(x);
    }
    assert_eq!(loaded, process);
    assert!(process.wealth().is_finite());
}

#[test]
fn p7_a_saved_wealth_below_nothing_is_refused() {
    let mut tensors = Tensors::default();
    EProcess::default().save("e", &mut tensors);
    tensors.put_f64("e", &[9], vec![-1.0; 9]);
    assert!(EProcess::load("e", &mut tensors).is_err());
}
