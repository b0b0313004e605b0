//! Places for calls that take a thread, or much memory, for as long as they last.
//!
//! Invariant: there are so many places in all, and one caller has no more than its part of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tonic::Code;

use super::access::Caller;
use super::wire::Refusal;

/// Places of one kind; a clone shares them.
#[derive(Clone, Debug)]
pub(super) struct CallerPlaces(Arc<TakenPlaces>);

#[derive(Debug)]
struct TakenPlaces {
    /// The plural noun for the message: audits, pages.
    what: &'static str,
    max: usize,
    of_caller_max: usize,
    taken: Mutex<BTreeMap<String, usize>>,
}

/// A place of a caller, as long as this lives.
#[derive(Debug)]
pub(super) struct CallerPlace {
    places: CallerPlaces,
    caller: String,
}

impl CallerPlaces {
    pub(super) fn new(what: &'static str, max: usize, of_caller_max: usize) -> CallerPlaces {
        CallerPlaces(Arc::new(TakenPlaces {
            what,
            max,
            of_caller_max,
            taken: Mutex::default(),
        }))
    }

    /// A place for a caller, if there is one.
    pub(super) fn enter(&self, caller: &Caller) -> Result<CallerPlace, Refusal> {
        let TakenPlaces {
            what,
            max,
            of_caller_max,
            taken,
        } = &*self.0;
        let caller = caller.name();
        let mut taken = taken.lock().expect("nothing panics under it");
        let own = taken.get(&caller).copied().unwrap_or(0);
        let (n, whose) = if own >= *of_caller_max {
            (of_caller_max, " of this caller")
        } else if taken.values().sum::<usize>() >= *max {
            (max, "")
        } else {
            taken.insert(caller.clone(), own + 1);
            let places = self.clone();
            return Ok(CallerPlace { places, caller });
        };
        let what = format!(
            "{n} {what}{whose} are under way, as many as there can be; ask again once one has ended"
        );
        Err(Refusal::new(Code::ResourceExhausted, "", what).because("inquiries"))
    }
}

impl Drop for CallerPlace {
    fn drop(&mut self) {
        let Ok(mut taken) = self.places.0.taken.lock() else {
            return;
        };
        if let Some(n) = taken.get_mut(&self.caller) {
            *n -= 1;
            if *n == 0 {
                taken.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::HeaderMap;

    use super::super::access::{Access, Needs, Peer};
    use super::*;

    #[test]
    fn p8_one_caller_leaves_places_to_others() {
        let callers = [1, 2, 3].map(|n| {
            let address = Some(SocketAddr::from(([127, 0, 0, n], 1)));
            let peer = Peer {
                address,
                ..Peer::default()
            };
            let access = Access::default();
            let caller = access.admit(Needs::Credential, &HeaderMap::new(), &peer);
            caller.expect("it is of this machine")
        });
        let places = CallerPlaces::new("audits", 3, 2);
        let mut all: Vec<CallerPlace> = [0, 0, 1]
            .map(|n| places.enter(&callers[n]).expect("there is room"))
            .into();
        let says = |n: usize| places.enter(&callers[n]).expect_err("it is full").message;
        let own = "2 audits of this caller are under way, as many as there can be; ask again once one has ended";
        assert_eq!(says(0), own);
        assert!(says(2).starts_with("3 audits are under way"));
        all.remove(0);
        all.push(places.enter(&callers[2]).expect("one has ended"));
        drop(all);
        assert!(places.0.taken.lock().unwrap().is_empty());
    }
}
