//! The features of a time: its place in the day, in the week and in the year, and the time elapsed
//! since the origin.
//!
//! Day, week and year are circles: each is given as sine and cosine of its first periods, so that the
//! last hour of a day is near the first one of the next.
//!
//! Invariant: the same text gives the same features under one numeric profile.

use std::f64::consts::TAU;

use super::scale::Scale;
use crate::model::spec::{CalendarTime, N_CALENDAR, Times};

/// Microseconds of a day.
const DAY_US: f64 = 86_400_000_000.0;
/// Periods of the day, the week and the year.
const PERIODS: [usize; 3] = [3, 3, 2];

/// Days from the origin to a time; NaN for a gap.
pub(super) fn days(times: &Times, text: &str) -> f64 {
    let time = times.format.read(text, times.zone_s);
    time.map_or(f64::NAN, |time| {
        (time as f64 - times.origin_us as f64) / DAY_US
    })
}

/// Appends the features of a time: the days elapsed, standardised, and the rest.
pub(super) fn push(times: &Times, scale: &Scale, text: &str, dense: &mut Vec<f32>) {
    dense.push(scale.standardise(days(times, text)));
    push_calendar(times, text, dense);
}

/// The number of features that [`push_calendar`] appends.
pub(super) fn n_calendar(times: &Times) -> usize {
    N_CALENDAR + usize::from(times.gaps)
}

/// Appends the calendar of a time, and where there may be gaps an indicator: they are in no scale.
pub(super) fn push_calendar(times: &Times, text: &str, dense: &mut Vec<f32>) {
    let time = times.format.read(text, times.zone_s);
    let start = dense.len();
    match time {
        Some(time) => calendar(CalendarTime::of(time, times.zone_s), dense),
        None => dense.resize(start + N_CALENDAR, 0.0),
    }
    if times.gaps {
        dense.push(f32::from(u8::from(time.is_none())));
    }
}

fn calendar(moment: CalendarTime, dense: &mut Vec<f32>) {
    let CalendarTime {
        hour,
        weekday,
        month,
    } = moment;
    let places = [
        hour / 24.0,
        f64::from(weekday) / 7.0,
        f64::from(month) / 12.0,
    ];
    for (place, n_periods) in places.into_iter().zip(PERIODS) {
        for period in 1..=n_periods {
            let (sine, cosine) = (TAU * place * period as f64).sin_cos();
            dense.extend([sine as f32, cosine as f32]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::TimeFormat;

    fn features(text: &str, gaps: bool) -> Vec<f32> {
        let times = Times {
            format: TimeFormat::default(),
            zone_s: 3600,
            origin_us: 0,
            gaps,
        };
        let mut dense = Vec::new();
        push(&times, &Scale::default(), text, &mut dense);
        dense
    }

    #[test]
    fn a_time_has_a_place_in_each_circle_and_a_gap_has_none() {
        let night = features("2024-01-01T23:00:00Z", false);
        assert_eq!(night.len(), 1 + N_CALENDAR);
        // Midnight of a Tuesday in January, in its zone.
        assert_eq!(night[1..7], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(night[13..], [0.0, 1.0, 0.0, 1.0]);
        let gap = features("", true);
        assert_eq!(gap[..17], [0.0; 17]);
        assert_eq!(gap[17], 1.0);
    }
}
