//! The growth of the trees of a forest.
//!
//! A leaf takes a few random tests from the first rows that come to it, as extremely randomised trees
//! do (Geurts et al. 2006), and counts the classes on either side of each. Where one test tells them
//! apart by more than chance, the leaf splits (Domingos and Hulten 2000); where none does for long, it
//! takes other tests. Beside the trees that answer one more grows, the successor: once it is wrong
//! less often than the worst of them it takes its place, so that the forest follows a world that moves. A
//! tree whose error rises far above its mean keeps its splits and forgets most of its counts.
//!
//! Invariant: bounded in leaves and numbers; draws are a function of the seed, the tree and its rows. An
//! anchor of the retention set is not learned.

use std::sync::Arc;

use super::super::example::{Amendment, Known};
use crate::model::weights::{Error, Tensors};
use crate::model::{
    Conversion, Encoded, Forest, Reach, Scales, Split, Target, Test, Tree, load_tests, save_tests,
};

/// The settings by which a tree splits its leaves.
#[derive(Clone, Copy, Debug)]
struct SplitSettings {
    /// Tests that a leaf compares, and those that it takes from a row.
    tests: usize,
    tests_a_row: usize,
    /// Rows after which a leaf splits on weaker evidence, or takes other tests.
    late: u32,
    /// The gain of information, in nats over all rows, that splits a leaf at once; and the weaker one.
    gain: f32,
    gain_late: f32,
}

/// The settings of trees in turn: early splits lead while rows are few and where classes are many, the best
/// of many tests where a rule takes many inputs together.
const SETTINGS: [SplitSettings; 2] = [
    SplitSettings {
        tests: 24,
        tests_a_row: 4,
        late: 150,
        gain: 3.0,
        gain_late: 2.0,
    },
    SplitSettings {
        tests: TESTS_MAX,
        tests_a_row: 16,
        late: 400,
        gain: 6.0,
        gain_late: 3.0,
    },
];
const TESTS_MAX: usize = 64;
/// Rows between two looks at a leaf.
const GRACE: u32 = 20;
/// Rows on either side of a split.
const ROWS_A_SIDE: f32 = 2.0;
/// The leaves of a tree, and the numbers that they count.
const LEAVES_MAX: usize = 256;
const NUMBERS_MAX: usize = 1 << 18;
/// Answers over which the share of wrong ones fades.
const JUDGED: u32 = 100;
/// Where a tree's error exceeds its mean by so many deviations, the tree keeps its splits and this part of
/// its counts: the answers of its leaves are then learned again within few rows. The mean is one of
/// at least `MEAN_MIN` answers.
const DEVIATIONS: f32 = 3.0;
const DEVIATION_MIN: f32 = 0.01;
const COUNTS_KEPT: f32 = 0.02;
const MEAN_MIN: u32 = 3 * JUDGED;
const MEAN_MAX: u32 = 10 * JUDGED;
/// The age at which the successor may take the place of a tree, how often that is looked at, and the
/// age at which it begins again.
const AGE_MIN: u64 = 250;
const AGE_EVERY: u64 = 64;
const AGE_MAX: u64 = 4000;
/// How far beside a row's value a test lies, in deviations, and by how much more with each deviation from
/// the mean: equal values stay on one side while scales move within [`REACH`].
const BESIDE: f32 = 0.03;
const BESIDE_EACH: f32 = 0.03;
/// How far scales may move before thresholds are expressed in the new ones.
const REACH: Reach = Reach {
    mean: 0.02,
    proportion: 1.02,
};

/// The learned state of the trees beside their answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ForestLearner {
    /// Of each tree, and of the successor.
    growths: Vec<Growth>,
    successor: Tree,
    /// Rows that the successor has learned.
    age: u64,
    /// Trees that were begun.
    n_begun: u64,
    seed: u64,
    /// The scales that thresholds are expressed in.
    scales: Arc<Scales>,
}

/// The learned state of a tree beside its answers.
#[derive(Clone, Debug, PartialEq)]
struct Growth {
    /// The counts of each node; none of an inner node, and of a leaf that splits no more.
    observers: Vec<Option<Box<Observer>>>,
    seed: u64,
    n_drawn: u64,
    /// The place of its settings in [`SETTINGS`].
    settings: usize,
    /// The mean share of wrong answers since the last change, and how many answers that is of.
    error_mean: f32,
    n_answers: u32,
}

/// The counts of a leaf.
#[derive(Clone, Debug, Default, PartialEq)]
struct Observer {
    tests: Vec<Test>,
    /// Rows counted, which come after all tests are there.
    n_rows: u32,
    /// By class, `[n_outputs]`.
    rows: Vec<f32>,
    /// Counts of rows that satisfy each test, `[tests, n_outputs]`.
    held: Vec<f32>,
}

