//! The positions that requests wait for.
//!
//! Invariant: a position is here exactly as long as a request waits for it; the caller bounds how
//! many do.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// The number of waiting requests, by position.
#[derive(Debug, Default)]
pub(crate) struct AwaitedPositions(Mutex<BTreeMap<u64, usize>>);

/// A request waits for a position as long as this lives.
#[derive(Debug)]
pub(crate) struct AwaitedPosition<'a> {
    awaited: &'a AwaitedPositions,
    position: u64,
}

impl AwaitedPositions {
    /// Adds a request that waits for the position.
    pub(crate) fn wait(&self, position: u64) -> AwaitedPosition<'_> {
        let mut all = self.0.lock().expect("nothing panics under it");
        *all.entry(position).or_insert(0) += 1;
        AwaitedPosition {
            awaited: self,
            position,
        }
    }

    /// True if a request waits for a position behind `published`, up to and with `reached`.
    pub(crate) fn any(&self, published: u64, reached: u64) -> bool {
        let all = self.0.lock().expect("nothing panics under it");
        published < reached && all.range(published + 1..=reached).next().is_some()
    }
}

impl Drop for AwaitedPosition<'_> {
    fn drop(&mut self) {
        let Ok(mut all) = self.awaited.0.lock() else {
            return;
        };
        if let Some(n) = all.get_mut(&self.position) {
            *n -= 1;
            if *n == 0 {
                all.remove(&self.position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_awaited_as_long_as_somebody_waits_for_it() {
        let awaited = AwaitedPositions::default();
        let check = |published: u64, reached: u64, expected: bool| {
            assert_eq!(awaited.any(published, reached), expected);
        };
        let [first, second, far] = [5, 5, u64::MAX].map(|position| awaited.wait(position));
        check(4, 5, true);
        check(0, 9, true);
        check(5, 9, false);
        check(0, 4, false);
        check(5, 5, false);
        drop(first);
        check(4, 5, true);
        drop(second);
        check(4, 5, false);
        check(5, u64::MAX, true);
        drop(far);
        check(0, u64::MAX, false);
    }
}
