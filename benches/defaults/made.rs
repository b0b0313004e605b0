//! Streams that are made on the spot, whose rules are known: the best that can be reached is 1.

use std::fmt::Write as _;

use crate::data::Random;

/// Inputs of a tree.
const N_INPUTS: usize = 8;
/// The rows, columns and diagonals of a board of nine places.
const LINES: [[usize; 3]; 8] = [
    [0, 1, 2],
    [3, 4, 5],
    [6, 7, 8],
    [0, 3, 6],
    [1, 4, 7],
    [2, 5, 8],
    [0, 4, 8],
    [2, 4, 6],
];
const WORDS: [&str; 6] = ["paid", "late", "order", "again", "gift", "returned"];

/// A random decision tree.
enum Tree {
    Leaf(u64),
    Split(usize, f64, Box<[Tree; 2]>),
}

impl Tree {
    fn new(random: &mut Random, depth: usize, n_classes: u64) -> Tree {
        if depth == 0 {
            return Tree::Leaf(random.below(n_classes));
        }
        let input = random.below(N_INPUTS as u64) as usize;
        let value = 0.2 + 0.6 * random.uniform();
        let children = [0, 1].map(|_| Tree::new(random, depth - 1, n_classes));
        Tree::Split(input, value, Box::new(children))
    }

    fn class(&self, row: &[f64]) -> u64 {
        match self {
            Tree::Leaf(class) => *class,
            Tree::Split(input, value, children) => {
                children[usize::from(row[*input] > *value)].class(row)
            }
        }
    }
}

/// The names of the streams.
pub(crate) const NAMES: [&str; 4] = ["made-meeting", "made-tree", "made-trees", "made-board"];

/// So many rows of the stream of this name, as CSV.
pub(crate) fn rows(name: &str, n: usize) -> String {
    let mut random = Random(0x7ee5);
    match name {
        "made-meeting" => meeting(&mut random, n),
        "made-tree" => trees(&mut random, n, (1, 5, 3)),
        "made-trees" => trees(&mut random, n, (2, 4, 2)),
        _ => board(&mut random, n),
    }
}

/// An amount and a shop that tell the class together alone, beside a note that tells nothing.
fn meeting(random: &mut Random, n: usize) -> String {
    let mut text = "amount,hour,shop,note,label\n".to_owned();
    for _ in 0..n {
        let amount = (1.0 + 3.0 * random.uniform()).exp();
        let shop = random.below(3);
        let words = [0; 3].map(|_| WORDS[random.below(WORDS.len() as u64) as usize]);
        let label = (amount > 12.0) ^ (shop == 0);
        let (hour, note) = (random.below(24), words.join(" "));
        writeln!(text, "{amount:.2},{hour},s{shop},{note},{label}").expect("to a text");
    }
    text
}

/// The classes of so many random trees, one after the other, of this depth and so many classes.
fn trees(
    random: &mut Random,
    n: usize,
    (n_trees, depth, n_classes): (usize, usize, u64),
) -> String {
    let trees: Vec<Tree> = (0..n_trees)
        .map(|_| Tree::new(random, depth, n_classes))
        .collect();
    let names: Vec<String> = (0..N_INPUTS).map(|input| format!("x{input}")).collect();
    let mut text = format!("{},label\n", names.join(","));
    for place in 0..n {
        let row: Vec<f64> = (0..N_INPUTS).map(|_| random.uniform()).collect();
        let class = trees[place * n_trees / n].class(&row);
        let cells: Vec<String> = row.iter().map(|value| format!("{value:.4}")).collect();
        writeln!(text, "{},c{class}", cells.join(",")).expect("to a text");
    }
    text
}

/// Nine places of a board, and whether three crosses stand in a line.
fn board(random: &mut Random, n: usize) -> String {
    let names: Vec<String> = (1..=9).map(|place| format!("place{place}")).collect();
    let mut text = format!("{},label\n", names.join(","));
    for _ in 0..n {
        let places = [0; 9].map(|_| ["x", "o", "b"][random.below(3) as usize]);
        let is_won = LINES
            .iter()
            .any(|line| line.iter().all(|at| places[*at] == "x"));
        writeln!(text, "{},{is_won}", places.join(",")).expect("to a text");
    }
    text
}
