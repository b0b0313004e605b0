//! Incidents: the findings and acts of the gate, until a person has closed them.
//!
//! Invariant: bounded; an open incident leaves only where all are open, the oldest first.

use super::evidence::Evidence;
use crate::learn::records::saved::{put_texts, take_texts};
use crate::model::weights::{Error, Tensors};

/// Incidents that are kept.
const INCIDENTS_MAX: usize = 64;
/// Sources that are suspected, at most.
pub(super) const SUSPECTS_MAX: usize = 3;
/// The sources beyond the bound, which count together.
pub(super) const OTHERS: &str = "(further sources)";
/// The longest note that is kept, in bytes.
const NOTE_BYTES_MAX: usize = 1024;

/// The cause of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentKind {
    /// The candidate proved worse than the champion, which came back in its place.
    Rewound,
    /// The candidate proved worse than the champion, which serves.
    Worse,
    /// A second rewind soon after another one: learning stopped.
    Frozen,
    /// A person's approval was of weights that a retraction or an adoption has changed since.
    Void,
    /// The error of served answers rose.
    Errors,
    /// The error of a slice rose.
    Slice,
    /// The candidate gives every row the same answer, and the champion does not.
    Constant,
    /// The candidate's weights are many times as large as the champion's.
    Exploding,
    /// No feedback came for as long as the description allows.
    Silent,
    /// Nothing was learned for as long as it allows.
    Stale,
}

impl IncidentKind {
    const ALL: [IncidentKind; 10] = [
        IncidentKind::Rewound,
        IncidentKind::Worse,
        IncidentKind::Frozen,
        IncidentKind::Void,
        IncidentKind::Errors,
        IncidentKind::Slice,
        IncidentKind::Constant,
        IncidentKind::Exploding,
        IncidentKind::Silent,
        IncidentKind::Stale,
    ];

    /// The word for it, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            IncidentKind::Rewound => "rewound",
            IncidentKind::Worse => "worse",
            IncidentKind::Frozen => "frozen",
            IncidentKind::Void => "void",
            IncidentKind::Errors => "errors",
            IncidentKind::Slice => "slice",
            IncidentKind::Constant => "constant",
            IncidentKind::Exploding => "exploding",
            IncidentKind::Silent => "silent",
            IncidentKind::Stale => "stale",
        }
    }
}

/// The state of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentState {
    /// No person has seen to it.
    Open,
    /// A person sees to it.
    Acknowledged,
    /// The incident is closed.
    Closed,
}

impl IncidentState {
    const ALL: [IncidentState; 3] = [
        IncidentState::Open,
        IncidentState::Acknowledged,
        IncidentState::Closed,
    ];

    /// The word for it, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            IncidentState::Open => "open",
            IncidentState::Acknowledged => "acknowledged",
            IncidentState::Closed => "closed",
        }
    }
}

/// A source whose labels contradicted the champion since its state was taken, or the served answers since
/// their errors rose.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    /// The source.
    pub source: String,
    /// The share of its labels in the loss.
    pub share: f64,
    /// Its labels that were scored.
    pub labels: u64,
    /// The mean loss on them.
    pub loss: f64,
}

/// One incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The position of the entry that raised it, by which it is known.
    pub position: u64,
    /// Its cause.
    pub kind: IncidentKind,
    /// The slice, as in `country=BR`; empty of other kinds.
    pub about: String,
    /// The version of the champion; 0 of a champion without one.
    pub version: u64,
    /// The position of the champion's state: examples learned from there on are suspected.
    pub since: u64,
    /// The evidence that the candidate is worse; of errors that they rose, with the difference between the
    /// newest and all.
    pub evidence: Evidence,
    /// The sources whose labels contradicted the champion most, or the served answers since their errors rose.
    pub suspects: Vec<Suspect>,
    /// The state of the incident.
    pub state: IncidentState,
    /// The last person who acknowledged or closed it; empty before.
    pub actor: String,
    /// The note of that person.
    pub note: String,
}

