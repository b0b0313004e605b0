//! Linear models that differ only in their step size, side by side in one table.
//!
//! Invariant: all members read the same row, so a feature's weights for every member and output
//! stand together, and scoring or updating all of them is one pass over the row's features.

use pulp::Arch;

use crate::model::encoders::features::Encoded;
use crate::model::linear_algebra::sparse::SparseTable;
use crate::model::weights::{Error, Tensors};

/// `n_members` linear models with `n_outputs` outputs each.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearMembers {
    n_members: usize,
    n_outputs: usize,
    n_dense: usize,
    /// The learning rate of the bias, beside the weight of an input that is one.
    bias_rate: f32,
    /// `[n_dense + 1, n_members * n_outputs]`; the last row is the bias.
    dense: Vec<f32>,
    sparse: SparseTable,
}

/// The shape of a bank.
#[derive(Clone, Copy, Debug)]
pub struct LinearForm {
    /// Linear models.
    pub n_members: usize,
    /// Outputs of each.
    pub n_outputs: usize,
    /// Dense inputs of a row.
    pub n_dense: usize,
    /// Buckets of hashed inputs.
    pub n_buckets: usize,
    /// The learning rate of the bias, beside the weight of an input that is one.
    pub bias_rate: f32,
}

impl LinearMembers {
    /// All weights zero.
    pub fn new(form: LinearForm) -> LinearMembers {
        let columns = form.n_members * form.n_outputs;
        LinearMembers {
            n_members: form.n_members,
            n_outputs: form.n_outputs,
            n_dense: form.n_dense,
            bias_rate: form.bias_rate,
            dense: vec![0.0; (form.n_dense + 1) * columns],
            sparse: SparseTable::new(form.n_buckets, columns),
        }
    }

    fn n_columns(&self) -> usize {
        self.n_members * self.n_outputs
    }

