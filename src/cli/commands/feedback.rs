//! `perennial feedback`: sends events, one JSON object a line.
//!
//! Invariant: every line that is not blank is counted once, by its fate.

mod event;

use std::path::PathBuf;

use anyhow::ensure;
use perennial::proto::perennial::v1::FeedbackReply;
use perennial::proto::perennial::v1::feedback_reply::Status;
use serde_json::json;

use crate::cli::client::{self, Client, FeedbackStream};
use crate::cli::output::print::{self, ProgressLine};
use crate::cli::rows::Unusable;
use crate::cli::rows::lines::{Lines, shown};
use event::EventRefusal;

/// Reasons that are counted apart.
const REASONS_MAX: usize = 100;
/// The way on for old events.
const OLD_EVENTS: &str = "--backfill NAME takes events older than a day, each once";

/// The model, and the file of events.
#[derive(clap::Args)]
#[command(
    after_help = "Example: perennial feedback fraud --file labels.jsonl\n\n\
    A line: {\"feedback_id\": \"order-7\", \"prediction_id\": \"0190...\", \"label\": \"fraud\"}"
)]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// JSON objects with the fields of FeedbackRequest, one a line; - reads stdin
    #[arg(long, default_value = "-")]
    file: PathBuf,
    /// The name of a declared backfill: rows of any age are taken with their own event times, and
    /// their ids are known for as long as the journal retains them
    #[arg(long, value_name = "NAME")]
    backfill: Option<String>,
    #[command(flatten)]
    client: client::Args,
}

/// Sends the events, and prints the counts.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let inputs = client.describe(&args.model).await?.inputs;
    let mut lines = Lines::open(&args.file)?;
    let mut stream = FeedbackStream::open(
        client.learning.clone(),
        ReplyCounts::new(),
        ReplyCounts::take,
    );
    let (mut malformed, mut is_first) = (RefusedEvents::default(), true);
    while let Some(line) = lines.next(0)? {
        let number = lines.number();
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() {
            continue;
        }
        if std::mem::take(&mut is_first) {
            ensure_object(&args, line)?;
        }
        match event::parse(&args.model, &inputs, line) {
            Ok(mut event) => {
                event.backfill = event.backfill.or_else(|| args.backfill.clone());
                stream.send(number, event).await?;
            }
            Err(refusal) => malformed.add(number, &refusal),
        }
    }
    let mut counts = stream.finish().await?;
    counts.refused += malformed.n();
    malformed.note_others();
    counts.finish(args.client.json)
}

/// Refuses a file that does not begin with an object.
fn ensure_object(args: &Args, line: &str) -> anyhow::Result<()> {
    let file = shown(&args.file);
    ensure!(
        !line.starts_with('['),
        "{file}: a JSON array, expected JSON lines, an object a line, as by `jq -c '.[]'`"
    );
    ensure!(
        line.starts_with('{'),
        "{file}: no JSON object in the first line, expected JSON lines; a table of rows and targets is \
         sent by `perennial stream {} ROWS --target COLUMN`",
        args.model
    );
    Ok(())
}

/// The counts of replies; a ticket is the line of its event.
struct ReplyCounts {
    accepted: u64,
    /// Refused events that are known by now to match no prediction.
    unmatched: u64,
    duplicate: u64,
    /// Sent before, and retracted since.
    retracted: u64,
    refused: u64,
    /// Their reasons.
    reasons: RefusedEvents,
    progress: ProgressLine,
}

/// Refused events by reason: the first of each is shown at once, and how many others there are at the
/// end.
#[derive(Default)]
struct RefusedEvents {
    /// A reason without its numbers, the line of its first event, and how many events have it.
    reasons: Vec<(String, u64, u64)>,
}

impl RefusedEvents {
    fn add(&mut self, line: u64, refusal: &EventRefusal) {
        let reason = Unusable::refused(&refusal.sentence).reason;
        let known = self.reasons.iter().position(|(known, ..)| *known == reason);
        match known {
            Some(place) => self.reasons[place].2 += 1,
            None if self.reasons.len() < REASONS_MAX => {
                self.reasons.push((reason, line, 1));
                note(line, refusal);
            }
            None => self.reasons[REASONS_MAX - 1].2 += 1,
        }
    }

    fn n(&self) -> u64 {
        self.reasons.iter().map(|(.., n)| n).sum()
    }

    fn note_others(&self) {
        for (reason, line, n) in self.reasons.iter().filter(|(.., n)| *n > 1) {
            let (others, were) = (print::counted(n - 1, "other event"), print::were(n - 1));
            print::note(format_args!(
                "{others} {were} refused for the reason of line {line}"
            ));
            if reason.contains("more than a day ago") {
                print::note(OLD_EVENTS);
            }
        }
    }
}

impl ReplyCounts {
    fn new() -> ReplyCounts {
        ReplyCounts {
            accepted: 0,
            unmatched: 0,
            duplicate: 0,
            retracted: 0,
            refused: 0,
            reasons: RefusedEvents::default(),
            progress: ProgressLine::new(),
        }
    }

    /// Prints the counts.
    ///
    /// # Errors
    /// An event was refused.
    fn finish(self, json: bool) -> anyhow::Result<()> {
        let ReplyCounts {
            accepted,
            unmatched,
            duplicate,
            retracted,
            refused,
            reasons,
            progress,
        } = self;
        drop(progress);
        reasons.note_others();
        if json {
            print::line(json!({
                "accepted": accepted, "unmatched": unmatched, "duplicate": duplicate,
                "retracted": retracted, "refused": refused
            }))?;
        } else {
            for (fate, n) in [
                ("accepted", accepted),
                ("duplicate", duplicate),
                ("retracted", retracted),
                ("refused", refused),
            ] {
                print::line(format_args!("{fate:<10} {n}"))?;
            }
        }
        if unmatched > 0 {
            let events = print::counted(unmatched, "accepted event");
            let were = print::were(unmatched);
            print::note(format_args!(
                "{events} {were} about a prediction that is not known: nothing is learned from that"
            ));
        }
        let (events, were) = (print::counted(refused, "event"), print::were(refused));
        ensure!(refused == 0, "{events} {were} refused");
        Ok(())
    }

    fn take(&mut self, line: u64, reply: FeedbackReply) -> anyhow::Result<()> {
        let count = match reply.status() {
            Status::Accepted => &mut self.accepted,
            Status::Duplicate => &mut self.duplicate,
            Status::Retracted => &mut self.retracted,
            Status::Refused | Status::Unspecified => &mut self.refused,
        };
        *count += 1;
        self.unmatched += u64::from(reply.unmatched);
        if !reply.message.is_empty() {
            // The sentence of a server names the field.
            let refusal = EventRefusal {
                field: String::new(),
                sentence: reply.message,
            };
            self.reasons.add(line, &refusal);
        }
        let ReplyCounts {
            accepted,
            duplicate,
            retracted,
            refused,
            ..
        } = self;
        let text = || {
            format!(
                "{accepted} accepted, {duplicate} duplicate, {retracted} retracted, \
                 {refused} refused"
            )
        };
        self.progress.show(text);
        Ok(())
    }
}

fn note(line: u64, refusal: &EventRefusal) {
    let EventRefusal { field, sentence } = refusal;
    match field.as_str() {
        "" => print::note(format_args!("line {line}: {sentence}")),
        field => print::note(format_args!("line {line}: {field}: {sentence}")),
    }
}
