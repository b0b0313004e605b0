//! The evidence of the gate: wrong decisions on streams where there is nothing to find, and labels until a
//! worse side is found.
//!
//! Invariant: every stream follows from its number; the differences are bounded as the gate's are.
//!
//! `cargo bench --bench gate`. With `--quick`, a smoke test of seconds whose figures mean little. `-- learners`
//! prints the decisions of whole learners alone, and `-- learners 200000` those of so many examples.

#[path = "gate/learners.rs"]
mod learners;

use std::env;

use perennial::learn::EProcess;

/// The level of every test here.
const ALPHA: f64 = 0.05;
/// Labels of a stream where there is nothing to find.
const LABELS: usize = 10_000;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    /// In [0, 1).
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

    /// One side is right and the other wrong on 15 % of the rows.
    fn three(&mut self, disagreement: f64, loss: f64) -> f64 {
        match self.uniform() {
            u if u < (disagreement + loss) / 2.0 => 1.0,
            u if u < disagreement => -1.0,
            _ => 0.0,
        }
    }
}

/// Differences without a mean: each in its dependence.
#[derive(Clone, Copy)]
enum Null {
    Independent,
    Small,
    Skewed(f64),
    /// A bandit's importance-weighted rewards, whose policies come to differ more and more.
    Weighted,
    Autoregression(f64),
    Season(usize),
    Sorted(usize),
    Blocks(usize),
    /// Labels come by class in stretches of this length; each side is better at one of two.
    ByClass(usize),
}

const NULLS: [(&str, Null); 13] = [
    ("independent", Null::Independent),
    ("small", Null::Small),
    ("rare and for", Null::Skewed(1.0)),
    ("rare and against", Null::Skewed(-1.0)),
    ("weighted rewards", Null::Weighted),
    ("AR(1) 0.9", Null::Autoregression(0.9)),
    ("sorted by 100", Null::Sorted(100)),
    ("blocks of 10", Null::Blocks(10)),
    ("blocks of 50", Null::Blocks(50)),
    ("by class, 10 each", Null::ByClass(10)),
    ("by class, 100 each", Null::ByClass(100)),
    ("season of 200", Null::Season(200)),
    ("season of 1000", Null::Season(1000)),
];

impl Null {
    fn stream(self, random: &mut Random) -> Vec<f64> {
        let labels = 0..LABELS;
        let mut sign = 1.0;
        let mut state = 0.1 * random.normal();
        let phase = std::f64::consts::TAU * random.uniform();
        let mut values: Vec<f64> = labels
            .map(|t| match self {
                Null::Independent => random.three(0.15, 0.0),
                Null::Small => 0.1 * random.normal(),
                Null::Skewed(side) if random.uniform() < 0.02 => side,
                Null::Skewed(side) => -side * 0.02 / 0.98,
                Null::Weighted => {
                    // Propensities 0.05 and 0.95; rewards of 1 in twenty.
                    let differs = random.uniform() < t as f64 / LABELS as f64;
                    let (explored, rewarded) = (random.uniform() < 0.05, random.uniform() < 0.05);
                    match (differs && rewarded, explored) {
                        (false, _) => 0.0,
                        (true, true) => 1.0,
                        (true, false) => -0.05 / 0.95,
                    }
                }
                Null::Autoregression(by) => {
                    state = by * state + 0.1 * (1.0 - by * by).sqrt() * random.normal();
                    state
                }
                Null::Season(length) => {
                    let turn = std::f64::consts::TAU * t as f64 / length as f64;
                    0.1 * (phase + turn).sin() + 0.2 * random.normal()
                }
                Null::ByClass(length) => {
                    let side = if t / length % 2 == 0 { 0.1 } else { -0.1 };
                    side + 0.2 * random.normal()
                }
                Null::Sorted(_) => 0.2 * random.normal(),
                Null::Blocks(length) => {
                    if t % length == 0 {
                        sign = if random.uniform() < 0.5 { 1.0 } else { -1.0 };
                    }
                    0.1 * sign + 0.2 * random.normal()
                }
            })
            .collect();
        if let Null::Sorted(length) = self {
            let blocks = values.chunks_mut(length);
            blocks.for_each(|block| block.sort_by(f64::total_cmp));
        }
        values
    }
}

