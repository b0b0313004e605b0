//! Monitors: the scores of served answers, and the figures of answers that have no label yet.
//!
//! Every judged answer is scored over three spans: all of them, a window of the newest, and a fading
//! mean in which the last thousand have the most weight. Declared slices (values of inputs and tags) are
//! scored beside the whole, each against its own past and against the champion. Beside scores stand the
//! answers that were asked: their confidence, which of them got a label, how late, and by that an
//! estimate of the accuracy while labels are late.
//!
//! Invariant: bounded in bytes by the description, and a function of the entries: a retraction derives
//! them again. They are of the world, so a restore leaves them as they are. None of them is learned from.

mod classes;
mod estimate;
mod figure;
mod labelling;
mod names;
mod probabilities;
mod ranks;
mod scores;
mod slices;
mod spans;
mod whole;

pub use classes::ClassCount;
pub use figure::{ConfusionCount, Figure};
pub use probabilities::ScoredProbabilities;
pub use scores::{DetailedScores, Scores};
pub(in crate::learn) use slices::{FeedbackKeys, OF_SOURCE, SliceName};
pub(in crate::learn) use whole::{Monitors, ScoredAnswer, ServedAnswer};
