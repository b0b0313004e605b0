//! Requests that wait for a position, by the connection that they came on.
//!
//! Invariant: a connection has at most [`WAITERS_MAX`] of them, so that half of its requests in
//! flight are left to calls that need not wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tonic::Code;

use super::bounds::STREAMS_MAX;
use super::connection_number::ConnectionNumber;
use super::wire::Refusal;

/// Requests of one connection that may wait for a position at a time.
const WAITERS_MAX: usize = STREAMS_MAX as usize / 2;

/// How many wait, by their connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiters(Arc<Mutex<BTreeMap<ConnectionNumber, usize>>>);

/// One that waits as long as this lives.
#[derive(Debug)]
pub(super) struct WaitPermit {
    waiters: Waiters,
    connection: ConnectionNumber,
}

impl Waiters {
    /// Lets one more wait, if there is room.
    pub(super) fn enter(&self, connection: ConnectionNumber) -> Result<WaitPermit, Refusal> {
        let mut all = self.0.lock().expect("nothing panics under it");
        let n = all.entry(connection).or_insert(0);
        if *n >= WAITERS_MAX {
            let what = format!(
                "min_position: {WAITERS_MAX} requests of this connection wait for a position, as \
                 many as may; ask again once one is answered"
            );
            let full = Refusal::new(Code::ResourceExhausted, "parameters", what);
            return Err(full.because("waiting"));
        }
        *n += 1;
        Ok(WaitPermit {
            waiters: self.clone(),
            connection,
        })
    }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        let Ok(mut all) = self.waiters.0.lock() else {
            return;
        };
        if let Some(n) = all.get_mut(&self.connection) {
            *n -= 1;
            if *n == 0 {
                all.remove(&self.connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_so_many_of_a_connection_wait_and_no_more() {
        let waiters = Waiters::default();
        let [one, other] = [1, 2].map(ConnectionNumber);
        let mut all: Vec<WaitPermit> = (0..WAITERS_MAX)
            .map(|_| waiters.enter(one).expect("there is room"))
            .collect();
        let refusal = waiters.enter(one).expect_err("it is full");
        assert_eq!(refusal.code, Code::ResourceExhausted);
        waiters.enter(other).expect("another has room");
        all.pop();
        all.push(waiters.enter(one).expect("one has gone"));
        drop(all);
        assert!(waiters.0.lock().unwrap().is_empty());
    }
}
