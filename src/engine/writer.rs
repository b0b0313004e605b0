//! The one thread that writes journals: it drains the queue into groups and syncs each once.
//!
//! Invariant: a reply to feedback or a command is sent after the fsync that covers it. After a
//! failed write or fsync nothing of that model is acknowledged any more.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam::channel::{RecvTimeoutError, Sender};
use tokio::sync::oneshot;

use super::clock::Clock;
use super::error::Error;
use super::feedback::Accepted;
use super::hosted::Running;
use super::new_labels::NewLabels;
use super::outbox::{Inbox, prediction_bytes};
use super::stages::Stage;
use crate::event::{Command, Duplicate, Event, Feedback, Prediction, Time};
use crate::learn::Seen;
use crate::store::{self, Journal};

/// Messages of a group at most.
const GROUP_MAX: usize = 4096;
/// Predictions alone are synced this often; they need not be, but the learner waits for it. So often
/// it is tried again, too, to make a segment that could not be made.
const SYNC_EVERY: Duration = Duration::from_millis(50);
/// Bytes of predictions that are held while no segment can be made.
const HELD_BYTES_MAX: usize = 16 << 20;

/// What is to be written.
pub enum Work {
    Prediction(Prediction),
    Feedback(Feedback, oneshot::Sender<Result<Accepted, Error>>),
    Command(Command, oneshot::Sender<Result<u64, Error>>),
    /// A record of what the learner derived.
    Record(Event),
    /// Let segments go that hold nothing from this position on.
    Trim(u64),
    /// More is due than closed within the newest tick: look whether the next one is.
    Due,
    /// Sync every journal, then say so.
    Flush(Sender<()>),
    /// Close every journal, then end.
    Close,
}

/// A journal and what is known of it.
pub struct Written {
    journal: Journal,
    seen: Seen,
    /// Labels that are to take a place among the classes.
    new_labels: NewLabels,
    running: Arc<Running>,
    replies: Vec<Reply>,
    unsynced: bool,
    /// Where the newest tick stands: the next one waits until it has been applied.
    ticked: u64,
    /// Whether it came so late that others wait for it to be applied.
    overdue: bool,
    /// What nobody waits for, kept until the next segment can be made.
    held: Held,
}

/// Predictions whose ids have been given, and records, in their order.
#[derive(Default)]
struct Held {
    events: Vec<Event>,
    bytes: usize,
}

/// What will be said after the sync.
enum Reply {
    Feedback(oneshot::Sender<Result<Accepted, Error>>, Accepted),
    Command(oneshot::Sender<Result<u64, Error>>, u64),
}

/// Writes until told to close, or until nobody can send any more.
pub fn run(inbox: &Inbox, mut journals: Vec<Written>, clock: &Clock) {
    let messages = &inbox.messages;
    let mut last_sync = Instant::now();
    loop {
        let first = match messages.recv_timeout(SYNC_EVERY) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut flushed = Vec::new();
        let (mut closing, mut n_bytes) = (false, 0);
        let now = clock.now();
        if last_sync.elapsed() >= SYNC_EVERY {
            journals.iter_mut().for_each(|journal| journal.go_on(now));
        }
        for message in first.into_iter().chain(messages.try_iter()).take(GROUP_MAX) {
            n_bytes += message.bytes;
            match message.work {
                Work::Flush(done) => flushed.push(done),
                Work::Close => closing = true,
                work => journals[message.model].take(work, now),
            }
        }
        for journal in &mut journals {
            journal.tick(now);
        }
        let all = !flushed.is_empty() || closing || last_sync.elapsed() >= SYNC_EVERY;
        for journal in &mut journals {
            journal.settle(all);
        }
        // Only now, so that what is in a group is counted here or as a part of the journal.
        inbox.taken(n_bytes);
        if all {
            last_sync = Instant::now();
        }
        for done in flushed {
            let _ = done.send(());
        }
        if closing {
            break;
        }
    }
    for written in journals {
        let name = written.running.name.clone();
        let n_held = written.held.events.len();
        if n_held > 0 {
            tracing::warn!(model = name, n_held, "lost what waited for a segment");
        }
        if let Err(error) = written.journal.close() {
            tracing::error!(model = name, %error, "journal was not closed");
        }
    }
}