impl ForestLearner {
    /// Of trees that know nothing.
    pub(super) fn new(forest: &Forest, seed: u64) -> ForestLearner {
        let (n_outputs, n_begun) = (forest.n_outputs(), forest.trees.len() as u64 + 1);
        ForestLearner {
            growths: (0..n_begun).map(|tree| Growth::new(seed, tree)).collect(),
            successor: Tree::new(n_outputs),
            age: 0,
            n_begun,
            seed,
            scales: Arc::default(),
        }
    }

    /// The most nodes that a tree of so many classes has.
    fn nodes_max(n_outputs: usize) -> usize {
        let leaves = LEAVES_MAX.min(NUMBERS_MAX / ((TESTS_MAX + 2) * n_outputs));
        2 * leaves.max(1) + 1
    }

    /// Learns the class of a row, which is no anchor.
    pub(super) fn observe(&mut self, forest: &mut Forest, row: &Encoded, known: Known) {
        let Target::Class(class) = known.target else {
            return;
        };
        if known.is_anchor {
            return;
        }
        let trees = forest.trees.iter_mut().map(Arc::make_mut);
        let trees = trees.chain([&mut self.successor]);
        for (tree, growth) in trees.zip(&mut self.growths) {
            growth.observe(tree, row, (class as usize, known.weight));
        }
        self.age += 1;
        if self.age >= AGE_MIN && self.age.is_multiple_of(AGE_EVERY) {
            self.succeed(forest);
        }
    }

    /// Puts the successor in the place of the worst tree, where it is wrong less often by more than a
    /// deviation; begins it again where it is old.
    fn succeed(&mut self, forest: &mut Forest) {
        let errors = forest.trees.iter().map(|tree| tree.error).enumerate();
        let Some((worst, error)) = errors.max_by(|one, other| one.1.total_cmp(&other.1)) else {
            return;
        };
        let deviation = (error * (1.0 - error) / JUDGED as f32).sqrt();
        let is_better = self.successor.error + deviation < error;
        if !is_better && self.age < AGE_MAX {
            return;
        }
        let n_outputs = self.successor.counts.len() / self.successor.splits.len();
        let tree = std::mem::replace(&mut self.successor, Tree::new(n_outputs));
        let last = self.growths.len() - 1;
        let growth = std::mem::replace(
            &mut self.growths[last],
            Growth::new(self.seed, self.n_begun),
        );
        if is_better {
            forest.trees[worst] = Arc::new(tree);
            self.growths[worst] = growth;
        }
        self.n_begun += 1;
        self.age = 0;
    }

    /// A row's class is another one than it was learned as. The counts of the leaf that it comes to now
    /// are put right; splits that it had a part in stay.
    pub(super) fn amend(&mut self, forest: &mut Forest, row: &Encoded, amendment: &Amendment) {
        let (Target::Class(before), Target::Class(after)) = (amendment.before, amendment.after)
        else {
            return;
        };
        if amendment.is_anchor {
            return;
        }
        let trees = forest.trees.iter_mut().map(Arc::make_mut);
        for tree in trees.chain([&mut self.successor]) {
            let n_outputs = tree.counts.len() / tree.splits.len();
            let leaf = tree.leaf(row);
            let counts = &mut tree.counts[leaf * n_outputs..][..n_outputs];
            let count = &mut counts[before as usize];
            *count = (*count - amendment.weight).max(0.0);
            counts[after as usize] += amendment.weight;
        }
    }

    /// Expresses thresholds in these scales, where they are far from those of before.
    pub(super) fn stand_in(&mut self, forest: &mut Forest, scales: &Arc<Scales>) {
        let is_first = *self.scales == Scales::default();
        if !is_first && !self.scales.are_beyond(REACH, scales, usize::MAX) {
            return;
        }
        let conversions = self.scales.conversions(scales);
        self.scales = Arc::new(scales.fixed());
        let trees = forest.trees.iter_mut().map(Arc::make_mut);
        for tree in trees.chain([&mut self.successor]) {
            let tests = tree.splits.iter_mut().flatten();
            tests.for_each(|split| convert(&mut split.test, &conversions));
        }
        let observers = self.growths.iter_mut().flat_map(|one| &mut one.observers);
        let tests = observers.flatten().flat_map(|one| &mut one.tests);
        tests.for_each(|test| convert(test, &conversions));
    }

