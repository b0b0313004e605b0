//! Hashed features of value one, as sets of rows: categories, most of which many rows share.
//!
//! Invariant: distances are those of single values subtracted one after the other, to the bit. Below
//! [`COUNTED_BELOW`] a whole number of twos leaves no rounding behind.

/// The most rows of a block whose features are stored as sets.
pub(super) const ROWS_MAX: usize = 64;
/// Features of a row that are counted together at most.
const COUNTED_MAX: usize = (1 << DIGITS) - 1;
const DIGITS: usize = 7;
/// Squared distances below this are multiples of a part of two, with a bit to spare.
const COUNTED_BELOW: f32 = (1 << 23) as f32;

/// For each bucket the rows that have a value of one there.
#[derive(Clone, Debug, Default)]
pub(super) struct UnitValues {
    /// Rising.
    buckets: Vec<u32>,
    /// A bit a row.
    rows: Vec<u64>,
}

impl UnitValues {
    /// True if each value of a row is one.
    pub(super) fn are_all(sparse: &[(u32, f32)]) -> bool {
        sparse.iter().all(|(_, value)| *value == 1.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Adds a row of values of one, by rising bucket, at this place.
    pub(super) fn push(&mut self, sparse: &[(u32, f32)], place: usize) {
        let mut new = Vec::new();
        let mut start = 0;
        for (bucket, _) in sparse {
            start += self.buckets[start..].partition_point(|other| other < bucket);
            if self.buckets.get(start) == Some(bucket) {
                self.rows[start] |= 1 << place;
            } else {
                new.push((start, *bucket));
            }
        }
        if new.is_empty() {
            return;
        }
        let n = self.buckets.len() + new.len();
        let mut merged = UnitValues {
            buckets: Vec::with_capacity(n),
            rows: Vec::with_capacity(n),
        };
        let mut start = 0;
        for (end, bucket) in new {
            merged.extend(self, start..end);
            merged.buckets.push(bucket);
            merged.rows.push(1 << place);
            start = end;
        }
        merged.extend(self, start..self.buckets.len());
        *self = merged;
    }

    fn extend(&mut self, from: &UnitValues, range: std::ops::Range<usize>) {
        self.buckets.extend_from_slice(&from.buckets[range.clone()]);
        self.rows.extend_from_slice(&from.rows[range]);
    }

    /// The value that the row at a place has in a bucket.
    pub(super) fn value(&self, bucket: u32, place: usize) -> Option<f32> {
        let found = self.buckets.binary_search(&bucket).ok()?;
        (self.rows[found] >> place & 1 == 1).then_some(1.0)
    }

    /// Every value as a bucket and the place of its row, by rising bucket.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, usize)> {
        let sets = self.buckets.iter().zip(&self.rows);
        sets.flat_map(|(bucket, rows)| places(*rows).map(|place| (*bucket, place)))
    }

    /// Subtracts from the squared distance of each row twice the products of the values that it shares
    /// with this one.
    pub(super) fn subtract_products(&self, sparse: &[(u32, f32)], squared: &mut [f32]) {
        if self.is_empty() {
            return;
        }
        let are_small = squared.iter().all(|one| *one < COUNTED_BELOW);
        if sparse.len() > COUNTED_MAX || !are_small || !UnitValues::are_all(sparse) {
            for (value, rows) in self.shared(sparse) {
                places(rows).for_each(|place| squared[place] -= 2.0 * value);
            }
            return;
        }
        // Binary digits of the number that each row shares, a bit a row.
        let mut digits = [0u64; DIGITS];
        for (_, rows) in self.shared(sparse) {
            let mut carry = rows;
            for digit in &mut digits {
                (*digit, carry) = (*digit ^ carry, *digit & carry);
                if carry == 0 {
                    break;
                }
            }
        }
        for (place, squared) in squared.iter_mut().enumerate() {
            let digits = digits.iter().rev();
            let n_shared = digits.fold(0, |n, digit| 2 * n + (digit >> place & 1) as u32);
            *squared -= (2 * n_shared) as f32;
        }
    }

    /// The values of a row in buckets that are taken, each with the rows that have one there.
    fn shared<'a>(&'a self, sparse: &'a [(u32, f32)]) -> impl Iterator<Item = (f32, u64)> + 'a {
        let mut at = 0;
        sparse.iter().filter_map(move |(bucket, value)| {
            while self.buckets.get(at).is_some_and(|other| other < bucket) {
                at += 1;
            }
            let is_shared = self.buckets.get(at) == Some(bucket);
            is_shared.then(|| (*value, self.rows[at]))
        })
    }
}

/// The places of the bits that are set, rising.
fn places(mut rows: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = rows.trailing_zeros();
        (place < u64::BITS).then(|| {
            rows &= rows - 1;
            place as usize
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 42 categories of five values each.
    fn row(number: u64) -> Vec<(u32, f32)> {
        let drawn = |column: u64| (number * 7919 + column * 104_729) / (column + 3) % 5;
        (0..42)
            .map(|column| ((5 * column + drawn(column)) as u32, 1.0))
            .collect()
    }

    #[test]
    fn products_subtracted_together_equal_those_subtracted_one_by_one() {
        let mut values = UnitValues::default();
        (0..ROWS_MAX).for_each(|place| values.push(&row(place as u64), place));
        assert!(values.buckets.is_sorted_by(|one, next| one < next));
        let check = |other: &[(u32, f32)], least: f32| {
            let squared_before = |place: usize| least + 0.377_123 * place as f32;
            let mut squared: Vec<f32> = (0..ROWS_MAX).map(squared_before).collect();
            values.subtract_products(other, &mut squared);
            for (place, squared) in squared.into_iter().enumerate() {
                let mut expected = squared_before(place);
                for (bucket, value) in other {
                    if row(place as u64).contains(&(*bucket, 1.0)) {
                        expected -= 2.0 * value;
                    }
                }
                assert_eq!(squared.to_bits(), expected.to_bits(), "{place}");
            }
        };
        let mut other = row(99);
        for least in [84.0, 3e6, 2e7, 4e7, 1e9] {
            check(&other, least);
        }
        other[7].1 = 1.3;
        check(&other, 84.0);
        assert_eq!(values.all().count(), 42 * ROWS_MAX);
    }
}
