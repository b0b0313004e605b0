//! The one thread that writes journals: it drains the queue into groups and syncs each once.
//!
//! Invariant: a reply to feedback or a command is sent after the fsync that covers it. After a
//! failed write or fsync nothing of that model is acknowledged any more.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::compute::stages::Stage;
use crate::engine::error::Error;
use crate::engine::host::bounds::{BoundKind, GROUP_MAX, ids_bounds, unwritten_ids};
use crate::engine::host::health::EntryReadiness;
use crate::engine::host::new_labels::NewLabels;
use crate::engine::host::room::EntryClass;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::waiting::WaitingPlaces;
use crate::engine::host::work::{Acknowledgement, Work, message_bytes, prediction_bytes};
use crate::engine::host::write_queue::WriteReceiver;
use crate::event::{Duplicate, Event, Feedback, Time};
use crate::model::JournalLimits;
use crate::store::{self, Ids, Journal, ids};

/// Predictions alone are synced this often; they need not be, but the learner waits for it. So often
/// it is tried again, too, to make a segment that could not be made.
const SYNC_EVERY: Duration = Duration::from_millis(50);
/// Predictions alone are written this often: waking the writer for each costs more than writing it.
const WRITE_EVERY: Duration = Duration::from_millis(1);
/// Bytes of predictions that are held while no segment can be made.
const HELD_BYTES_MAX: usize = 16 << 20;

/// The time between two looks at the bounds.
const BOUNDS_EVERY: Duration = Duration::from_secs(1);

/// One journal with the state that its writing needs.
pub(crate) struct JournalWriter {
    journal: Journal,
    /// Labels that are to take a place among the classes.
    new_labels: NewLabels,
    waiting: WaitingPlaces,
    ids: Ids,
    /// The last segment as the ids were last written.
    ids_written_in: u64,
    runtime: Arc<ModelRuntime>,
    /// Journal time as the group in the making began.
    now: Time,
    bounds_looked: Instant,
    replies: Vec<Reply>,
    unsynced: bool,
    /// The position of the newest tick: the next one waits until it has been applied.
    ticked: u64,
    /// True if the entry came so late that others wait for it to be applied.
    overdue: bool,
    /// Entries that no caller waits for, kept until the next segment can be made.
    held: HeldEntries,
}

/// Predictions whose ids have been given out, and records, in their order.
#[derive(Default)]
struct HeldEntries {
    events: Vec<Event>,
    bytes: usize,
}

/// A reply that is sent after the sync.
enum Reply {
    Feedback(
        oneshot::Sender<Result<Acknowledgement, Error>>,
        Acknowledgement,
        Instant,
    ),
    Command(oneshot::Sender<Result<u64, Error>>, u64),
}

/// The loop of the writer thread, until it is closed or every sender is gone.
pub(crate) fn run(write_receiver: &WriteReceiver, mut journals: Vec<JournalWriter>) {
    let mut last_sync = Instant::now();
    loop {
        let first = match write_receiver.next(SYNC_EVERY) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut flushed = Vec::new();
        let (mut closing, mut n_bytes) = (false, 0);
        let mut can_rest = first.is_some();
        journals.iter_mut().for_each(JournalWriter::wake);
        if last_sync.elapsed() >= SYNC_EVERY {
            journals.iter_mut().for_each(JournalWriter::go_on);
        }
        for message in first
            .into_iter()
            .chain(write_receiver.waiting())
            .take(GROUP_MAX)
        {
            n_bytes += message.bytes;
            can_rest &= matches!(message.work, Work::Prediction(_));
            match message.work {
                Work::Flush(done) => flushed.push(done),
                Work::Close => closing = true,
                work => journals[message.model].take(work),
            }
        }
        for journal in &mut journals {
            journal.tick();
        }
        let all = !flushed.is_empty() || closing || last_sync.elapsed() >= SYNC_EVERY;
        for journal in &mut journals {
            journal.settle(all);
        }
        // Only now, so that the entries of a group are counted here or as a part of the journal.
        write_receiver.taken(n_bytes);
        if all {
            last_sync = Instant::now();
        }
        for done in flushed {
            let _ = done.send(());
        }
        if closing {
            break;
        }
        if can_rest {
            write_receiver.rest(WRITE_EVERY);
        }
    }
    journals.into_iter().for_each(JournalWriter::close);
}

