//! Examples that are kept to be learned again or amended, and statistics of the rows that came.

pub(crate) mod anchors;
mod balance;
pub(crate) mod class_shares;
pub(crate) mod first_rows;
pub(crate) mod kept_examples;
pub(crate) mod likeness;
pub(crate) mod output_counts;
mod replay;
mod reservoir;
mod stored_example;

pub(crate) use replay::{Drawn, Memory, MemoryBounds};
pub(crate) use stored_example::{
    ExampleBounds, StoredExample, is_weight, load_examples, save_examples,
};
