//! The part of a learner that follows the stream of entries: its position, and the counts of entries.
//!
//! Invariant: a restore and a retraction leave it as it is, but for the version that they make.

use super::retrain::{self, Retraining};
use crate::event::{Alarm, Judgement, OrderRefusal, Reason, Time, Verdict, Version};
use crate::learn::drift::{load_alarms, save_alarms};
use crate::learn::records::feedback_ids::FeedbackIds;
use crate::learn::records::places::Places;
use crate::learn::versions::aliases::Aliases;
use crate::learn::versions::newest::Newest;
use crate::learn::versions::revised_tallies::RevisedTallies;
use crate::learn::versions::tainted::TaintedVersions;
use crate::model::weights::{self, Tensors};

/// Position, versions and orders.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stream {
    pub position: u64,
    pub time: Time,
    /// The newest version that the learned state descends from, and the newest ever made.
    pub version: u64,
    pub newest_version: u64,
    /// Feedback events that have come: each has one fate.
    pub n_events: u64,
    pub feedback_ids: FeedbackIds,
    pub places: Places,
    /// Versions made whose records have not come yet.
    pub unrecorded: Vec<Version>,
    /// Decisions of the gate whose records have not come yet.
    pub verdicts: Vec<Verdict>,
    /// Up to here, records of verdicts are of a history that was not derived: it is erased.
    pub unknown_until: u64,
    /// Alarms raised whose records have not come yet.
    pub alarms: Vec<Alarm>,
    /// Orders refused whose records have not come yet.
    pub refusals: Vec<OrderRefusal>,
    /// Orders to erase whose content is not known to be overwritten yet, by position.
    pub erasures: Vec<u64>,
    /// The retraining in force; none before a description asks for it, and before the first order.
    pub retraining: Option<Retraining>,
    pub newest: Newest,
    pub aliases: Aliases,
    /// Versions that hold feedback which was taken back since.
    pub tainted: TaintedVersions,
    /// Versions that a retraction found to be the same without it, with their counts since.
    pub revised_tallies: RevisedTallies,
}

