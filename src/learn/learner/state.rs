//! A learner as tensors, and back.
//!
//! Invariant: a loaded learner goes on, bit for bit, as the saved one would have gone on.

use std::sync::Arc;

use super::accounts::Accounts;
use super::stream::Stream;
use super::windows::PER_ENTRY_MAX;
use super::{History, Learner};
use crate::event::Description;
use crate::learn::algorithms::learned::Learned;
use crate::model::weights::{self, Tensors};
use crate::model::{Spec, SpecError};

impl Learner {
    /// Everything besides the weights: `learned.*`, and accounts and stream as `world.*`.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.accounts.save(&mut tensors);
        self.stream.save(&mut tensors);
        let mut all = Tensors::default();
        all.nest("world", tensors);
        all.nest("learned", self.learned.state());
        let Description {
            toml,
            build,
            profile,
        } = &self.description;
        for (name, text) in [("toml", toml), ("build", build), ("profile", profile)] {
            let bytes = text.clone().into_bytes();
            all.put_u8(format!("description.{name}"), &[bytes.len()], bytes);
        }
        all
    }

    /// The state that `Learned::weights` and [`Learner::state`] were taken of.
    ///
    /// # Errors
    /// When the tensors are not of this description.
    pub fn load(mut weights: Tensors, mut state: Tensors) -> Result<Learner, weights::Error> {
        let (description, spec) = take_description(&mut state)?;
        let spec = Arc::new(spec);
        let mut world = state.unnest("world");
        let stream = Stream::load(&mut world)?;
        let learned = Learned::load(&spec, &mut weights, &mut state.unnest("learned"))?;
        let accounts = Accounts::load(&mut world, &spec, stream.position)?;
        Ok(Learner {
            spec,
            description,
            learned,
            accounts,
            stream,
            history: History::default(),
            encoders: Default::default(),
            request: Default::default(),
            windows_max: PER_ENTRY_MAX,
            has_moved: false,
            failed: None,
            gap: None,
            released: None,
            begun_anew: false,
        })
    }
}

/// The description that a state is of.
pub(super) fn take_description(state: &mut Tensors) -> Result<(Description, Spec), weights::Error> {
    let mut text = |part| {
        let bytes = state.take_u8(&format!("description.{part}"), &[None])?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let description = Description {
        toml: text("toml")?,
        build: text("build")?,
        profile: text("profile")?,
    };
    let wrong = |error: SpecError| weights::Error::value("description.toml", error.to_string());
    let spec = Spec::journaled(&description.toml).map_err(wrong)?;
    Ok((description, spec))
}
