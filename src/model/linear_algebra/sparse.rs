//! A table of weight rows by hashed feature: only rows that were ever written take room.
//!
//! Invariant: a clone shares every block until one side writes to it, so publishing a large
//! table costs its block pointers, and a published table never changes.

use std::sync::Arc;

use crate::model::weights::{Error, Tensors};

/// Buckets that share one copy-on-write block.
const BLOCK: usize = 16;

/// Rows `[row_len]` of f32 for buckets `0..n_buckets`; a row that was never written reads as zero.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseTable {
    row_len: usize,
    blocks: Vec<Option<Arc<BucketBlock>>>,
}

/// The written rows of sixteen buckets, in the order of the buckets.
#[derive(Clone, Debug, Default, PartialEq)]
struct BucketBlock {
    written: u16,
    rows: Vec<f32>,
}

impl BucketBlock {
    /// The rank of the row of `slot` among the written ones, or the place where it would stand.
    fn rank(&self, slot: usize) -> usize {
        (self.written & ((1u16 << slot) - 1)).count_ones() as usize
    }

    fn has(&self, slot: usize) -> bool {
        self.written >> slot & 1 == 1
    }
}

impl SparseTable {
    /// An empty table; `n_buckets` is rounded up to whole blocks.
    pub fn new(n_buckets: usize, row_len: usize) -> SparseTable {
        SparseTable {
            row_len,
            blocks: vec![None; n_buckets.div_ceil(BLOCK)],
        }
    }

    /// The number of values of a row.
    pub(crate) fn row_len(&self) -> usize {
        self.row_len
    }

    /// The number of buckets of hashed features.
    pub(crate) fn n_buckets(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    /// The row of `bucket`, where it was ever written.
    pub fn row(&self, bucket: u32) -> Option<&[f32]> {
        let (index, slot) = (bucket as usize / BLOCK, bucket as usize % BLOCK);
        let block = self.blocks[index].as_ref()?;
        let start = block.rank(slot) * self.row_len;
        block
            .has(slot)
            .then(|| &block.rows[start..start + self.row_len])
    }

    /// The row of `bucket`, to write to.
    pub fn row_mut(&mut self, bucket: u32) -> &mut [f32] {
        let (index, slot) = (bucket as usize / BLOCK, bucket as usize % BLOCK);
        let block = Arc::make_mut(self.blocks[index].get_or_insert_default());
        let start = block.rank(slot) * self.row_len;
        if !block.has(slot) {
            block.written |= 1 << slot;
            let zeros = std::iter::repeat_n(0.0, self.row_len);
            block.rows.splice(start..start, zeros);
        }
        &mut block.rows[start..start + self.row_len]
    }

    /// Every row written, to write to.
    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let written = self.blocks.iter_mut().flatten();
        written.flat_map(|block| Arc::make_mut(block).rows.chunks_exact_mut(self.row_len))
    }

    /// Written rows by bucket, in the order of the buckets.
    pub fn rows(&self) -> impl Iterator<Item = (u32, &[f32])> {
        self.blocks.iter().enumerate().flat_map(|(index, block)| {
            let written = block.iter().flat_map(|block| {
                let slots = (0..BLOCK).filter(|slot| block.has(*slot));
                slots.zip(block.rows.chunks_exact(self.row_len))
            });
            written.map(move |(slot, row)| ((index * BLOCK + slot) as u32, row))
        })
    }

    /// `sparse.index` U32 `[rows]` and `sparse.weight` F32 `[rows, row_len]`.
    pub fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let (mut index, mut weight) = (Vec::new(), Vec::new());
        for (bucket, row) in self.rows() {
            index.push(bucket);
            weight.extend_from_slice(row);
        }
        tensors.put_f32("sparse.weight", &[index.len(), self.row_len], weight);
        tensors.put_u32("sparse.index", &[index.len()], index);
        tensors
    }

    /// Reads the state that [`SparseTable::save`] wrote.
    ///
    /// # Errors
    /// When the tensors have another form or name a bucket outside the table.
    pub fn load(
        n_buckets: usize,
        row_len: usize,
        tensors: &mut Tensors,
    ) -> Result<SparseTable, Error> {
        let mut table = SparseTable::new(n_buckets, row_len);
        let index = tensors.take_u32("sparse.index", &[None])?;
        let weight = tensors.take_f32("sparse.weight", &[Some(index.len()), Some(row_len)])?;
        for (bucket, row) in index.iter().zip(weight.chunks_exact(row_len)) {
            if *bucket as usize >= table.n_buckets() {
                let what = format!("bucket {bucket} of {}", table.n_buckets());
                return Err(Error::value("sparse.index", what));
            }
            table.row_mut(*bucket).copy_from_slice(row);
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_zero_until_written_and_kept_apart() {
        let mut table = SparseTable::new(64, 2);
        assert_eq!(table.row(5), None);
        for bucket in [5, 3, 20, 4, 63, 0] {
            table
                .row_mut(bucket)
                .copy_from_slice(&[bucket as f32, -1.0]);
        }
        for bucket in [0, 3, 4, 5, 20, 63] {
            assert_eq!(table.row(bucket), Some(&[bucket as f32, -1.0][..]));
        }
        let buckets: Vec<u32> = table.rows().map(|(bucket, _)| bucket).collect();
        assert_eq!(buckets, [0, 3, 4, 5, 20, 63]);
    }

    #[test]
    fn a_clone_does_not_see_later_writes() {
        let mut table = SparseTable::new(32, 1);
        table.row_mut(1)[0] = 1.0;
        let published = table.clone();
        table.row_mut(1)[0] = 2.0;
        table.row_mut(2)[0] = 3.0;
        assert_eq!(published.row(1), Some(&[1.0][..]));
        assert_eq!(published.row(2), None);
    }

    #[test]
    fn the_order_of_writing_leaves_no_trace() {
        let filled = |buckets: &[u32]| {
            let mut table = SparseTable::new(32, 1);
            for bucket in buckets {
                table.row_mut(*bucket)[0] = *bucket as f32;
            }
            table
        };
        assert_eq!(filled(&[1, 9, 17]), filled(&[17, 1, 9]));
        let mut saved = filled(&[1, 9, 17]).save();
        assert_eq!(
            SparseTable::load(32, 1, &mut saved),
            Ok(filled(&[1, 9, 17]))
        );
    }

    #[test]
    fn a_bucket_outside_the_table_is_refused() {
        let mut table = SparseTable::new(32, 1);
        table.row_mut(31)[0] = 1.0;
        let error = SparseTable::load(16, 1, &mut table.save()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tensor \"sparse.index\": bucket 31 of 16"
        );
    }
}
