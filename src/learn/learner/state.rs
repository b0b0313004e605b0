//! A learner as tensors, and back.
//!
//! Invariant: what is loaded goes on, bit for bit, as what was saved would have gone on.

use std::sync::Arc;

use super::super::join::PendingPredictions;
use super::windows::PER_ENTRY_MAX;
use super::{History, Learner, World};
use crate::event::{Description, Reason, Refusal, Time, Version};
use crate::learn::algorithms::learned::Learned;
use crate::learn::records::evaluate::Evaluation;
use crate::learn::records::feedback_ids::FeedbackIds;
use crate::learn::records::ledger::Ledger;
use crate::learn::records::places::Places;
use crate::learn::records::sources::Sources;
use crate::learn::versions::newest::Newest;
use crate::learn::versions::retold::Retold;
use crate::learn::versions::tainted::Tainted;
use crate::model::weights::{self, Tensors};
use crate::model::{Spec, SpecError};

impl Learner {
    /// Everything besides the weights: `learned.*` and `world.*`.
    pub fn state(&self) -> Tensors {
        let world = &self.world;
        let mut tensors = Tensors::default();
        let numbers = vec![
            world.position,
            world.time.0 as u64,
            world.version,
            world.newest_version,
            world.n_events,
        ];
        tensors.put_u64("numbers", &[5], numbers);
        world.joins.save(&mut tensors);
        world.feedback_ids.save(&mut tensors);
        world.ledger.save(&mut tensors);
        world.sources.save(&mut tensors);
        world.evaluation.save(&mut tensors);
        world.places.save(&mut tensors);
        save_unrecorded(&world.unrecorded, &mut tensors);
        let refusals = world.refusals.iter().map(|refusal| refusal.position);
        put_positions(&mut tensors, "refusals", refusals.collect());
        put_positions(&mut tensors, "erasures", world.erasures.clone());
        world.newest.save(&mut tensors);
        world.tainted.save(&mut tensors);
        world.retold.save(&mut tensors);
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

    /// The state that [`Learned::weights`] and [`Learner::state`] were taken of.
    ///
    /// # Errors
    /// When the tensors are not of this description.
    pub fn load(mut weights: Tensors, mut state: Tensors) -> Result<Learner, weights::Error> {
        let (description, spec) = take_description(&mut state)?;
        let spec = Arc::new(spec);
        let mut world = state.unnest("world");
        let numbers = world.take_u64("numbers", &[Some(5)])?;
        let (newest, tainted, retold) = load_versions(&mut world)?;
        let learned = Learned::load(&spec, &mut weights, &mut state.unnest("learned"))?;
        let mut joins = PendingPredictions::load(&mut world)?;
        joins.reconfigure(&spec);
        Ok(Learner {
            spec,
            description,
            learned,
            history: History::default(),
            encoders: Default::default(),
            request: Default::default(),
            windows_max: PER_ENTRY_MAX,
            failed: None,
            gap: None,
            world: World {
                position: numbers[0],
                time: Time(numbers[1] as i64),
                version: numbers[2],
                newest_version: numbers[3],
                n_events: numbers[4],
                joins,
                feedback_ids: FeedbackIds::load(&mut world)?,
                ledger: Ledger::load(&mut world)?,
                sources: Sources::load(&mut world, numbers[0])?,
                evaluation: Evaluation::load(&mut world)?,
                places: Places::load(&mut world)?,
                unrecorded: load_unrecorded(&mut world)?,
                refusals: take_positions(&mut world, "refusals")?
                    .into_iter()
                    .map(|position| Refusal { position })
                    .collect(),
                erasures: take_positions(&mut world, "erasures")?,
                newest,
                tainted,
                retold,
            },
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

/// Most states have none, and those of earlier programs do not name them.
fn put_positions(tensors: &mut Tensors, name: &str, positions: Vec<u64>) {
    if !positions.is_empty() {
        tensors.put_u64(name, &[positions.len()], positions);
    }
}

fn take_positions(tensors: &mut Tensors, name: &str) -> Result<Vec<u64>, weights::Error> {
    if tensors.0.contains_key(name) {
        tensors.take_u64(name, &[None])
    } else {
        Ok(Vec::new())
    }
}

/// What is known of versions. Earlier programs saved the tree of all, and every one that is tainted.
fn load_versions(world: &mut Tensors) -> Result<(Newest, Tainted, Retold), weights::Error> {
    if world.0.contains_key("newest") {
        let retold = Retold::load(world, |_| 0)?;
        return Ok((Newest::load(world)?, Tainted::load(world)?, retold));
    }
    let tree = world.take_u64("lineage", &[None, Some(4)])?;
    let position = |version| {
        let mut rows = tree.chunks_exact(4);
        rows.find(|row| row[0] == version).map_or(0, |row| row[2])
    };
    let tainted = Tainted::of_pairs(&world.take_u64("tainted", &[None, Some(2)])?);
    Ok((
        Newest::of_tree(&tree)?,
        tainted,
        Retold::load(world, position)?,
    ))
}

fn save_unrecorded(unrecorded: &[Version], tensors: &mut Tensors) {
    let (mut numbers, mut digests) = (Vec::new(), Vec::new());
    let (mut counted, mut tallies) = (Vec::new(), Vec::new());
    for (index, version) in unrecorded.iter().enumerate() {
        numbers.extend([version.version, version.parent, version.position]);
        numbers.push(version.reason as u64);
        digests.extend(version.digest);
        counted.extend(version.tallies.map(|_| index as u64));
        tallies.extend(version.tallies.iter().flatten());
    }
    tensors.put_u64("unrecorded", &[unrecorded.len(), 4], numbers);
    tensors.put_u8("unrecorded.digests", &[unrecorded.len(), 32], digests);
    if !counted.is_empty() {
        tensors.put_u8("unrecorded.tallies", &[counted.len(), 32], tallies);
        tensors.put_u64("unrecorded.counted", &[counted.len()], counted);
    }
}

fn load_unrecorded(world: &mut Tensors) -> Result<Vec<Version>, weights::Error> {
    let numbers = world.take_u64("unrecorded", &[None, Some(4)])?;
    let n_versions = Some(numbers.len() / 4);
    let digests = world.take_u8("unrecorded.digests", &[n_versions, Some(32)])?;
    let version = |(numbers, digest): (&[u64], &[u8])| {
        let reason = Reason::ALL.into_iter().find(|r| *r as u64 == numbers[3]);
        Ok(Version {
            version: numbers[0],
            parent: numbers[1],
            position: numbers[2],
            reason: reason.ok_or_else(|| {
                weights::Error::value("unrecorded", format!("reason {}", numbers[3]))
            })?,
            digest: digest.try_into().expect("thirty-two bytes"),
            tallies: None,
        })
    };
    let rows = numbers.chunks_exact(4).zip(digests.chunks_exact(32));
    let mut all: Vec<Version> = rows.map(version).collect::<Result<_, _>>()?;
    if world.0.contains_key("unrecorded.counted") {
        let counted = world.take_u64("unrecorded.counted", &[None])?;
        let tallies = world.take_u8("unrecorded.tallies", &[Some(counted.len()), Some(32)])?;
        for (index, digest) in counted.into_iter().zip(tallies.chunks_exact(32)) {
            let version = all.get_mut(index as usize);
            let version = version.ok_or_else(|| {
                weights::Error::value("unrecorded.counted", format!("there is no row {index}"))
            })?;
            version.tallies = Some(digest.try_into().expect("thirty-two bytes"));
        }
    }
    Ok(all)
}