impl Incident {
    /// The remedy, one sentence with the command for a model of this name.
    pub fn remedy(&self, model: &str) -> String {
        let retracts = self.suspects.iter().find_map(|one| quoted(&one.source));
        let retracts = retracts.map(|source| {
            format!(
                "`perennial retract {model} --source {source} --dry-run` shows what the model is without the \
                 source that is suspected first"
            )
        });
        let version = self.version;
        let restores = match version {
            // Version 1 has learned nothing.
            0 | 1 => {
                format!("`perennial freeze {model}` stops its learning until the cause is known")
            }
            _ => format!("`perennial restore {model} {version}` puts the champion in its place"),
        };
        let looks = format!(
            "`perennial status {model}` shows which streams have changed, and `perennial versions {model}` what \
             can be restored"
        );
        match self.kind {
            IncidentKind::Frozen => {
                let resumes = format!("`perennial resume {model}` lets it learn again");
                match retracts {
                    Some(retracts) => format!("{retracts}, and {resumes}"),
                    None => resumes,
                }
            }
            IncidentKind::Rewound => retracts.unwrap_or_else(|| {
                let number = self.position;
                format!(
                    "the champion is back, so that `perennial incidents {model} --close {number}` is left"
                )
            }),
            IncidentKind::Worse => retracts.unwrap_or(restores),
            IncidentKind::Errors | IncidentKind::Slice => retracts.unwrap_or(looks),
            IncidentKind::Void => {
                format!("`perennial promote {model}` approves the contender as it is now")
            }
            IncidentKind::Constant | IncidentKind::Exploding => restores,
            IncidentKind::Silent => {
                format!("`perennial status {model}` shows what came last and from which sources")
            }
            IncidentKind::Stale => format!(
                "`perennial status {model}` shows whether the model is frozen, or what becomes of its feedback"
            ),
        }
    }
}

/// A source as a shell takes it; none of one without a name, or with characters that no line should hold.
fn quoted(source: &str) -> Option<String> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:@/".contains(c);
    if source.is_empty() || source == OTHERS || source.contains(char::is_control) {
        None
    } else if source.chars().all(is_plain) && !source.starts_with('-') {
        Some(source.to_owned())
    } else {
        Some(format!("'{}'", source.replace('\'', "'\\''")))
    }
}

/// The incidents of a model, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Incidents(Vec<Incident>);

impl Incidents {
    /// All, the oldest first.
    pub(crate) fn all(&self) -> &[Incident] {
        &self.0
    }

    /// True if one of this kind, about this slice, is not closed.
    pub(super) fn has_open(&self, kind: IncidentKind, about: &str) -> bool {
        let mut of_it = self
            .0
            .iter()
            .filter(|one| one.kind == kind && one.about == about);
        of_it.any(|one| one.state != IncidentState::Closed)
    }

    /// Names the champion whose state is of a position by this version. Those of a derived history that have
    /// gone by now are no version, but for one that is `kept`.
    pub(super) fn number(&mut self, position: u64, version: u64, kept: Option<u64>) {
        let others = self.0.iter_mut().filter(|one| Some(one.version) != kept);
        others.for_each(|one| {
            one.version = if one.since == position { version } else { 0 };
        });
    }

    /// Takes over the numbers of the incidents of another history that are the same here, and the actions of people
    /// about them: those of the same kind that came within the labels which decided. An approval is void
    /// where it stands.
    pub(crate) fn carry(&mut self, before: &[Incident]) {
        let mut known: Vec<&Incident> = before.iter().collect();
        let taken: Vec<u64> = self.0.iter().map(|one| one.position).collect();
        for one in &mut self.0 {
            let distance = |other: &Incident| other.position.abs_diff(one.position);
            let within = |other: &Incident| match one.kind {
                IncidentKind::Void => 0,
                _ => 2 * other.evidence.labels,
            };
            let same = |(_, other): &(usize, &&Incident)| {
                let is_free = other.position == one.position || !taken.contains(&other.position);
                let is_alike = other.kind == one.kind && other.about == one.about;
                is_alike && is_free && distance(other) <= within(other)
            };
            let nearest = known.iter().enumerate().filter(same);
            let nearest = nearest.min_by_key(|(_, other)| distance(other));
            let Some(place) = nearest.map(|(place, _)| place) else {
                continue;
            };
            let before = known.remove(place);
            one.position = before.position;
            one.state = before.state;
            one.actor.clone_from(&before.actor);
            one.note.clone_from(&before.note);
        }
        self.0.sort_by_key(|one| one.position);
    }

    pub(super) fn raise(&mut self, incident: Incident) {
        if self.0.len() == INCIDENTS_MAX {
            let closed = |one: &Incident| one.state == IncidentState::Closed;
            let place = self.0.iter().position(closed).unwrap_or(0);
            self.0.remove(place);
        }
        self.0.push(incident);
    }

