//! The clock of the journal and of ids.
//!
//! Invariant: it may jump either way; journal time never goes back, since the journal sees to it.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::Time;

type Tell = dyn Fn() -> Time + Send + Sync;

/// The clock of this machine, or what a test tells instead.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<Tell>>);

impl Clock {
    /// The clock of this machine.
    pub(super) const SYSTEM: Clock = Clock(None);

    /// A clock for tests.
    pub fn told(tell: impl Fn() -> Time + Send + Sync + 'static) -> Clock {
        Clock(Some(Arc::new(tell)))
    }

    pub(super) fn now(&self) -> Time {
        if let Some(tell) = &self.0 {
            return tell();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Time(since.map_or(0, |since| since.as_micros() as i64))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "Clock",
            Some(_) => "Clock, told",
        })
    }
}