    pub(super) fn save(&self) -> Tensors {
        let mut state = Tensors::default();
        state.nest("successor", self.successor.save());
        state.put_u64("numbers", &[2], vec![self.age, self.n_begun]);
        for (place, growth) in self.growths.iter().enumerate() {
            state.nest(&place.to_string(), growth.save());
        }
        self.scales.save("scales", &mut state);
        state
    }

    /// Reads the state that [`ForestLearner::save`] wrote, of rows in scales like those that it stands in.
    pub(super) fn load(
        &mut self,
        forest: &mut Forest,
        n_dense: usize,
        (weights, state): (&mut Tensors, &mut Tensors),
    ) -> Result<(), Error> {
        let n_outputs = self.successor.counts.len() / self.successor.splits.len();
        let shape = (n_outputs, n_dense, ForestLearner::nodes_max(n_outputs));
        for (place, tree) in forest.trees.iter_mut().enumerate() {
            let saved = &mut weights.unnest(&place.to_string());
            *tree = Arc::new(Tree::load(shape, saved)?);
        }
        self.successor = Tree::load(shape, &mut state.unnest("successor"))?;
        let numbers = state.take_u64("numbers", &[Some(2)])?;
        [self.age, self.n_begun] = [numbers[0], numbers[1]];
        let trees = forest.trees.iter().map(|tree| tree.splits.len());
        let nodes: Vec<usize> = trees.chain([self.successor.splits.len()]).collect();
        for (place, (growth, nodes)) in self.growths.iter_mut().zip(nodes).enumerate() {
            let saved = &mut state.unnest(&place.to_string());
            *growth = Growth::load((n_outputs, n_dense, nodes), saved)?;
        }
        self.scales = Arc::new(self.scales.load("scales", state)?);
        Ok(())
    }
}

impl Growth {
    /// Of a tree of one leaf.
    fn new(seed: u64, tree: u64) -> Growth {
        Growth {
            observers: vec![Some(Box::default())],
            seed: mixed(seed ^ mixed(tree)),
            n_drawn: 0,
            settings: (tree % SETTINGS.len() as u64) as usize,
            error_mean: 0.0,
            n_answers: 0,
        }
    }

    /// Follows the mean share of wrong answers by one that counts `part`; true where the fading share `error`
    /// is far above it.
    fn is_changed(&mut self, error: f32, (is_wrong, part): (f32, f32)) -> bool {
        self.n_answers = (self.n_answers + 1).min(MEAN_MAX);
        self.error_mean += (is_wrong - self.error_mean) * part / self.n_answers as f32;
        if self.n_answers <= MEAN_MIN {
            return false;
        }
        let variance = self.error_mean * (1.0 - self.error_mean) / JUDGED as f32;
        let deviation = variance.max(DEVIATION_MIN * DEVIATION_MIN).sqrt();
        // A fading mean varies half as much as a plain one of as many answers.
        error > self.error_mean + DEVIATIONS * deviation * std::f32::consts::FRAC_1_SQRT_2
    }

    /// Forgets most of the counts of the leaves, and all of their observers.
    fn fade(&mut self, tree: &mut Tree) {
        for count in &mut tree.counts {
            *count *= COUNTS_KEPT;
        }
        for observer in self.observers.iter_mut().flatten() {
            **observer = Observer::default();
        }
        (self.error_mean, self.n_answers) = (0.0, 0);
    }

    /// Learns a class by its weight. An example of a small weight is judged by as small a part.
    fn observe(&mut self, tree: &mut Tree, row: &Encoded, taught: (usize, f32)) {
        let (class, weight) = taught;
        let n_outputs = tree.counts.len() / tree.splits.len();
        let leaf = tree.leaf(row);
        let counts = &mut tree.counts[leaf * n_outputs..][..n_outputs];
        let most = counts.iter().fold(0.0, |most: f32, one| most.max(*one));
        let is_wrong = f32::from(u8::from(counts[class] < most || most == 0.0));
        let part = weight.min(1.0);
        tree.n_judged = (tree.n_judged + 1).min(JUDGED);
        tree.error += (is_wrong - tree.error) * part / tree.n_judged.max(2) as f32;
        counts[class] += weight;
        if self.is_changed(tree.error, (is_wrong, part)) {
            self.fade(tree);
        }
        let Some(mut observer) = self.observers[leaf].take() else {
            return;
        };
        if observer.held.is_empty() {
            self.take_tests(&mut observer, row, n_outputs);
        } else if let Some(split) = observer.observe(row, taught, &SETTINGS[self.settings]) {
            return self.split(tree, leaf, (&observer, split));
        }
        self.observers[leaf] = Some(observer);
    }

