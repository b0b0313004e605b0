//! The audit log: who read rows that others sent, who gave orders, and who was refused.
//!
//! Invariant: one JSON object a line, written whole before the answer; strangers cause so many lines a second
//! and no more.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::log_rate::LogRate;
use crate::engine::open_for_appending;

/// Lines about refused callers in a second.
const REFUSED_PER_SECOND: u32 = 50;

/// A file to which lines are appended.
#[derive(Debug)]
pub struct AuditLog {
    state: Mutex<AuditState>,
    log_rate: LogRate,
}

#[derive(Debug)]
struct AuditState {
    file: File,
    /// Lines about refused callers since a moment.
    refused: (Instant, u32),
    /// The number of lines left out since the last one.
    n_left_out: u64,
}

/// The content of a line, beside its time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line<'a> {
    /// Rows that others sent were read.
    Read {
        actor: &'a str,
        model: &'a str,
        what: &'a str,
    },
    /// An order was carried out, or refused.
    Order {
        actor: &'a str,
        model: &'a str,
        order: &'a str,
        outcome: &'a str,
    },
    /// A caller was refused for the credential that it showed.
    Refused { address: &'a str, why: &'a str },
}

impl AuditLog {
    /// Opens a file, which its owner alone may read if it is made here.
    ///
    /// # Errors
    /// It is no regular file, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<AuditLog> {
        Ok(AuditLog {
            state: Mutex::new(AuditState {
                file: open_for_appending(path)?,
                refused: (Instant::now(), 0),
                n_left_out: 0,
            }),
            log_rate: LogRate::default(),
        })
    }

    /// Appends a line. The log names the fault of one that cannot be written.
    pub(super) fn write(&self, line: Line<'_>) {
        let mut state = self.lock();
        if matches!(line, Line::Refused { .. }) && !state.may_note_refused(Instant::now()) {
            state.n_left_out += 1;
            return;
        }
        let mut object = line.object();
        object["time"] = now().into();
        if matches!(line, Line::Refused { .. }) && state.n_left_out > 0 {
            object["left_out"] = std::mem::take(&mut state.n_left_out).into();
        }
        let written = state.file.write_all(format!("{object}\n").as_bytes());
        if let Err(error) = written
            && self.log_rate.is_time()
        {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }

    fn lock(&self) -> MutexGuard<'_, AuditState> {
        self.state.lock().expect("nothing panics under it")
    }
}

impl AuditState {
    fn may_note_refused(&mut self, now: Instant) -> bool {
        let (since, n) = &mut self.refused;
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *n) = (now, 0);
        }
        *n += 1;
        *n <= REFUSED_PER_SECOND
    }
}

/// The time of this machine; its epoch where that is before.
fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros() as i64);
    Timestamp::from_microsecond(micros)
        .unwrap_or_default()
        .to_string()
}

impl Line<'_> {
    fn object(self) -> Value {
        match self {
            Line::Read { actor, model, what } => {
                json!({"event": "read", "actor": actor, "model": model, "what": what})
            }
            Line::Order {
                actor,
                model,
                order,
                outcome,
            } => json!({
                "event": "order", "actor": actor, "model": model, "order": order, "outcome": outcome,
            }),
            Line::Refused { address, why } => {
                json!({"event": "refused", "address": address, "why": why})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn p8_the_audit_log_has_an_object_a_line_and_strangers_cannot_fill_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        for actor in ["a", "b\n"] {
            let log = AuditLog::open(&path).expect("it is opened");
            log.write(Line::Order {
                actor,
                model: "m",
                order: "freeze",
                outcome: "done",
            });
        }
        let log = AuditLog::open(&path).expect("it is opened");
        let address = "10.0.0.1";
        for _ in 0..1000 {
            log.write(Line::Refused { address, why: "so" });
        }
        log.lock().refused = (Instant::now(), 0);
        log.write(Line::Refused { address, why: "so" });
        let text = fs::read_to_string(&path).expect("it is read");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect();
        assert_eq!(lines[0]["actor"], "a");
        assert_eq!(lines[1]["actor"], "b\n");
        let n = REFUSED_PER_SECOND as usize;
        assert!((2 + n..2 + 3 * n).contains(&lines.len()), "{}", lines.len());
        let last = lines.last().expect("a line");
        assert!(last["left_out"].as_u64().is_some_and(|n| n > 800), "{last}");
        assert!(
            last["time"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
        let mode = fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let device = AuditLog::open(Path::new("/dev/zero")).expect_err("a device");
        assert_eq!(device.kind(), io::ErrorKind::InvalidInput);
    }
}