impl Stream {
    pub(super) fn save(&self, tensors: &mut Tensors) {
        let numbers = vec![
            self.position,
            self.time.0 as u64,
            self.version,
            self.newest_version,
            self.n_events,
        ];
        tensors.put_u64("numbers", &[5], numbers);
        self.feedback_ids.save(tensors);
        self.places.save(tensors);
        save_unrecorded(&self.unrecorded, tensors);
        save_alarms(&self.alarms, "alarms", tensors);
        let refusals = self.refusals.iter().map(|refusal| refusal.position);
        put_positions(tensors, "refusals", refusals.collect());
        put_positions(tensors, "erasures", self.erasures.clone());
        save_verdicts(&self.verdicts, tensors);
        if self.unknown_until > 0 {
            put_positions(tensors, "unknown_until", vec![self.unknown_until]);
        }
        retrain::save(self.retraining, tensors);
        self.newest.save(tensors);
        self.aliases.save(tensors);
        self.tainted.save(tensors);
        self.revised_tallies.save(tensors);
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<Stream, weights::Error> {
        let numbers = tensors.take_u64("numbers", &[Some(5)])?;
        let (newest, tainted, revised_tallies) = load_versions(tensors)?;
        let refusals = take_positions(tensors, "refusals")?.into_iter();
        Ok(Stream {
            position: numbers[0],
            time: Time(numbers[1] as i64),
            version: numbers[2],
            newest_version: numbers[3],
            n_events: numbers[4],
            feedback_ids: FeedbackIds::load(tensors)?,
            places: Places::load(tensors)?,
            unrecorded: load_unrecorded(tensors)?,
            alarms: load_alarms("alarms", tensors)?,
            refusals: refusals.map(|position| OrderRefusal { position }).collect(),
            erasures: take_positions(tensors, "erasures")?,
            verdicts: load_verdicts(tensors)?,
            unknown_until: take_positions(tensors, "unknown_until")?
                .first()
                .copied()
                .unwrap_or(0),
            retraining: retrain::load(tensors)?,
            aliases: Aliases::load(tensors)?,
            newest,
            tainted,
            revised_tallies,
        })
    }

    /// The position in the saved state of a version.
    pub(super) fn saved_position(tensors: &mut Tensors) -> Result<u64, weights::Error> {
        Ok(tensors.take_u64("numbers", &[Some(5)])?[0])
    }
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

/// U64 `verdicts` `[n, 4]` and F64 `verdicts.evidence` `[n, 2]`; most states have none.
fn save_verdicts(verdicts: &[Verdict], tensors: &mut Tensors) {
    if verdicts.is_empty() {
        return;
    }
    let numbers = verdicts.iter().flat_map(|one| {
        let judgement = one.judgement as u64;
        [one.position, judgement, one.version, one.labels]
    });
    let evidence = verdicts
        .iter()
        .flat_map(|one| [one.evidence, one.difference]);
    tensors.put_u64("verdicts", &[verdicts.len(), 4], numbers.collect());
    tensors.put_f64(
        "verdicts.evidence",
        &[verdicts.len(), 2],
        evidence.collect(),
    );
}

fn load_verdicts(tensors: &mut Tensors) -> Result<Vec<Verdict>, weights::Error> {
    if !tensors.0.contains_key("verdicts") {
        return Ok(Vec::new());
    }
    let numbers = tensors.take_u64("verdicts", &[None, Some(4)])?;
    let n_verdicts = Some(numbers.len() / 4);
    let evidence = tensors.take_f64("verdicts.evidence", &[n_verdicts, Some(2)])?;
    let verdict = |(numbers, evidence): (&[u64], &[f64])| {
        let judgement = Judgement::ALL.get(numbers[1] as usize).copied();
        let wrong = || weights::Error::value("verdicts", format!("judgement {}", numbers[1]));
        Ok(Verdict {
            position: numbers[0],
            judgement: judgement.ok_or_else(wrong)?,
            version: numbers[2],
            labels: numbers[3],
            evidence: evidence[0],
            difference: evidence[1],
        })
    };
    let rows = numbers.chunks_exact(4).zip(evidence.chunks_exact(2));
    rows.map(verdict).collect()
}

/// The records of versions. Earlier programs saved the tree of all, and every one that is tainted.
fn load_versions(
    tensors: &mut Tensors,
) -> Result<(Newest, TaintedVersions, RevisedTallies), weights::Error> {
    if tensors.0.contains_key("newest") {
        let revised_tallies = RevisedTallies::load(tensors, |_| 0)?;
        return Ok((
            Newest::load(tensors)?,
            TaintedVersions::load(tensors)?,
            revised_tallies,
        ));
    }
    let tree = tensors.take_u64("lineage", &[None, Some(4)])?;
    let position = |version| {
        let mut rows = tree.chunks_exact(4);
        rows.find(|row| row[0] == version).map_or(0, |row| row[2])
    };
    let tainted = TaintedVersions::of_pairs(&tensors.take_u64("tainted", &[None, Some(2)])?);
    Ok((
        Newest::of_tree(&tree)?,
        tainted,
        RevisedTallies::load(tensors, position)?,
    ))
}

fn save_unrecorded(unrecorded: &[Version], tensors: &mut Tensors) {
    let (mut numbers, mut digests) = (Vec::new(), Vec::new());
    let (mut counted, mut tallies) = (Vec::new(), Vec::new());
    for (index, version) in unrecorded.iter().enumerate() {
        numbers.extend([version.version, version.parent, version.position]);
        numbers.push(version.reason as u64);
        digests.extend(version.digest.as_bytes());
        counted.extend(version.tallies.map(|_| index as u64));
        tallies.extend(version.tallies.iter().flat_map(blake3::Hash::as_bytes));
    }
    tensors.put_u64("unrecorded", &[unrecorded.len(), 4], numbers);
    tensors.put_u8("unrecorded.digests", &[unrecorded.len(), 32], digests);
    if !counted.is_empty() {
        tensors.put_u8("unrecorded.tallies", &[counted.len(), 32], tallies);
        tensors.put_u64("unrecorded.counted", &[counted.len()], counted);
    }
}

fn load_unrecorded(tensors: &mut Tensors) -> Result<Vec<Version>, weights::Error> {
    let numbers = tensors.take_u64("unrecorded", &[None, Some(4)])?;
    let n_versions = Some(numbers.len() / 4);
    let digests = tensors.take_u8("unrecorded.digests", &[n_versions, Some(32)])?;
    let version = |(numbers, digest): (&[u64], &[u8])| {
        let reason = Reason::ALL.into_iter().find(|r| *r as u64 == numbers[3]);
        Ok(Version {
            version: numbers[0],
            parent: numbers[1],
            position: numbers[2],
            reason: reason.ok_or_else(|| {
                weights::Error::value("unrecorded", format!("reason {}", numbers[3]))
            })?,
            digest: blake3::Hash::from_slice(digest).expect("thirty-two bytes"),
            tallies: None,
        })
    };
    let rows = numbers.chunks_exact(4).zip(digests.chunks_exact(32));
    let mut all: Vec<Version> = rows.map(version).collect::<Result<_, _>>()?;
    if tensors.0.contains_key("unrecorded.counted") {
        let counted = tensors.take_u64("unrecorded.counted", &[None])?;
        let tallies = tensors.take_u8("unrecorded.tallies", &[Some(counted.len()), Some(32)])?;
        for (index, digest) in counted.into_iter().zip(tallies.chunks_exact(32)) {
            let version = all.get_mut(index as usize);
            let version = version.ok_or_else(|| {
                weights::Error::value("unrecorded.counted", format!("there is no row {index}"))
            })?;
            version.tallies = Some(blake3::Hash::from_slice(digest).expect("thirty-two bytes"));
        }
    }
    Ok(all)
}
