//! Sequences of tasks over the same images.
//!
//! Invariant: a function of kind and seed. Every image of the training set comes once in each
//! task that has it, and every test image is asked for in each task that has it.

#![allow(dead_code, reason = "each bench takes what it needs")]

use crate::data::{Images, Random};

/// How the tasks differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TaskSequence {
    /// Two digits at a time, in order; asked for among all ten.
    Split,
    /// All digits, turned by an angle of the task, uniform in [0, 180) degrees.
    Rotated,
    /// All digits, their pixels in an order of the task.
    Permuted,
}

/// One of them.
pub(crate) struct Task {
    /// Training images in the order in which they come.
    pub train: Vec<usize>,
    /// Test images.
    pub test: Vec<usize>,
    pub view: View,
}

/// How images look.
pub(crate) enum View {
    Plain,
    /// By so many degrees.
    Rotated(f64),
    /// The pixel for each place.
    Permuted(Vec<usize>),
}

impl TaskSequence {
    /// Its tasks, `n_tasks` of them where the kind has no number of its own.
    pub(crate) fn tasks(
        self,
        train: &Images,
        test: &Images,
        n_tasks: usize,
        seed: u64,
    ) -> Vec<Task> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // The first numbers of a small seed are small.
        (0..8).for_each(|_| {
            random.uniform();
        });
        let n_tasks = match self {
            TaskSequence::Split => 5,
            TaskSequence::Rotated | TaskSequence::Permuted => n_tasks,
        };
        let task = |task: usize| {
            let here = |digit: u8| self != TaskSequence::Split || usize::from(digit) / 2 == task;
            let order = random.order(train.digits.len()).into_iter();
            Task {
                train: order.filter(|index| here(train.digits[*index])).collect(),
                test: (0..test.digits.len())
                    .filter(|index| here(test.digits[*index]))
                    .collect(),
                view: match self {
                    TaskSequence::Split => View::Plain,
                    TaskSequence::Rotated => View::Rotated(180.0 * random.uniform()),
                    TaskSequence::Permuted => View::Permuted(random.order(784)),
                },
            }
        };
        (0..n_tasks).map(task).collect()
    }
}

impl View {
    /// An image as it looks here.
    pub(crate) fn of(&self, pixels: &[u8; 784]) -> [u8; 784] {
        match self {
            View::Plain => *pixels,
            View::Permuted(order) => std::array::from_fn(|place| pixels[order[place]]),
            View::Rotated(degrees) => {
                let (sin, cos) = degrees.to_radians().sin_cos();
                std::array::from_fn(|place| {
                    let (x, y) = ((place % 28) as f64 - 13.5, (place / 28) as f64 - 13.5);
                    between(pixels, cos * x - sin * y + 13.5, sin * x + cos * y + 13.5)
                })
            }
        }
    }
}

/// The value between pixels, bilinear; nothing lies outside.
fn between(pixels: &[u8; 784], x: f64, y: f64) -> u8 {
    let (left, top) = (x.floor(), y.floor());
    let mut sum = 0.0;
    for (row, column) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
        let (at_x, at_y) = (left + column, top + row);
        let inside = |at: f64| (0.0..28.0).contains(&at);
        if inside(at_x) && inside(at_y) {
            let pixel = f64::from(pixels[at_y as usize * 28 + at_x as usize]);
            sum += pixel * (1.0 - (x - at_x).abs()) * (1.0 - (y - at_y).abs());
        }
    }
    sum.round() as u8
}