impl Written {
    pub fn new(journal: Journal, seen: Seen, running: Arc<Running>) -> Written {
        Written {
            journal,
            seen,
            new_labels: NewLabels::default(),
            running,
            replies: Vec::new(),
            unsynced: false,
            ticked: 0,
            held: Held::default(),
            overdue: false,
        }
    }

    fn take(&mut self, work: Work, now: Time) {
        match work {
            Work::Prediction(prediction) => self.append_or_hold(now, Event::Prediction(prediction)),
            Work::Feedback(feedback, reply) => match self.accept(feedback, now) {
                Ok(accepted) => self.replies.push(Reply::Feedback(reply, accepted)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Work::Command(command, reply) => match self.append(now, &Event::Command(command)) {
                Ok(position) => {
                    self.running.stages.pass(Stage::Appended(position));
                    self.replies.push(Reply::Command(reply, position));
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Work::Record(record) => self.append_or_hold(now, record),
            Work::Trim(first_position) => self.trim(first_position),
            Work::Due | Work::Flush(_) | Work::Close => {}
        }
    }

    /// Journals that something is due, once for each time that the learner has said so.
    fn tick(&mut self, now: Time) {
        let running = &self.running;
        let next_tick = running.next_tick.load(Relaxed);
        let due = next_tick <= now.0;
        let applied = *running.registry.position().borrow() >= self.ticked;
        let writes = running.closed.get().is_none() && !running.stalled.load(Relaxed);
        if due && applied && writes {
            self.overdue = now.0.saturating_sub(next_tick) > SYNC_EVERY.as_micros() as i64;
            self.ticked = self.append(now, &Event::Tick(now)).unwrap_or(u64::MAX);
        }
    }

    fn trim(&mut self, first_position: u64) {
        let model = &self.running.name;
        match self.journal.trim(first_position) {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(model, first_position, bytes, "shortened the journal"),
            Err(error) => tracing::warn!(model, %error, "the journal was not shortened"),
        }
        self.running.note_journal(&self.journal);
    }

    /// Journals feedback, or that it came again.
    fn accept(&mut self, feedback: Feedback, now: Time) -> Result<Accepted, Error> {
        self.seen.forget(now);
        if let Some(position) = self.seen.position(&feedback.feedback_id) {
            let retracted = self.running.retracted.holds(position);
            let duplicate = Duplicate {
                feedback_id: match retracted {
                    // The first one may have been erased: then its id stands nowhere any more.
                    true => String::new(),
                    false => feedback.feedback_id,
                },
                first_position: position,
            };
            self.append(now, &Event::Duplicate(duplicate))?;
            return Ok(match retracted {
                true => Accepted::Retracted { position },
                false => Accepted::Duplicate { position },
            });
        }
        self.check_room()?;
        let served = self.running.registry.served();
        self.new_labels.check(&feedback, &served)?;
        let feedback = Event::Feedback(feedback);
        let position = self.append(now, &feedback)?;
        if let Event::Feedback(feedback) = &feedback {
            self.seen.insert(&feedback.feedback_id, position, now);
            self.new_labels.note(feedback, &served, position);
        }
        Ok(Accepted::Accepted { position })
    }

    /// What is refused here was not seen at the door, since it came with others.
    fn check_room(&self) -> Result<(), Error> {
        let served = self.running.registry.served();
        let limits = &served.model.spec.journal;
        let (ids_max, bytes_max) = (limits.ids_max, limits.bytes_max);
        let bytes = self.journal.bytes();
        let what = if self.seen.len() >= ids_max {
            format!("{ids_max} feedback ids of the last day are remembered")
        } else if bytes >= bytes_max {
            format!("the journal holds {bytes} of {bytes_max} bytes")
        } else {
            return Ok(());
        };
        Err(Error::Full {
            model: self.running.name.clone(),
            what,
        })
    }

    fn append(&mut self, now: Time, event: &Event) -> Result<u64, Error> {
        if self.running.stalled.load(Relaxed) {
            return Err(self.running.stall());
        }
        let appended = self.journal.append(now, event);
        self.unsynced |= appended.is_ok();
        appended.map_err(|error| match error {
            store::Error::NoSegment { .. } => self.stall(&error),
            error => {
                let reason = self.fail(&error);
                self.running.unavailable(&reason)
            }
        })
    }

    /// Journals what nobody waits for, or holds it while no segment can be made.
    fn append_or_hold(&mut self, now: Time, event: Event) {
        if self.append(now, &event).is_ok() || !self.running.stalled.load(Relaxed) {
            return;
        }
        let bytes = match &event {
            Event::Prediction(prediction) => prediction_bytes(prediction),
            _ => 0,
        };
        match self.held.bytes + bytes <= HELD_BYTES_MAX {
            true => {
                self.held.bytes += bytes;
                self.held.events.push(event);
            }
            false => drop(self.running.unjournaled.fetch_add(1, Relaxed)),
        }
    }

    /// Tries again what the system was short of.
    fn go_on(&mut self, now: Time) {
        if self.running.starved.load(Relaxed) {
            self.running.schedule();
        }
        if !self.running.stalled.load(Relaxed) {
            return;
        }
        match self.journal.go_on() {
            Err(error @ store::Error::NoSegment { .. }) => drop(self.stall(&error)),
            Err(error) => {
                self.running.stalled.store(false, Relaxed);
                self.fail(&error);
            }
            Ok(()) => {
                self.running.stalled.store(false, Relaxed);
                let n_held = self.held.events.len();
                tracing::info!(model = self.running.name, n_held, "the journal goes on");
                for event in std::mem::take(&mut self.held).events {
                    self.append_or_hold(now, event);
                }
            }
        }
    }

    /// Notes that the next segment cannot be made now; gives what feedback and commands are told.
    fn stall(&self, error: &store::Error) -> Error {
        *self.running.stall.lock().expect("nothing panics under it") = error.to_string();
        if !self.running.stalled.swap(true, Relaxed) {
            let model = &self.running.name;
            tracing::warn!(model, %error, "the journal waits; feedback is refused meanwhile");
        }
        self.running.stall()
    }

    /// Writes the group; syncs it when somebody waits for that, or when it is time.
    fn settle(&mut self, time_to_sync: bool) {
        if !self.unsynced {
            return;
        }
        let awaited = self.overdue && self.ticked > self.journal.synced();
        if self.replies.is_empty() && !awaited && !time_to_sync {
            match self.journal.write() {
                Ok(_) => self.running.note_bytes(&self.journal),
                Err(error) => drop(self.fail(&error)),
            }
            return;
        }
        let (before, start) = (self.journal.synced(), Instant::now());
        let synced = self.journal.sync();
        self.unsynced = false;
        if let Ok(position) = synced {
            self.running.sync_us.add(start.elapsed().as_micros() as u64);
            self.running.group_entries.add(position - before);
            self.running.note_journal(&self.journal);
        }
        let failure = synced.err().map(|error| self.fail(&error));
        for reply in self.replies.drain(..) {
            let refused = failure
                .as_ref()
                .map(|reason| self.running.unavailable(reason));
            // Who asked may have gone; what is on disk stays there.
            match (reply, refused) {
                (Reply::Feedback(reply, accepted), None) => drop(reply.send(Ok(accepted))),
                (Reply::Feedback(reply, _), Some(error)) => drop(reply.send(Err(error))),
                (Reply::Command(reply, position), None) => drop(reply.send(Ok(position))),
                (Reply::Command(reply, _), Some(error)) => drop(reply.send(Err(error))),
            }
        }
        self.running.schedule();
    }

    /// What a failure of the journal means, and why nothing more is taken: feedback stops, unless
    /// only this event was at fault.
    fn fail(&self, error: &store::Error) -> String {
        if matches!(
            error,
            store::Error::Entry { .. } | store::Error::TooLarge { .. }
        ) {
            return error.to_string();
        }
        self.running.journal_failed.store(true, Relaxed);
        let reason = format!("its journal failed, restart the server once it is mended: {error}");
        if self.running.closed.set(reason.clone()).is_ok() {
            tracing::error!(model = self.running.name, %error, "journal failed; feedback stops");
            self.running.feedback_stopped.send_replace(true);
            // Nobody needs to wait for a position that is not there.
            self.running.registry.wake();
        }
        reason
    }
}