impl JournalWriter {
    pub(crate) fn new(journal: Journal, ids: Ids, runtime: Arc<ModelRuntime>) -> JournalWriter {
        JournalWriter {
            ids_written_in: journal.last_segment(),
            journal,
            new_labels: NewLabels::default(),
            waiting: WaitingPlaces::default(),
            ids,
            now: runtime.clock().now(),
            bounds_looked: Instant::now(),
            runtime,
            replies: Vec::new(),
            unsynced: false,
            ticked: 0,
            held: HeldEntries::default(),
            overdue: false,
        }
    }

    fn close(mut self) {
        self.write_ids();
        let (name, n_held) = (self.runtime.name(), self.held.events.len());
        if n_held > 0 {
            tracing::warn!(model = name, n_held, "held entries are lost");
        }
        if let Err(error) = self.journal.close() {
            tracing::error!(model = name, %error, "journal was not closed");
        }
    }

    /// Reads the clock, and has the room of the journal looked at when it is time, also where
    /// nothing is written.
    fn wake(&mut self) {
        self.now = self.runtime.clock().now();
        let now_us = self.runtime.clock().monotonic_us();
        if self.runtime.progress().is_retention_due(now_us) {
            self.runtime.schedule();
        }
        if self.bounds_looked.elapsed() >= BOUNDS_EVERY {
            self.bounds_looked = Instant::now();
            self.runtime.check_bounds();
        }
    }

