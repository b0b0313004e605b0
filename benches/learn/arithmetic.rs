//! The cost of wide inputs beside the arithmetic that they need.
//!
//! Invariant: what is measured and what it stands beside take turns in the same run, by the same
//! clock: the CPU time of one thread.

use std::hint::black_box;

use anyhow::Result;
use perennial::event::Entry;
use perennial::model::matrix::{Blend, Shape, View, dot_f32, multiply};
use perennial::model::{Encoded, NeighbourWindow, Neighbours, Target};

use crate::data::Random;
use crate::{Effort, applied, cpu_ns, events, spread};

/// Random features of the analytic learner.
const FEATURES: usize = 4000;
/// Examples that it takes at once with so many.
const BLOCK: usize = 64;
/// Neighbours asked for: the default.
const NEAREST: usize = 10;
/// Places around which the rows lie that are searched.
const N_CENTRES: usize = 100;

/// Look-ups of the nearest rows, beside a loop over all rows that computes an inner product with
/// each: the least that a search needs which leaves none out.
pub(crate) fn neighbours(effort: &Effort) {
    for width in [784, 384] {
        for &n_rows in effort.n_remembered {
            let mut random = Random(0x5eed);
            let rows = around_centres(width, n_rows + effort.n_lookups, &mut random);
            let (held, asked) = rows.split_at(n_rows);
            let mut memory = Neighbours::new(NeighbourWindow {
                n_dense: width,
                n_rows,
                seed: 1,
            });
            held.iter()
                .for_each(|row| memory.push(row, Target::Class(0).into()));
            let (mut speeds, mut plain) = (Vec::new(), Vec::new());
            for _ in 0..effort.n_runs {
                speeds.push(rate(asked, |row| {
                    black_box(memory.nearest(row, &[usize::MAX], NEAREST));
                }));
                plain.push(rate(asked, |row| {
                    let products = held.iter().map(|one| dot_f32(&one.dense, &row.dense));
                    black_box(products.fold(f32::MIN, f32::max));
                }));
            }
            let [searched, loops] = [&mut speeds, &mut plain].map(|speeds| median(speeds));
            let gflops = loops * 2.0 * (width * n_rows) as f64 / 1e9;
            println!(
                "neighbours: {width} wide, {n_rows} remembered, look-ups of {NEAREST}: {}; a plain \
                 loop of inner products {loops:.0} ({gflops:.1} GFLOP/s), {:.2} times as many",
                spread(&mut speeds),
                searched / loops
            );
        }
    }
}

/// Rows that lie about some centres, as those of classes do.
fn around_centres(width: usize, n_rows: usize, random: &mut Random) -> Vec<Encoded> {
    let mut row = |centre: &[f32]| {
        let values = centre.iter().map(|x| x + random.uniform() as f32 - 0.5);
        values.collect::<Vec<f32>>()
    };
    let origin = vec![0.0; width];
    let centres: Vec<Vec<f32>> = (0..N_CENTRES).map(|_| row(&origin)).collect();
    let rows = centres.iter().cycle().take(n_rows);
    rows.map(|centre| Encoded {
        dense: row(centre),
        sparse: Vec::new(),
        past: None,
    })
    .collect()
}

/// How many rows a second something is done with.
fn rate(rows: &[Encoded], act: impl FnMut(&Encoded)) -> f64 {
    let before = cpu_ns();
    rows.iter().for_each(act);
    rows.len() as f64 * 1e9 / (cpu_ns() - before) as f64
}

/// Examples of the analytic learner, beside a plain product of a block with a matrix as large as
/// its own. With `n` features an example needs `4 n^2` operations: `2 n^2` for its product with the
/// inverse, and `n^2` each for the outer products into the halves of inverse and Gram matrix. All
/// else (the features, estimates and scores, and every `4 n` examples both computed anew) is in
/// the time and not among them.
pub(crate) fn analytic(effort: &Effort, taught: &[Entry]) -> Result<()> {
    let head = events::of_images("classification", "classes");
    let toml = format!("{head}[learner]\nkind = \"analytic\"\nfeatures = {FEATURES}\n");
    let (mut speeds, mut plain, mut n_learned) = (Vec::new(), Vec::new(), 0);
    // A run of this one is as long as all of another.
    for _ in 0..effort.n_runs.min(3) {
        let (speed, learned) = applied(&toml, taught)?;
        n_learned = learned;
        speeds.push(speed);
        plain.push(product());
    }
    let gflops = median(&mut speeds) * 4.0 * (FEATURES * FEATURES) as f64 / 1e9;
    let most = median(&mut plain);
    println!(
        "analytic: 784 inputs, {FEATURES} random features, examples: {}; {n_learned} learned; \
         {gflops:.1} GFLOP/s of 4 n^2 operations an example, {:.2} of a plain product's {most:.1}",
        spread(&mut speeds),
        gflops / most
    );
    Ok(())
}

/// GFLOP/s of `[BLOCK, n] * [n, n]`.
fn product() -> f64 {
    const N_TIMES: usize = 8;
    let block = vec![0.5; BLOCK * FEATURES];
    let matrix = vec![0.25; FEATURES * FEATURES];
    let mut into = vec![0.0; BLOCK * FEATURES];
    let shape = Shape {
        n_rows: BLOCK,
        n_inner: FEATURES,
        n_columns: FEATURES,
    };
    let replaced = Blend {
        keep: 0.0,
        factor: 1.0,
    };
    let before = cpu_ns();
    for _ in 0..N_TIMES {
        let factors = [View::rows(&block, FEATURES), View::rows(&matrix, FEATURES)];
        multiply(&mut into, FEATURES, replaced, factors, shape);
        black_box(&into);
    }
    let spent = cpu_ns() - before;
    (N_TIMES * 2 * BLOCK * FEATURES * FEATURES) as f64 / spent as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
