//! The column that distinguishes the series of a regression, such as a store, found in a second pass.
//!
//! Invariant: memory is bounded by the keys and times that are counted, never by rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::column_stats::hash;
use super::draft::{Draft, DraftKind, DraftTask, KEYS_MAX, SeriesKey};
use crate::cli::rows::options::ReadOptions;
use crate::cli::rows::source::is_stdin;
use crate::cli::rows::{Cell, FileRows};
use crate::cli::run::usable::UnusableRows;

/// Times that are counted at most.
const TIMES_MAX: u64 = 1 << 18;
/// One of so many rows may repeat the time of the row before it of its series.
const ROWS_PER_REPEATED: u64 = 1000;

/// A column that may distinguish the series.
struct KeyCandidate<'a> {
    name: &'a str,
    column: usize,
    /// The hash of the newest time, by that of the key.
    newest: BTreeMap<u64, u64>,
    /// Rows that repeat that time.
    n_repeated: u64,
}

impl KeyCandidate<'_> {
    fn n_keys(&self) -> u64 {
        self.newest.len() as u64
    }

    fn may_be_key(&self, n_rows: u64) -> bool {
        self.n_keys() <= KEYS_MAX && self.n_repeated <= 1 + n_rows / ROWS_PER_REPEATED
    }
}

/// The category of a drafted regression whose values come once at each time, while times repeat; none
/// where there is no such category, or more than one, or no file to read again.
///
/// # Errors
/// The file cannot be read.
pub(super) fn series_key(
    path: &Path,
    draft: &Draft,
    options: &ReadOptions,
) -> anyhow::Result<Option<SeriesKey>> {
    let is_time = |kind: &DraftKind| matches!(kind, DraftKind::Time(_));
    let mut inputs = draft.inputs.iter();
    let time = inputs.find(|input| is_time(&input.kind));
    let categories = draft.inputs.iter();
    let categories = categories.filter(|input| input.kind == DraftKind::Category);
    let is_again = !is_stdin(path) && path.is_file();
    let (Some(time), DraftTask::Regression, true) = (time, draft.task, is_again) else {
        return Ok(None);
    };
    let mut rows = FileRows::open(path, options)?;
    let Ok(time) = rows.column(&time.name) else {
        return Ok(None);
    };
    let mut candidates = Vec::new();
    for input in categories {
        // A key of JSON may come later; such a column is in no row before.
        candidates.extend(rows.column(&input.name).ok().map(|column| KeyCandidate {
            name: &input.name,
            column,
            newest: BTreeMap::new(),
            n_repeated: 0,
        }));
    }
    let (mut times, mut n_rows) = (BTreeSet::new(), 0);
    let mut unusable = UnusableRows::new(false);
    for row in rows {
        let Some(row) = unusable.sort(row)? else {
            continue;
        };
        let Some(Cell::Text(at)) = row.cells.get(time) else {
            continue;
        };
        let at = hash(at);
        times.insert(at);
        n_rows += 1;
        for candidate in &mut candidates {
            if let Some(Cell::Text(key)) = row.cells.get(candidate.column) {
                let before = candidate.newest.insert(hash(key), at);
                candidate.n_repeated += u64::from(before == Some(at));
            }
        }
        candidates.retain(|one| one.may_be_key(n_rows));
        if candidates.is_empty() || times.len() as u64 > TIMES_MAX {
            return Ok(None);
        }
    }
    Ok(only_key(candidates, n_rows, times.len() as u64))
}

/// The only candidate whose keys come once at each time, at half of the times or more.
fn only_key(mut candidates: Vec<KeyCandidate<'_>>, n_rows: u64, n_times: u64) -> Option<SeriesKey> {
    candidates.retain(|one| {
        let (n_keys, n_pairs) = (one.n_keys(), one.n_keys() * n_times);
        n_keys > 1 && (n_pairs.div_ceil(2)..=n_pairs).contains(&n_rows) && 3 * n_times <= 2 * n_rows
    });
    match &candidates[..] {
        [only] => Some(SeriesKey {
            name: only.name.to_owned(),
            n_keys: only.n_keys(),
            n_times,
        }),
        _ => None,
    }
}