    /// Takes tests from a row.
    fn take_tests(&mut self, observer: &mut Observer, row: &Encoded, n_outputs: usize) {
        let settings = &SETTINGS[self.settings];
        for _ in 0..settings.tests_a_row {
            observer.tests.extend(self.draw(row));
        }
        observer.tests.truncate(settings.tests);
        if observer.tests.len() == settings.tests {
            observer.rows = vec![0.0; n_outputs];
            observer.held = vec![0.0; n_outputs * observer.tests.len()];
        }
    }

    /// A test beside a value of the row, or on a feature that it has; none of a row without any. Each
    /// dense input is as likely as another, as a category, and as a text, whose features share a square
    /// length of one.
    fn draw(&mut self, row: &Encoded) -> Option<Test> {
        self.n_drawn += 1;
        let drawn = mixed(self.seed.wrapping_add(self.n_drawn));
        let n_dense = row.dense.len() as f32;
        let squares: f32 = row.sparse.iter().map(|(_, value)| value * value).sum();
        let share = (drawn >> 40) as f32 / (1u64 << 24) as f32;
        let mut place = share * (n_dense + squares);
        if let Some(value) = row.dense.get(place as usize) {
            let beside = BESIDE + BESIDE_EACH * value.abs();
            let beside = if drawn & 1 == 0 { beside } else { -beside };
            return Some(Test::AtMost {
                input: place as u32,
                value: value + beside,
            });
        }
        place -= n_dense;
        let is_there = |(_, value): &&(u32, f32)| {
            place -= value * value;
            place < 0.0
        };
        let found = row.sparse.iter().find(is_there).or(row.sparse.last())?;
        Some(Test::Has { bucket: found.0 })
    }

    /// Makes two leaves of one.
    fn split(&mut self, tree: &mut Tree, leaf: usize, (observer, place): (&Observer, usize)) {
        let n_outputs = observer.rows.len();
        let held = &observer.held[place * n_outputs..][..n_outputs];
        let others = observer.rows.iter().zip(held).map(|(all, held)| all - held);
        tree.splits[leaf] = Some(Split {
            test: observer.tests[place],
            child: tree.splits.len() as u32,
        });
        tree.splits.extend([None, None]);
        tree.counts.extend_from_slice(held);
        tree.counts.extend(others);
        if tree.splits.len() < ForestLearner::nodes_max(n_outputs) {
            self.observers
                .extend([Some(Box::default()), Some(Box::default())]);
        } else {
            self.observers = vec![None; tree.splits.len()];
        }
    }

    /// U64 `numbers` `[4]`, F32 `error_mean` `[1]`, U8 `observes` `[nodes]`, and the counts of the observers,
    /// one after the other.
    fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let (settings, n_answers) = (self.settings as u64, u64::from(self.n_answers));
        let numbers = vec![self.seed, self.n_drawn, settings, n_answers];
        tensors.put_u64("numbers", &[4], numbers);
        tensors.put_f32("error_mean", &[1], vec![self.error_mean]);
        let observes = self.observers.iter().map(|one| u8::from(one.is_some()));
        tensors.put_u8("observes", &[self.observers.len()], observes.collect());
        let all: Vec<&Observer> = self.observers.iter().flatten().map(|one| &**one).collect();
        let tests: Vec<_> = all
            .iter()
            .flat_map(|one| &one.tests)
            .copied()
            .map(Some)
            .collect();
        save_tests(&tests, &mut tensors);
        let n = all.len();
        let numbers = |of: fn(&Observer) -> u32| all.iter().map(|one| of(one)).collect();
        tensors.put_u32("n_tests", &[n], numbers(|one| one.tests.len() as u32));
        tensors.put_u32("n_rows", &[n], numbers(|one| one.n_rows));
        let rows: Vec<f32> = all.iter().flat_map(|one| &one.rows).copied().collect();
        tensors.put_f32("rows", &[rows.len()], rows);
        let held: Vec<f32> = all.iter().flat_map(|one| &one.held).copied().collect();
        tensors.put_f32("held", &[held.len()], held);
        tensors
    }

    fn load(
        (n_outputs, n_dense, nodes): (usize, usize, usize),
        tensors: &mut Tensors,
    ) -> Result<Growth, Error> {
        let numbers = tensors.take_u64("numbers", &[Some(4)])?;
        let error_mean = tensors.take_f32("error_mean", &[Some(1)])?[0];
        let place = usize::try_from(numbers[2]).ok();
        let settings = place.and_then(|place| SETTINGS.get(place));
        let settings = settings.filter(|_| numbers[3] <= u64::from(MEAN_MAX));
        let settings = settings.ok_or_else(|| Error::value("numbers", format!("{numbers:?}")))?;
        if !(0.0..=1.0).contains(&error_mean) {
            return Err(Error::value("error_mean", format!("{error_mean}")));
        }
        let observes = tensors.take_u8("observes", &[Some(nodes)])?;
        let n = observes.iter().filter(|one| **one == 1).count();
        let tests = load_tests(n_dense, tensors)?;
        let n_tests = tensors.take_u32("n_tests", &[Some(n)])?;
        let n_rows = tensors.take_u32("n_rows", &[Some(n)])?;
        let [rows, held] = ["rows", "held"].map(|name| tensors.take_f32(name, &[None]));
        let (mut tests, mut rows, mut held) = (&tests[..], &rows?[..], &held?[..]);
        let torn = || Error::value("n_tests", "not as many as there are");
        let mut observers = Vec::with_capacity(n);
        for (n_tests, n_rows) in n_tests.into_iter().zip(n_rows) {
            let n_tests = n_tests as usize;
            // Rows are counted once all tests are there.
            let n = if n_tests >= settings.tests {
                n_outputs
            } else {
                0
            };
            let these = tests.split_off(..n_tests).ok_or_else(torn)?;
            observers.push(Observer {
                tests: these.iter().copied().flatten().collect(),
                n_rows,
                rows: rows.split_off(..n).ok_or_else(torn)?.to_vec(),
                held: held.split_off(..n * n_tests).ok_or_else(torn)?.to_vec(),
            });
        }
        let is_sound = |one: &Observer| one.tests.len() <= settings.tests;
        if !tests.is_empty() || !rows.is_empty() || !held.is_empty() {
            return Err(torn());
        }
        if !observers.iter().all(is_sound) {
            return Err(Error::value("n_tests", "more than a leaf has"));
        }
        let mut observers = observers.into_iter().map(Box::new);
        Ok(Growth {
            observers: observes
                .into_iter()
                .map(|one| if one == 1 { observers.next() } else { None })
                .collect(),
            seed: numbers[0],
            n_drawn: numbers[1],
            settings: numbers[2] as usize,
            error_mean,
            n_answers: numbers[3] as u32,
        })
    }
}

