//! Records: decisions derived from the causes before them, which replay compares.
//!
//! Invariant: plain values; nothing here changes a state.

/// The reason of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Version 1, before anything was learned.
    Initial,
    /// The order of an operator.
    Checkpoint,
    /// The cadence of the description.
    Cadence,
    /// A restored version.
    Restore,
    /// A retraction.
    Retract,
    /// The adoption of another description.
    Adopt,
    /// A copy of the candidate that is tested against the champion.
    Contender,
    /// The champion, in place of a candidate that proved worse.
    Rewind,
    /// The state of a learner that began anew.
    Retrain,
    /// The champion of another history that an order brought, or the candidate that had served until the
    /// policy changed.
    Champion,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 10] = [
        Reason::Initial,
        Reason::Checkpoint,
        Reason::Cadence,
        Reason::Restore,
        Reason::Retract,
        Reason::Adopt,
        Reason::Contender,
        Reason::Rewind,
        Reason::Retrain,
        Reason::Champion,
    ];

    /// The word for the reason, in manifests, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Initial => "initial",
            Reason::Checkpoint => "checkpoint",
            Reason::Cadence => "cadence",
            Reason::Restore => "restore",
            Reason::Retract => "retract",
            Reason::Adopt => "adopt",
            Reason::Contender => "contender",
            Reason::Rewind => "rewind",
            Reason::Retrain => "retrain",
            Reason::Champion => "champion",
        }
    }
}

/// A version that was made: a record, which replay derives again and compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Its number, from 1; never reused.
    pub version: u64,
    /// Its parent; 0 for the first version.
    pub parent: u64,
    /// The position of the state.
    pub position: u64,
    /// The reason.
    pub reason: Reason,
    /// The digest of the learned state.
    pub digest: blake3::Hash,
    /// The digest of the tallies, by which other histories are compared; none where an older
    /// program made the version.
    pub tallies: Option<blake3::Hash>,
}

/// A decision of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The contender is the champion now.
    Promoted,
    /// The contender is given up.
    Rejected,
    /// The candidate is worse than the champion, which serves in its place again.
    Rewound,
    /// The candidate is worse than the champion, which serves.
    Declined,
    /// The model learns no more until a person resumes it.
    Frozen,
}

impl Judgement {
    /// Every decision.
    pub const ALL: [Judgement; 5] = [
        Judgement::Promoted,
        Judgement::Rejected,
        Judgement::Rewound,
        Judgement::Declined,
        Judgement::Frozen,
    ];

    /// The word for it, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Judgement::Promoted => "promoted",
            Judgement::Rejected => "rejected",
            Judgement::Rewound => "rewound",
            Judgement::Declined => "declined",
            Judgement::Frozen => "frozen",
        }
    }
}

/// A decision of the gate with its evidence: a record, which replay derives again and compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The position of the entry that decided it.
    pub position: u64,
    /// The decision.
    pub judgement: Judgement,
    /// The version that it is about: the contender, or the champion that came back.
    pub version: u64,
    /// Labels that were scored.
    pub labels: u64,
    /// The wealth of a bettor against the hypothesis; 0 of an order of a person.
    pub evidence: f64,
    /// The mean loss of the side that was tested, less that of the champion.
    pub difference: f64,
}

/// An order that was not carried out: a record, which replay derives again and compares. Other
/// histories obey it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderRefusal {
    /// The position of the order.
    pub position: u64,
}

/// The content that an order asked to be erased is overwritten: a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The position of the order.
    pub position: u64,
    /// The number of overwritten entries.
    pub entries: u64,
}
