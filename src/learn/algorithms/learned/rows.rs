//! The rows that a learner is given, as it learns and stores them.
//!
//! Invariant: memories standardise raw rows by the scales of the encoder as it is now.

use std::sync::Arc;

use bytes::Bytes;

use super::{Kind, Learned};
use crate::event::{Batch, Column};
use crate::model::{
    Adapters, Encoded, EncoderError, RawRow, Scales, Spec, Target, Task, TextEncoder,
};

impl Learned {
    /// Has memories standardise their raw rows by the scales of now, which it returns; none where no
    /// memory stores raw rows.
    pub(super) fn stand_in_scales(&mut self) -> Option<Arc<Scales>> {
        if !self.stores_raw_rows || !self.kind.has_memory() {
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

    /// A row as it is learned, and as memories store it; none where none stores it otherwise.
    pub(super) fn encode(&mut self, batch: &Batch, row: usize) -> (Encoded, Option<RawRow>) {
        match self.stand_in_scales() {
            Some(scales) => {
                let raw = self.encoder.raw(batch, row);
                (scales.encode(&raw), Some(raw))
            }
            None => (self.encoder.encode(batch, row), None),
        }
    }

    /// Whether a row becomes an anchor of the retention set.
    pub(super) fn is_anchor(
        &mut self,
        (batch, row): (&Batch, usize),
        target: Target,
        example: Option<u64>,
    ) -> bool {
        let raw = || self.encoder.raw(batch, row);
        let retention = self.retention.as_mut();
        retention.is_some_and(|retention| retention.observe(raw, target, example))
    }
}

impl Kind {
    /// Whether it stores rows.
    fn has_memory(&self) -> bool {
        match self {
            Kind::Gradient(learner) => learner.has_memory(),
            Kind::Analytic(_) => false,
            Kind::Auto(_) | Kind::Neighbours(_) => true,
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
