//! The rows that a learner is given, as it learns and stores them.
//!
//! Invariant: memories standardise raw rows by the scales of the encoder as it is now.

use std::sync::Arc;

use bytes::Bytes;

use super::{Kind, Learned};
use crate::event::{Batch, Column};
use crate::model::{Adapters, Encoded, EncoderError, RawRow, Scales, Spec, Task, TextEncoder};

impl Learned {
    /// Has memories standardise their raw rows by the scales of now, which it returns; none where they
    /// store rows as they are encoded.
    pub(super) fn stand_in_scales(&mut self) -> Option<Arc<Scales>> {
        if !self.stores_raw_rows {
            return None;
        }
        let scales = Arc::new(self.encoder.scales());
        match &mut self.kind {
            Kind::Gradient(learner) => learner.stand_in(scales.clone()),
            Kind::Auto(learner) => learner.stand_in(&scales),
            Kind::Neighbours(learner) => learner.nearest.memory.stand_in(&scales),
            Kind::Analytic(_) => {}
        }
        Some(scales)
    }

    /// A row as it is learned, and as memories store it; none where they store it as it is learned.
    pub(super) fn encode(&mut self, batch: &Batch, row: usize) -> (Encoded, Option<RawRow>) {
        match self.stand_in_scales() {
            Some(scales) => {
                let raw = self.encoder.raw(batch, row);
                (scales.encode(&raw), Some(raw))
            }
            None => (self.encoder.encode(batch, row), None),
        }
    }
}

/// True if the shares of the classes are learned.
pub(super) fn has_class_shares(spec: &Spec) -> bool {
    spec.stores_raw_rows() && matches!(spec.task, Task::Classification { .. })
}

/// A row whose texts are as the encoders among `encoders` give them with these adapters.
pub(super) fn embed_again(
    mut row: Batch,
    encoders: &[Option<Arc<TextEncoder>>],
    adapters: &[Option<Arc<Adapters>>],
) -> Result<Batch, EncoderError> {
    for ((column, encoder), adapters) in row.columns.iter_mut().zip(encoders).zip(adapters) {
        if let (Column::Embedded { texts, vectors }, Some(encoder)) = (column, encoder) {
            let again = encoder.embed(&[&texts[0]], adapters.as_deref())?;
            let bytes: Vec<u8> = again.iter().flat_map(|value| value.to_le_bytes()).collect();
            *vectors = Bytes::from(bytes);
        }
    }
    Ok(row)
}
