//! A learner as tensors, and back.
//!
//! Invariant: what is loaded goes on, bit for bit, as what was saved would have gone on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::evaluate::Evaluation;
use super::super::join::Joins;
use super::super::learned::Learned;
use super::super::ledger::Ledger;
use super::super::lineage::Lineage;
use super::super::places::Places;
use super::super::seen::Seen;
use super::super::sources::Sources;
use super::windows::PER_ENTRY_MAX;
use super::{History, Learner, Tallies, World};
use crate::event::{Description, Reason, Refusal, Time, Version};
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
        world.seen.save(&mut tensors);
        world.ledger.save(&mut tensors);
        world.sources.save(&mut tensors);
        world.evaluation.save(&mut tensors);
        world.places.save(&mut tensors);
        let (mut numbers, mut digests) = (Vec::new(), Vec::new());
        for version in &world.unrecorded {
            numbers.extend([version.version, version.parent, version.position]);
            numbers.push(version.reason as u64);
            digests.extend(version.digest);
        }
        let n_unrecorded = world.unrecorded.len();
        tensors.put_u64("unrecorded", &[n_unrecorded, 4], numbers);
        tensors.put_u8("unrecorded.digests", &[n_unrecorded, 32], digests);
        let refusals = world.refusals.iter().map(|refusal| refusal.position);
        put_positions(&mut tensors, "refusals", refusals.collect());
        put_positions(&mut tensors, "erasures", world.erasures.clone());
        world.lineage.save(&mut tensors);
        let tainted = world.tainted.iter().flat_map(|(one, next)| [*one, *next]);
        tensors.put_u64("tainted", &[world.tainted.len(), 2], tainted.collect());
        for (version, tallies) in &world.retold {
            let mut told = Tensors::default();
            tallies.ledger.save(&mut told);
            tallies.sources.save(&mut told);
            tensors.nest(&format!("retold.{version}"), told);
        }
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
        let lineage = Lineage::load(&mut world)?;
        let retold = load_retold(&mut world, &lineage)?;
        let learned = Learned::load(&spec, &mut weights, &mut state.unnest("learned"))?;
        let mut joins = Joins::load(&mut world)?;
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
                seen: Seen::load(&mut world)?,
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
                lineage,
                tainted: load_tainted(&mut world)?,
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

impl Tallies {
    /// Those of a state at `position`.
    pub(super) fn load(world: &mut Tensors, position: u64) -> Result<Tallies, weights::Error> {
        Ok(Tallies {
            ledger: Ledger::load(world)?,
            sources: Sources::load(world, position)?,
        })
    }
}

/// Most states have none, and those of earlier programs do not name them.
fn put_positions(tensors: &mut Tensors, name: &str, positions: Vec<u64>) {
    if !positions.is_empty() {
        tensors.put_u64(name, &[positions.len()], positions);
    }
}

fn take_positions(tensors: &mut Tensors, name: &str) -> Result<Vec<u64>, weights::Error> {
    match tensors.0.contains_key(name) {
        true => tensors.take_u64(name, &[None]),
        false => Ok(Vec::new()),
    }
}

fn load_retold(
    world: &mut Tensors,
    lineage: &Lineage,
) -> Result<BTreeMap<u64, Tallies>, weights::Error> {
    let mut all = world.unnest("retold");
    let mut retold = BTreeMap::new();
    for version in lineage.since(0) {
        let mut told = all.unnest(&version.to_string());
        if !told.0.is_empty() {
            let position = lineage.position(version).unwrap_or(0);
            retold.insert(version, Tallies::load(&mut told, position)?);
        }
    }
    Ok(retold)
}

fn load_tainted(world: &mut Tensors) -> Result<BTreeMap<u64, u64>, weights::Error> {
    let pairs = world.take_u64("tainted", &[None, Some(2)])?;
    Ok(pairs
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect())
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
        })
    };
    let rows = numbers.chunks_exact(4).zip(digests.chunks_exact(32));
    rows.map(version).collect()
}
