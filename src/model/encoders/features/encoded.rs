//! A row as it is learned from.
//!
//! Invariant: hashed features stand by bucket in rising order, no bucket twice.

use std::sync::Arc;

use crate::model::encoders::past::Past;

/// One row as a network sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// `[Encoder::n_dense]`: standardised numbers, gap indicators, vectors.
    pub dense: Vec<f32>,
    /// Hashed features, by bucket in rising order, no bucket twice.
    pub sparse: Vec<(u32, f32)>,
    /// The past of the target before the row, where members see it; no memory stores it.
    pub past: Option<Arc<Past>>,
}

/// Rows at most this part of their squared length apart may be one, standardised at two times.
const SAME: f32 = 0.01;

impl Encoded {
    /// The inner product of both rows.
    pub fn product(&self, other: &Encoded) -> f32 {
        let dense = self.dense.iter().zip(&other.dense).map(|(a, b)| a * b);
        let hashed = self.sparse.iter().map(|(bucket, value)| {
            let found = other.sparse.binary_search_by_key(bucket, |one| one.0);
            found.map_or(0.0, |place| value * other.sparse[place].1)
        });
        dense.sum::<f32>() + hashed.sum::<f32>()
    }

    /// The squared distance of two rows.
    pub fn distance(&self, other: &Encoded) -> f32 {
        let square = |(one, other): (&f32, &f32)| (one - other) * (one - other);
        let dense: f32 = self.dense.iter().zip(&other.dense).map(square).sum();
        let (mut sparse, mut rest) = (0.0, &other.sparse[..]);
        for (bucket, value) in &self.sparse {
            let n_before = rest.partition_point(|(before, _)| before < bucket);
            sparse += rest[..n_before].iter().map(|(_, x)| x * x).sum::<f32>();
            rest = &rest[n_before..];
            let same = rest.first().filter(|(same, _)| same == bucket);
            sparse += square((value, &same.map_or(0.0, |(_, value)| *value)));
            rest = &rest[usize::from(same.is_some())..];
        }
        dense + sparse + rest.iter().map(|(_, x)| x * x).sum::<f32>()
    }

    /// True if it may be the row that lies at this squared distance, encoded at another time.
    pub fn is_again(&self, squared_distance: f32) -> bool {
        let sparse = self.sparse.iter().map(|(_, value)| value);
        let squares: f32 = self.dense.iter().chain(sparse).map(|x| x * x).sum();
        squared_distance <= SAME * (1.0 + squares)
    }

    /// True if every value is finite.
    pub fn is_finite(&self) -> bool {
        self.dense.iter().all(|value| value.is_finite())
            && self.sparse.iter().all(|(_, value)| value.is_finite())
    }
}