    fn take(&mut self, work: Work) {
        let bytes = message_bytes(&work) as u64;
        match work {
            Work::Prediction(prediction) => {
                self.append_or_hold(Event::Prediction(prediction));
                // In this order, so that no request sees room that is not there.
                self.runtime.metrics().set_bytes(self.journal.bytes());
                self.runtime.metrics().end_promise(bytes);
            }
            Work::Feedback(feedback, reply, taken) => match self.accept(feedback, bytes) {
                Ok(accepted) => self.replies.push(Reply::Feedback(reply, accepted, taken)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Work::Command(command, reply) => {
                self.append_order(&Event::Command(command), EntryClass::Order, reply);
            }
            Work::Describe(description, reply) => {
                self.append_order(&Event::Description(description), EntryClass::Limits, reply);
            }
            Work::Record(record) => self.append_or_hold(record),
            Work::Tick => drop(self.tick_once()),
            Work::Trim(first_position) => self.trim(first_position),
            Work::WriteIds(done) => {
                let _ = done.send(self.write_ids());
            }
            Work::Due | Work::Flush(_) | Work::Close => {}
        }
    }

    /// Journals an order, if the bytes that are kept for orders are not used up.
    fn append_order(
        &mut self,
        event: &Event,
        class: EntryClass,
        reply: oneshot::Sender<Result<u64, Error>>,
    ) {
        let bytes = self.journal.bytes();
        let room = self.runtime.check_bytes(class, bytes);
        match room.and_then(|()| self.append(event)) {
            Ok(position) => {
                self.runtime.stages().pass(Stage::Appended(position));
                self.replies.push(Reply::Command(reply, position));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Journals a tick when the learner's next one is due, once for each.
    fn tick(&mut self) {
        let next_tick = self.runtime.progress().next_tick();
        if next_tick <= self.now.0 && self.tick_once() {
            let late_us = self.now.0.saturating_sub(next_tick);
            self.overdue = late_us > SYNC_EVERY.as_micros() as i64;
        }
    }

    /// Journals that time goes on, unless the learner has yet to apply the tick before; whether it
    /// did.
    fn tick_once(&mut self) -> bool {
        let runtime = &self.runtime;
        let applied = *runtime.serving().position().borrow() >= self.ticked;
        let writes = runtime.health().intake() == EntryReadiness::Open;
        if !(applied && writes) {
            return false;
        }
        match self.append(&Event::Tick(self.now)) {
            Ok(position) => {
                self.ticked = position;
                true
            }
            Err(_) => false,
        }
    }

    fn limits(&self) -> JournalLimits {
        self.runtime.serving().served().model.spec.journal.clone()
    }

    fn trim(&mut self, first_position: u64) {
        // A removed segment may be younger than a day: its ids stay known.
        if !self.write_ids() {
            return;
        }
        let model = self.runtime.name();
        match self.journal.trim(first_position) {
            Ok(0) => {}
            Ok(bytes) => {
                if let Ok(first) = self.journal.first_position() {
                    self.ids.backfill.forget_before(first);
                }
                tracing::info!(model, first_position, bytes, "shortened the journal");
            }
            Err(error) => tracing::warn!(model, %error, "the journal was not shortened"),
        }
        self.runtime.note_journal(&self.journal);
    }

    /// Journals feedback, or that it came again.
    fn accept(&mut self, feedback: Feedback, bytes: u64) -> Result<Acknowledgement, Error> {
        self.check_feedback_bytes(bytes)?;
        self.ids.forget(self.now);
        let known = self.ids.find(&feedback.feedback_id, self.now)?;
        let known = known.map(|known| (known.position, known.mark));
        let known = known.or_else(|| self.ids.backfill.find(&feedback.feedback_id));
        if let Some((position, mark)) = known {
            let retracted = self.runtime.retractions().retracted().holds(position);
            if !retracted && mark != 0 && mark != ids::mark(&feedback) {
                return Err(other_content(&feedback.feedback_id, position));
            }
            let duplicate = Duplicate {
                feedback_id: if retracted {
                    // The first one may have been erased: then its id stands nowhere any more.
                    String::new()
                } else {
                    feedback.feedback_id
                },
                first_position: position,
            };
            self.append(&Event::Duplicate(duplicate))?;
            return Ok(if retracted {
                Acknowledgement::Retracted { position }
            } else {
                Acknowledgement::Duplicate { position }
            });
        }
        let served = self.runtime.serving().served();
        let waits = self.waiting.check(&feedback, &served, self.now);
        waits.inspect_err(|_| {
            self.runtime
                .bound_counts()
                .count(BoundKind::WaitingPredictions);
        })?;
        self.check_quota(&feedback.source)?;
        self.check_backfill(&feedback)?;
        self.new_labels.check(&feedback, &served)?;
        let feedback = Event::Feedback(feedback);
        let position = self.append(&feedback)?;
        if let Event::Feedback(feedback) = &feedback {
            self.ids.insert(feedback, position, self.now);
            self.new_labels.note(feedback, &served, position);
        }
        Ok(Acknowledgement::Accepted { position })
    }

    /// Refuses entries that [`ModelRuntime::check_room`] let in together with others.
    fn check_feedback_bytes(&self, bytes: u64) -> Result<(), Error> {
        let bytes = self.journal.bytes() + bytes;
        self.runtime.check_bytes(EntryClass::Feedback, bytes)
    }

    /// Checks that the ids of this source leave room for those of others.
    fn check_quota(&self, source: &str) -> Result<(), Error> {
        let served = self.runtime.serving().served();
        let (spec, limits) = (&served.model.spec, &served.model.spec.journal);
        if spec.revision == 1 && self.ids.len() >= limits.ids_max as u64 {
            let what = format!(
                "{} feedback ids of the last day are known, as many as journal.ids_max allows; \
                 more lie on disk once model.toml states revision = 2 under [rules]",
                limits.ids_max
            );
            return Err(self.runtime.full(BoundKind::FeedbackIds, what));
        }
        let checked = self.ids.check_quota(source, &ids_bounds(limits));
        checked.map_err(|full| {
            let what = match full {
                ids::IdsFull::Source { held, all } => format!(
                    "source {source:?} holds {held} of the {all} feedback ids that are known for a \
                     day, no less than are left for others; it can send again as they age, or once \
                     journal.ids_bytes_max ({} bytes) is larger",
                    limits.ids_bytes_max
                ),
                ids::IdsFull::Unwritten(n) => {
                    let why = self.runtime.health().unwritten_ids().unwrap_or_default();
                    unwritten_ids(n, &why)
                }
            };
            self.runtime.full(BoundKind::FeedbackIds, what)
        })
    }

    /// Checks that the id of an event of a backfill has room: it is known for long.
    fn check_backfill(&self, feedback: &Feedback) -> Result<(), Error> {
        let bytes_max = self.limits().backfill_bytes_max;
        let Some(name) = feedback.backfill() else {
            return Ok(());
        };
        if !self.ids.backfill.is_full(bytes_max) {
            return Ok(());
        }
        let what = format!(
            "backfill {name:?}: {} ids of backfills are known for as long as their entries are \
             retained, as many as journal.backfill_bytes_max ({bytes_max} bytes) has room for; for \
             more raise it in model.toml",
            self.ids.backfill.len()
        );
        Err(self.runtime.full(BoundKind::BackfillIds, what))
    }

    /// Writes the ids that are not on disk, when a segment has been begun since or they are many.
    fn write_ids_if_due(&mut self) {
        let bounds = ids_bounds(&self.limits());
        let begun = self.journal.last_segment() > self.ids_written_in;
        if begun || self.ids.is_due(&bounds) {
            self.write_ids();
        }
        self.note_ids();
    }

    /// Notes how many ids there are, for every thread.
    fn note_ids(&self) {
        let oldest = self.ids.oldest_position();
        self.runtime.metrics().set_ids(self.ids.len(), oldest);
        let n_unwritten = self.ids.n_unwritten() as u64;
        self.runtime.metrics().set_unwritten_ids(n_unwritten);
        let n_backfill = self.ids.backfill.len();
        self.runtime.metrics().set_backfill_ids(n_backfill);
    }

    /// Writes the ids that are not on disk; false where the disk refused.
    fn write_ids(&mut self) -> bool {
        let bounds = ids_bounds(&self.limits());
        let written = self.ids.flush(self.journal.synced(), self.now, &bounds);
        let oldest = self.ids.oldest_position().unwrap_or(u64::MAX);
        let retracted = self.runtime.retractions().retracted().since(oldest);
        let written = written.and_then(|()| self.ids.write_retracted(retracted));
        let why = written.as_ref().err().map(ToString::to_string);
        let is_new = self.runtime.health().set_unwritten_ids(why);
        match &written {
            Ok(()) => self.ids_written_in = self.journal.last_segment(),
            Err(error) if is_new => {
                let model = self.runtime.name();
                tracing::warn!(model, %error, "feedback ids are not written; it is tried again");
            }
            Err(_) => {}
        }
        written.is_ok()
    }

    fn append(&mut self, event: &Event) -> Result<u64, Error> {
        if let Some(why) = self.runtime.health().stalled() {
            return Err(self.runtime.stalled(&why));
        }
        let appended = self.journal.append(self.now, event);
        self.unsynced |= appended.is_ok();
        if let Ok(position) = &appended {
            self.runtime.progress().set_appended(*position);
        }
        if let (Event::Prediction(prediction), Ok(position)) = (event, &appended) {
            let served = self.runtime.serving().served().position;
            self.waiting.note(prediction, *position, served);
        }
        appended.map_err(|error| match error {
            store::Error::NoSegment { .. } => self.stall(&error),
            error => {
                let reason = self.fail(&error);
                self.runtime.unavailable(&reason)
            }
        })
    }

    /// Journals an entry that no caller waits for, or holds it while no segment can be made.
    fn append_or_hold(&mut self, event: Event) {
        if self.append(&event).is_ok() || !self.runtime.health().is_stalled() {
            return;
        }
        let bytes = match &event {
            Event::Prediction(prediction) => prediction_bytes(prediction),
            _ => 0,
        };
        if self.held.bytes + bytes <= HELD_BYTES_MAX {
            self.held.bytes += bytes;
            self.held.events.push(event);
        } else {
            self.runtime.metrics().count_unjournaled();
        }
    }

    /// Goes on after a shortage, if it has ended.
    fn go_on(&mut self) {
        if self.runtime.health().is_starved() {
            self.runtime.schedule();
        }
        // Feedback that is refused meanwhile brings no sync, after which they would be written.
        if self.runtime.health().unwritten_ids().is_some() && self.write_ids() {
            self.note_ids();
        }
        if !self.runtime.health().is_stalled() {
            return;
        }
        match self.journal.start_due_segment() {
            Err(error @ store::Error::NoSegment { .. }) => drop(self.stall(&error)),
            Err(error) => {
                self.runtime.health().end_stall();
                self.fail(&error);
            }
            Ok(()) => {
                self.runtime.health().end_stall();
                let n_held = self.held.events.len();
                tracing::info!(model = self.runtime.name(), n_held, "the journal goes on");
                for event in std::mem::take(&mut self.held).events {
                    self.append_or_hold(event);
                }
            }
        }
    }

    /// Notes that the next segment cannot be made now; gives the error for feedback and commands.
    fn stall(&self, error: &store::Error) -> Error {
        let why = error.to_string();
        if self.runtime.health().stall(why.clone()) {
            let model = self.runtime.name();
            tracing::warn!(model, %error, "the journal waits; feedback is refused meanwhile");
        }
        self.runtime.stalled(&why)
    }

    /// Writes the group; syncs it when a request waits for that, or when it is time.
    fn settle(&mut self, time_to_sync: bool) {
        // An order may have changed it.
        self.journal
            .set_segment_bytes(self.limits().segment_bytes() as u32);
        if !self.unsynced {
            return;
        }
        let awaited = self.overdue && self.ticked > self.journal.synced();
        if self.replies.is_empty() && !awaited && !time_to_sync {
            match self.journal.write() {
                Ok(_) => self.runtime.metrics().set_bytes(self.journal.bytes()),
                Err(error) => drop(self.fail(&error)),
            }
            return;
        }
        let (before, start) = (self.journal.synced(), Instant::now());
        let synced = self.journal.sync();
        self.unsynced = false;
        if let Ok(position) = synced {
            let metrics = self.runtime.metrics();
            metrics.count_sync(position - before, start.elapsed());
            // First, so that the learner does not serve them before.
            self.runtime
                .phases()
                .acknowledge(feedback_of(&self.replies));
            self.runtime.note_journal(&self.journal);
            self.write_ids_if_due();
        }
        let failure = synced.err().map(|error| self.fail(&error));
        for reply in self.replies.drain(..) {
            let refused = failure
                .as_ref()
                .map(|reason| self.runtime.unavailable(reason));
            // The caller may have gone; the entry stays on disk.
            match (reply, refused) {
                (Reply::Feedback(reply, accepted, _), None) => drop(reply.send(Ok(accepted))),
                (Reply::Feedback(reply, ..), Some(error)) => drop(reply.send(Err(error))),
                (Reply::Command(reply, position), None) => drop(reply.send(Ok(position))),
                (Reply::Command(reply, _), Some(error)) => drop(reply.send(Err(error))),
            }
        }
        self.runtime.schedule();
    }

    /// Handles a failure of the journal: feedback stops, unless only this event was at fault. Gives
    /// the reason.
    fn fail(&self, error: &store::Error) -> String {
        if matches!(
            error,
            store::Error::Entry { .. } | store::Error::TooLarge { .. }
        ) {
            return error.to_string();
        }
        let reason = format!("its journal failed, restart the server once it is mended: {error}");
        if self.runtime.health().fail_journal(reason.clone()) {
            tracing::error!(model = self.runtime.name(), %error, "journal failed; feedback stops");
            // No request needs to wait for a position that is not there.
            self.runtime.serving().wake();
            let position = self.runtime.progress().synced();
            self.runtime.publish_halt(position, reason.clone());
        }
        reason
    }
}

/// The position of each new event among the replies, with the moment at which it was taken.
fn feedback_of(replies: &[Reply]) -> impl Iterator<Item = (Option<u64>, Instant)> {
    replies.iter().filter_map(|reply| match reply {
        Reply::Feedback(_, Acknowledgement::Accepted { position }, taken) => {
            Some((Some(*position), *taken))
        }
        Reply::Feedback(_, _, taken) => Some((None, *taken)),
        Reply::Command(..) => None,
    })
}

/// The refusal of an id that was used for something else before.
fn other_content(feedback_id: &str, position: u64) -> Error {
    Error::Refused {
        field: "feedback_id",
        what: format!(
            "{feedback_id:?} was accepted at position {position} with another subject or signal; send \
             a correction under an id of its own"
        ),
    }
}