/// Wrong decisions: the share of streams with one, and how many there are in a million labels where the
/// test begins anew after each.
fn wrong(null: Null, n_streams: u64) -> (f64, f64) {
    let (mut n_with, mut n_all) = (0, 0);
    for seed in 0..n_streams {
        let mut process = EProcess::default();
        let mut n_here = 0;
        for x in null.stream(&mut Random(seed * 7919 + 1)) {
            process.observe(x);
            if process.wealth() >= 1.0 / ALPHA {
                n_here += 1;
                process = EProcess::default();
            }
        }
        n_with += u64::from(n_here > 0);
        n_all += n_here;
    }
    let labels = (n_streams as usize * LABELS) as f64;
    let share = n_with as f64 / n_streams as f64;
    (share, f64::from(n_all) / labels * 1e6)
}

/// The median of labels until a side is found that is worse by `loss`, after so many alike.
fn delay(loss: f64, disagreement: f64, n_alike: usize, n_streams: u64) -> usize {
    let mut delays: Vec<usize> = (0..n_streams)
        .map(|seed| {
            let (mut random, mut process) = (Random(seed * 31 + 5), EProcess::default());
            (0..n_alike).for_each(|_| process.observe(random.three(disagreement, 0.0)));
            let found = |_: &usize| {
                process.observe(random.three(disagreement, loss));
                process.wealth() >= 1.0 / ALPHA
            };
            (1..10_000_000).find(found).unwrap_or(usize::MAX)
        })
        .collect();
    delays.sort_unstable();
    delays[delays.len() / 2]
}

/// The median of labels until a contender that is no worse is promoted, at a margin.
fn promotion(margin: f64, deviation: f64, n_streams: u64) -> usize {
    let mut delays: Vec<usize> = (0..n_streams)
        .map(|seed| {
            let (mut random, mut process) = (Random(seed * 17 + 3), EProcess::default());
            let found = |_: &usize| {
                let x = (deviation * random.normal()).clamp(-1.0, 1.0);
                process.observe((x + margin) / (1.0 + margin));
                // Of the first contender, at the default level of 0.01.
                process.wealth() >= 2.0 / 0.01
            };
            (1..1_000_000).find(found).unwrap_or(usize::MAX)
        })
        .collect();
    delays.sort_unstable();
    delays[delays.len() / 2]
}

fn main() {
    let quick = env::args().any(|argument| argument == "--quick" || argument == "--test");
    let mut words = env::args().skip_while(|argument| argument != "learners");
    if words.next().is_some() {
        let n_examples = words.next().and_then(|word| word.parse().ok());
        return learners::print(n_examples.unwrap_or(1_000_000));
    }
    let (n_null, n_power) = if quick { (100, 21) } else { (10_000, 501) };
    println!("wrong decisions, {n_null} streams of {LABELS} labels, alpha {ALPHA}");
    for (name, null) in NULLS {
        let (share, rate) = wrong(null, n_null);
        println!("  {name:18} streams {share:.4}  in 1,000,000 labels {rate:.2}");
    }
    println!("labels until a worse side is found (median of {n_power}), and 2 ln(1/alpha) v / d^2");
    for (loss, disagreement) in [
        (0.02, 0.15),
        (0.05, 0.15),
        (0.05, 0.3),
        (0.1, 0.15),
        (0.2, 0.3),
        (0.5, 0.6),
        (1.0, 1.0),
    ] {
        let variance = disagreement - loss * loss;
        let bound = 2.0 * (1.0 / ALPHA).ln() * variance / (loss * loss);
        let fresh = delay(loss, disagreement, 0, n_power);
        let late = delay(loss, disagreement, 10_000, n_power);
        let n_old = if quick { 20_000 } else { 1_000_000 };
        let old = delay(loss, disagreement, n_old, n_power.min(51));
        println!(
            "  worse by {loss:.2} at {disagreement:.2}: {fresh} of {bound:.0} ({:.2}); \
             after 10,000 alike {late}, after {n_old} {old}",
            fresh as f64 / bound
        );
    }
    println!("labels until an equal contender is promoted (median of {n_power})");
    for (margin, deviation) in [(0.01, 0.02), (0.01, 0.05), (0.01, 0.1), (0.02, 0.1)] {
        let labels = promotion(margin, deviation, n_power);
        println!("  margin {margin}, deviation of differences {deviation}: {labels}");
    }
    learners::print(if quick { 4_000 } else { 1_000_000 });
}
