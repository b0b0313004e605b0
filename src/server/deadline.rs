//! Deadlines: how long a caller waits for its answer, as gRPC states it.
//!
//! Invariant: a call whose deadline has passed does no more, and is answered DEADLINE_EXCEEDED.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::{Instant, sleep_until};
use tonic::Code;

use super::call_tasks::is_asking;
use super::wire::Refusal;

const HEADER: &str = "grpc-timeout";
/// However late its deadline is, a call is waited for no longer: a day.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The time that a caller gives its call; `None` where it names none, or none that can be read.
pub(super) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    read(text).map(|timeout| timeout.min(DEADLINE_MAX))
}

/// gRPC's form of a duration: up to eight digits and a unit.
fn read(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok()?;
    match unit {
        "n" => Some(Duration::from_nanos(n)),
        "u" => Some(Duration::from_micros(n)),
        "m" => Some(Duration::from_millis(n)),
        "S" => Some(Duration::from_secs(n)),
        "M" => Some(Duration::from_secs(n.checked_mul(60)?)),
        "H" => Some(Duration::from_secs(n.checked_mul(3600)?)),
        _ => None,
    }
}

/// The result of some work, unless the deadline passes before it begins or while it waits.
pub(super) async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = T>,
) -> Result<T, Refusal> {
    let mut work = pin!(work);
    let mut passed = pin!(sleep_until(deadline));
    poll_fn(|context| {
        if Instant::now() >= deadline {
            return Poll::Ready(Err(refusal()));
        }
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        if !is_asking() && passed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(refusal()));
        }
        Poll::Pending
    })
    .await
}

fn refusal() -> Refusal {
    let what = "the deadline passed before the answer";
    Refusal::new(Code::DeadlineExceeded, "", what).because("deadline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_digits_and_a_unit() {
        let check = |text: &str, expected: Option<Duration>| {
            let headers = HeaderMap::from_iter([(
                HEADER.parse().expect("a name"),
                text.parse().expect("a header"),
            )]);
            assert_eq!(timeout_of(&headers), expected, "{text}");
        };
        check("100m", Some(Duration::from_millis(100)));
        check("1S", Some(Duration::from_secs(1)));
        check("10000u", Some(Duration::from_millis(10)));
        check("10000000n", Some(Duration::from_millis(10)));
        check("2M", Some(Duration::from_secs(120)));
        check("99999999H", Some(DEADLINE_MAX));
        for text in ["1", "x", "", "1.5S", "-1S", "18446744073709551615H"] {
            check(text, None);
        }
        assert_eq!(timeout_of(&HeaderMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn p8_work_begins_and_waits_within_its_deadline() {
        let after = |ms: u64| Instant::now() + Duration::from_millis(ms);
        assert_eq!(within(after(1), async { 7 }).await, Ok(7));
        let mut begun = false;
        let late = within(after(0), async { begun = true }).await;
        assert_eq!(late.expect_err("it is late").code, Code::DeadlineExceeded);
        assert!(!begun);
        let start = Instant::now();
        let waits = within(after(5), std::future::pending::<()>()).await;
        assert_eq!(waits.expect_err("it is late").code, Code::DeadlineExceeded);
        assert_eq!(start.elapsed(), Duration::from_millis(5));
    }
}