impl Observer {
    /// Counts a row; the place of the test on which the leaf is to be split, if it is.
    fn observe(
        &mut self,
        row: &Encoded,
        (class, weight): (usize, f32),
        settings: &SplitSettings,
    ) -> Option<usize> {
        let n_outputs = self.rows.len();
        self.n_rows += 1;
        self.rows[class] += weight;
        for (test, held) in self.tests.iter().zip(self.held.chunks_exact_mut(n_outputs)) {
            held[class] += if test.holds(row) { weight } else { 0.0 };
        }
        if !self.n_rows.is_multiple_of(GRACE) {
            return None;
        }
        let is_late = self.n_rows >= settings.late;
        let (place, gain) = self.best();
        let needed = if is_late {
            settings.gain_late
        } else {
            settings.gain
        };
        if gain >= needed {
            return Some(place);
        }
        if is_late {
            *self = Observer::default();
        }
        None
    }

    /// The test with the most information about the classes, and the information that is gained by it.
    fn best(&self) -> (usize, f32) {
        let n: f32 = self.rows.iter().sum();
        let before: f32 = entropy(&self.rows, n);
        let mut best = (0, 0.0);
        for (place, held) in self.held.chunks_exact(self.rows.len()).enumerate() {
            let n_held: f32 = held.iter().sum();
            let n_others = n - n_held;
            if n_held < ROWS_A_SIDE || n_others < ROWS_A_SIDE {
                continue;
            }
            let others = self.rows.iter().zip(held).map(|(all, held)| all - held);
            let after = entropy(held, n_held)
                + others.map(|one| -x_ln_x(one)).sum::<f32>()
                + x_ln_x(n_others);
            if before - after > best.1 {
                best = (place, before - after);
            }
        }
        best
    }
}

/// Expresses a threshold in other scales.
fn convert(test: &mut Test, conversions: &[Conversion]) {
    if let Test::AtMost { input, value } = test
        && let Some(conversion) = conversions.get(*input as usize)
    {
        *value = *value * conversion.factor + conversion.shift;
    }
}

/// The entropy of so many rows of classes, times their number.
fn entropy(rows: &[f32], n: f32) -> f32 {
    x_ln_x(n) - rows.iter().map(|one| x_ln_x(*one)).sum::<f32>()
}

fn x_ln_x(x: f32) -> f32 {
    if x > 0.0 { x * x.ln() } else { 0.0 }
}

/// A number that looks as if drawn at random (SplitMix64; Steele et al. 2014).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