    /// Moves the incidents of an entry on that are not closed; the sentence is the reason where there are none.
    pub(crate) fn move_on(
        &mut self,
        position: u64,
        state: IncidentState,
        (actor, note): (&str, &str),
    ) -> Option<String> {
        let of_entry = self.0.iter_mut().filter(|one| one.position == position);
        let of_entry: Vec<&mut Incident> = of_entry.collect();
        if of_entry.is_empty() {
            return Some(format!("there is no incident {position}"));
        }
        if of_entry
            .iter()
            .all(|one| one.state == IncidentState::Closed)
        {
            return Some(format!("incident {position} is closed"));
        }
        let open = of_entry.into_iter();
        for incident in open.filter(|one| one.state != IncidentState::Closed) {
            incident.state = state;
            incident.actor = clipped(actor);
            incident.note = clipped(note);
        }
        None
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        for (place, one) in self.0.iter().enumerate() {
            let mut saved = Tensors::default();
            let mut numbers = vec![
                one.position,
                one.kind as u64,
                one.version,
                one.since,
                one.evidence.labels,
                one.state as u64,
            ];
            numbers.extend(one.suspects.iter().map(|one| one.labels));
            saved.put_u64("numbers", &[numbers.len()], numbers);
            let Evidence {
                wealth,
                needed,
                difference,
                ..
            } = one.evidence;
            let mut values = vec![wealth, needed, difference];
            values.extend(one.suspects.iter().flat_map(|one| [one.share, one.loss]));
            saved.put_f64("values", &[values.len()], values);
            let sources = one.suspects.iter().map(|one| one.source.as_str());
            put_texts(
                &mut saved,
                [&one.actor[..], &one.note].into_iter().chain(sources),
            );
            if !one.about.is_empty() {
                let about = one.about.clone().into_bytes();
                saved.put_u8("about", &[about.len()], about);
            }
            tensors.nest(&format!("incidents.{place:04}"), saved);
        }
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<Incidents, Error> {
        let mut all = tensors.unnest("incidents");
        let mut incidents = Incidents::default();
        for place in 0..INCIDENTS_MAX {
            let mut saved = all.unnest(&format!("{place:04}"));
            if saved.0.is_empty() {
                break;
            }
            incidents.0.push(load(&mut saved)?);
        }
        Ok(incidents)
    }
}

fn load(saved: &mut Tensors) -> Result<Incident, Error> {
    let numbers = saved.take_u64("numbers", &[None])?;
    let values = saved.take_f64("values", &[None])?;
    let mut texts = take_texts(saved)?.into_iter();
    let wrong = || Error::value("incidents", "no incident");
    let about = if saved.0.contains_key("about") {
        saved.take_u8("about", &[None])?
    } else {
        Vec::new()
    };
    let [wealth, needed, difference, losses @ ..] = &values[..] else {
        return Err(wrong());
    };
    let Some((numbers, labels)) = numbers.split_at_checked(6) else {
        return Err(wrong());
    };
    let kind = IncidentKind::ALL.get(numbers[1] as usize);
    let state = IncidentState::ALL.get(numbers[5] as usize);
    let (actor, note) = texts.next().zip(texts.next()).ok_or_else(wrong)?;
    if 2 * texts.len() != losses.len()
        || texts.len() != labels.len()
        || values.iter().any(|value| !value.is_finite())
    {
        return Err(wrong());
    }
    let losses = losses.chunks_exact(2).zip(labels);
    let suspects = texts.zip(losses).map(|(source, (losses, labels))| Suspect {
        source,
        share: losses[0],
        labels: *labels,
        loss: losses[1],
    });
    Ok(Incident {
        position: numbers[0],
        kind: *kind.ok_or_else(wrong)?,
        about: String::from_utf8(about).map_err(|_| wrong())?,
        version: numbers[2],
        since: numbers[3],
        evidence: Evidence {
            labels: numbers[4],
            wealth: *wealth,
            needed: *needed,
            difference: *difference,
        },
        suspects: suspects.collect(),
        state: *state.ok_or_else(wrong)?,
        actor,
        note,
    })
}

/// The beginning of a text that may be long.
pub(super) fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(NOTE_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect((source, share): (&str, f64)) -> Suspect {
        Suspect {
            source: source.to_owned(),
            share,
            labels: 30,
            loss: 0.5,
        }
    }

    fn incident(position: u64) -> Incident {
        Incident {
            position,
            kind: IncidentKind::Rewound,
            about: String::new(),
            version: 3,
            since: 2,
            evidence: Evidence {
                labels: 40,
                wealth: 101.0,
                needed: 100.0,
                difference: 0.25,
            },
            suspects: [("web", 0.75), ("", 0.25)].map(suspect).into(),
            state: IncidentState::Open,
            actor: String::new(),
            note: String::new(),
        }
    }

    #[test]
    fn incidents_are_moved_on_by_people_and_saved() {
        let mut incidents = Incidents::default();
        incidents.raise(incident(7));
        incidents.raise(Incident {
            kind: IncidentKind::Slice,
            about: "country=BR".to_owned(),
            ..incident(8)
        });
        assert!(incidents.has_open(IncidentKind::Slice, "country=BR"));
        assert!(!incidents.has_open(IncidentKind::Slice, "country=AR"));
        let by = ("ann", "a bad batch of labels");
        let mut to = |state| incidents.move_on(7, state, by);
        assert_eq!(to(IncidentState::Acknowledged), None);
        assert_eq!(to(IncidentState::Closed), None);
        let refused = to(IncidentState::Acknowledged);
        assert_eq!(refused.as_deref(), Some("incident 7 is closed"));
        let unknown = incidents.move_on(9, IncidentState::Closed, by);
        assert_eq!(unknown.as_deref(), Some("there is no incident 9"));
        let mut tensors = Tensors::default();
        incidents.save(&mut tensors);
        assert_eq!(Incidents::load(&mut tensors), Ok(incidents));
    }

    #[test]
    fn two_incidents_of_one_entry_are_moved_on_together() {
        let mut incidents = Incidents::default();
        incidents.raise(incident(7));
        incidents.raise(Incident {
            kind: IncidentKind::Errors,
            ..incident(7)
        });
        let closed = incidents.move_on(7, IncidentState::Closed, ("ann", ""));
        assert_eq!(closed, None);
        let is_closed = |one: &Incident| one.state == IncidentState::Closed;
        assert!(incidents.all().iter().all(is_closed));
    }

    #[test]
    fn every_kind_says_in_one_sentence_what_a_person_can_do() {
        let check = |kind, suspects: &[&str], expected: &str| {
            let suspects = suspects.iter().map(|source| suspect((source, 0.5)));
            let one = Incident {
                kind,
                suspects: suspects.collect(),
                ..incident(7)
            };
            assert_eq!(one.remedy("fraud"), expected, "{kind:?}");
        };
        use IncidentKind::{Constant, Errors, Exploding, Frozen, Rewound, Slice, Void, Worse};
        let retracts = "`perennial retract fraud --source web --dry-run` shows what the model is without the \
                        source that is suspected first";
        for kind in [Rewound, Worse, Errors, Slice] {
            check(kind, &["", "web"], retracts);
        }
        check(
            Frozen,
            &["web"],
            &format!("{retracts}, and `perennial resume fraud` lets it learn again"),
        );
        check(Frozen, &[], "`perennial resume fraud` lets it learn again");
        let restores = "`perennial restore fraud 3` puts the champion in its place";
        for kind in [Worse, Constant, Exploding] {
            check(kind, &["\u{1b}[2J", OTHERS], restores);
        }
        let looks = "`perennial status fraud` shows which streams have changed, and `perennial versions fraud` \
                     what can be restored";
        for kind in [Errors, Slice] {
            check(kind, &["", OTHERS], looks);
        }
        let untrained = Incident {
            kind: Worse,
            version: 1,
            suspects: Vec::new(),
            ..incident(7)
        };
        let freezes = "`perennial freeze fraud` stops its learning until the cause is known";
        assert_eq!(untrained.remedy("fraud"), freezes);
        check(
            Void,
            &[],
            "`perennial promote fraud` approves the contender as it is now",
        );
        check(
            Rewound,
            &[],
            "the champion is back, so that `perennial incidents fraud --close 7` is left",
        );
        let quoted = "--source 'team '\\''7'\\''' --dry-run";
        let one = Incident {
            suspects: vec![suspect(("team '7'", 0.5))],
            ..incident(7)
        };
        assert!(
            one.remedy("fraud").contains(quoted),
            "{}",
            one.remedy("fraud")
        );
    }

    #[test]
    fn incidents_that_another_history_has_as_well_stay_what_people_made_of_them() {
        let mut before = Incidents::default();
        for position in [7, 300, 900] {
            before.raise(incident(position));
        }
        let by = ("ann", "seen to");
        assert_eq!(before.move_on(300, IncidentState::Closed, by), None);
        let mut derived = Incidents::default();
        // Forty labels decided: 307 is the one of 300, and 600 none of these.
        for position in [307, 600, 900] {
            derived.raise(incident(position));
        }
        derived.carry(before.all());
        let known = |one: &Incident| (one.position, one.state);
        let known: Vec<_> = derived.all().iter().map(known).collect();
        use IncidentState::{Closed, Open};
        assert_eq!(known, [(300, Closed), (600, Open), (900, Open)]);
        assert_eq!(derived.all()[0].note, "seen to");
    }

    #[test]
    fn p8_closed_incidents_make_room_first() {
        let mut incidents = Incidents::default();
        (1..=64).for_each(|position| incidents.raise(incident(position)));
        let closed = incidents.move_on(5, IncidentState::Closed, ("", ""));
        assert_eq!(closed, None);
        incidents.raise(incident(65));
        incidents.raise(incident(66));
        let positions: Vec<u64> = incidents.all().iter().map(|one| one.position).collect();
        assert_eq!(positions.len(), 64);
        assert_eq!((positions[0], positions[3], positions[4]), (2, 6, 7));
    }
}
