//! Examples that are kept to be learned again or amended, and statistics of the rows that came.

mod balance;
pub(crate) mod first_rows;
mod lessons;
pub(crate) mod likeness;
pub(crate) mod output_counts;
mod replay;
mod reservoir;

pub(crate) use lessons::{Form, Lesson, load_lessons, save_lessons};
pub(crate) use replay::{Drawn, Memory, Room};
