//! Learners and the events that they are fed, in memory.
//!
//! Invariant: whatever is learned goes through `Learner::apply`, entry by entry, from the
//! description on.

#![allow(dead_code, reason = "each bench takes what it needs")]

use std::sync::Arc;

use anyhow::Result;
use perennial::event::{
    Batch, Column, Decision, Description, Entry, Event, Feedback, Signal, Subject, Time,
};
use perennial::learn::Learner;
use perennial::model::{REVISION, Spec};

/// A learner whose first entry was the description.
pub(crate) fn described(toml: &str) -> Result<Learner> {
    let mut learner = Learner::new(Arc::new(Spec::parse(toml)?));
    let description = Description {
        toml: Spec::pin(toml, &[], REVISION),
        build: String::new(),
        profile: String::new(),
    };
    apply(&mut learner, &entry(1, Event::Description(description)))?;
    Ok(learner)
}

/// Applies an event that brings all it needs.
pub(crate) fn apply(learner: &mut Learner, entry: &Entry) -> Result<()> {
    // The record of a version would stand in the journal; it is checked there, not here.
    learner.apply(entry, &mut ())?;
    Ok(())
}

/// The feedback that is the `index`th event behind the description, on a row that it brings.
pub(crate) fn feedback(index: usize, columns: Vec<Column>, signal: Signal) -> Entry {
    on(index, columns, None, signal)
}

/// The feedback on a decision that was taken for the row.
pub(crate) fn decided(
    index: usize,
    columns: Vec<Column>,
    decision: Decision,
    signal: Signal,
) -> Entry {
    on(index, columns, Some(decision), signal)
}

fn on(index: usize, columns: Vec<Column>, decision: Option<Decision>, signal: Signal) -> Entry {
    let batch = Batch { n_rows: 1, columns };
    let feedback = Feedback {
        feedback_id: format!("feedback-{index}"),
        subject: Subject::Inputs { batch, decision },
        signal,
        source: "bench".to_owned(),
        event_time: None,
        tags: Default::default(),
        actor: String::new(),
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    };
    entry(index as u64 + 2, Event::Feedback(feedback))
}

/// An entry a millisecond behind the one before.
fn entry(position: u64, event: Event) -> Entry {
    Entry {
        position,
        time: Time(position as i64 * 1000),
        event,
    }
}

/// Images of 28 x 28 as the column of an input, each pixel between 0 and 1.
pub(crate) fn pixels<'a>(images: impl Iterator<Item = &'a [u8; 784]>) -> Column {
    let bytes = images
        .flatten()
        .flat_map(|pixel| (f32::from(*pixel) / 255.0).to_le_bytes());
    Column::Vectors(bytes.collect::<Vec<u8>>().into())
}

/// The head of a description that names ten classes or actions and takes an image.
pub(crate) fn of_images(task: &str, names: &str) -> String {
    let digits: Vec<String> = (0..10).map(|digit| format!("\"{digit}\"")).collect();
    format!(
        "task = \"{task}\"\n{names} = [{}]\n[[input]]\nname = \"image\"\nkind = \"vector\"\n\
         length = 784\n",
        digits.join(", ")
    )
}