    /// Outputs `[n_members, n_outputs]` for one row.
    pub fn scores(&self, row: &Encoded) -> Vec<f32> {
        let n_columns = self.n_columns();
        let bias = self.n_dense * n_columns;
        let mut scores = self.dense[bias..].to_vec();
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (x, weights) in row.dense.iter().zip(self.dense.chunks_exact(n_columns)) {
                    add_scaled(&mut scores, weights, *x);
                }
                for (bucket, x) in &row.sparse {
                    if let Some(weights) = self.sparse.row(*bucket) {
                        add_scaled(&mut scores, weights, *x);
                    }
                }
            },
        );
        scores
    }

    /// The movement of this row's scores by a step along the gradient.
    pub(crate) fn squared_length(&self, row: &Encoded) -> f32 {
        self.bias_rate
            + row.dense.iter().map(|x| x * x).sum::<f32>()
            + row.sparse.iter().map(|(_, x)| x * x).sum::<f32>()
    }

    /// Moves every weight by `-x * derivative`; `gradient` `[n_members, n_outputs]` carries the step sizes.
    pub(crate) fn descend(&mut self, row: &Encoded, gradient: &[f32]) {
        let n_columns = self.n_columns();
        let (dense, sparse, bias_rate) = (&mut self.dense, &mut self.sparse, &self.bias_rate);
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let inputs = row.dense.iter().chain(std::slice::from_ref(bias_rate));
                for (x, weights) in inputs.zip(dense.chunks_exact_mut(n_columns)) {
                    add_scaled(weights, gradient, -x);
                }
                for (bucket, x) in &row.sparse {
                    add_scaled(sparse.row_mut(*bucket), gradient, -x);
                }
            },
        );
    }

    /// Multiplies the weights of members by `factor`, and adds a shift to the bias of each output;
    /// `shifts` `[members, n_outputs]` are of as many members as there are, the first ones.
    pub(crate) fn rescale(&mut self, factor: f32, shifts: &[f32]) {
        let n_columns = self.n_columns();
        let of_members = |weights: &mut [f32]| {
            let weights = weights.iter_mut().take(shifts.len());
            weights.for_each(|weight| *weight *= factor);
        };
        self.dense.chunks_exact_mut(n_columns).for_each(of_members);
        self.sparse.rows_mut().for_each(of_members);
        let bias = &mut self.dense[self.n_dense * n_columns..];
        for (bias, shift) in bias.iter_mut().zip(shifts) {
            *bias += shift;
        }
    }

    /// Every member as a linear network of its own: `<name>.0.weight` `[n_outputs, n_dense]`,
    /// `<name>.0.bias`, and, where inputs are hashed, `sparse.*` for all of them together.
    pub fn save(&self, names: &[String]) -> Tensors {
        let mut tensors = match self.sparse.n_buckets() {
            0 => Tensors::default(),
            _ => self.sparse.save(),
        };
        let at = |feature: usize, column: usize| self.dense[feature * self.n_columns() + column];
        for (member, name) in names.iter().take(self.n_members).enumerate() {
            let columns = member * self.n_outputs..(member + 1) * self.n_outputs;
            let weight = columns
                .clone()
                .flat_map(|column| (0..self.n_dense).map(move |feature| at(feature, column)));
            let bias = columns.clone().map(|column| at(self.n_dense, column));
            let shape = [self.n_outputs, self.n_dense];
            tensors.put_f32(format!("{name}.0.weight"), &shape, weight.collect());
            tensors.put_f32(format!("{name}.0.bias"), &[self.n_outputs], bias.collect());
        }
        tensors
    }

    /// Replaces the weights by those that [`LinearMembers::save`] wrote.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(&mut self, names: &[String], tensors: &mut Tensors) -> Result<(), Error> {
        let (n_outputs, n_dense, n_columns) = (self.n_outputs, self.n_dense, self.n_columns());
        for (member, name) in names.iter().take(self.n_members).enumerate() {
            let shape = [Some(n_outputs), Some(n_dense)];
            let weight = tensors.take_f32(&format!("{name}.0.weight"), &shape)?;
            let bias = tensors.take_f32(&format!("{name}.0.bias"), &[Some(n_outputs)])?;
            for output in 0..n_outputs {
                let column = member * n_outputs + output;
                for feature in 0..n_dense {
                    self.dense[feature * n_columns + column] = weight[output * n_dense + feature];
                }
                self.dense[n_dense * n_columns + column] = bias[output];
            }
        }
        if self.sparse.n_buckets() > 0 {
            self.sparse = SparseTable::load(self.sparse.n_buckets(), n_columns, tensors)?;
        }
        Ok(())
    }
}

/// `into += scale * from`.
#[inline(always)]
fn add_scaled(into: &mut [f32], from: &[f32], scale: f32) {
    for (into, from) in into.iter_mut().zip(from) {
        *into += scale * from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: LinearForm = LinearForm {
        n_members: 2,
        n_outputs: 2,
        n_dense: 2,
        n_buckets: 16,
        bias_rate: 0.5,
    };

    fn row() -> Encoded {
        Encoded {
            dense: vec![2.0, -1.0],
            sparse: vec![(5, 0.5)],
            past: None,
        }
    }

    #[test]
    fn a_step_moves_the_scores_along_the_gradient() {
        let mut linear_members = LinearMembers::new(FORM);
        assert_eq!(linear_members.scores(&row()), [0.0; 4]);
        linear_members.descend(&row(), &[1.0, 0.0, -0.5, 2.0]);
        // Each score moves by its derivative times the squared length of the row, bias included.
        let squared = -(4.0 + 1.0 + 0.25 + 0.5);
        assert_eq!(linear_members.squared_length(&row()), -squared);
        assert_eq!(
            linear_members.scores(&row()),
            [squared, 0.0, -0.5 * squared, 2.0 * squared]
        );
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let names = ["a".to_owned(), "b".to_owned()];
        let mut linear_members = LinearMembers::new(FORM);
        linear_members.descend(&row(), &[1.0, 0.25, -0.5, 2.0]);
        let mut saved = linear_members.save(&names);
        assert_eq!(saved.0["b.0.weight"].shape, [2, 2]);
        let mut loaded = LinearMembers::new(FORM);
        loaded.load(&names, &mut saved).unwrap();
        assert_eq!(loaded, linear_members);
    }
}
