//! Named tensors in a fixed order: the one form in which state leaves and enters memory.
//!
//! Invariant: equal state gives equal tensors, byte for byte, so a digest over them is a digest
//! of the state, and a checkpoint of them is the state.

use std::collections::BTreeMap;

/// Bytes that are shown at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Values of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Weights, moments, features.
    F32(Vec<f32>),
    /// Running means, losses.
    F64(Vec<f64>),
    /// Indexes.
    U32(Vec<u32>),
    /// Counts, ids, times.
    U64(Vec<u64>),
    /// Text and flags.
    U8(Vec<u8>),
}

impl Data {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(values) => values.len(),
            Data::F64(values) => values.len(),
            Data::U32(values) => values.len(),
            Data::U64(values) => values.len(),
            Data::U8(values) => values.len(),
        }
    }

    /// True if there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the values.
    pub fn n_bytes(&self) -> usize {
        let width = match self {
            Data::F64(_) | Data::U64(_) => 8,
            Data::F32(_) | Data::U32(_) => 4,
            Data::U8(_) => 1,
        };
        width * self.len()
    }

    /// The name of the type, as safetensors spells it.
    pub fn dtype(&self) -> &'static str {
        match self {
            Data::F32(_) => "F32",
            Data::F64(_) => "F64",
            Data::U32(_) => "U32",
            Data::U64(_) => "U64",
            Data::U8(_) => "U8",
        }
    }

    /// The values as little-endian bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.n_bytes());
        self.pieces(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// Shows the same piece by piece: no copy of the whole is made.
    fn pieces(&self, mut see: impl FnMut(&[u8])) {
        /// A whole piece is written at once: byte by byte it would be half of a digest's cost.
        fn pieces<T: Copy, const N: usize>(
            values: &[T],
            le: impl Fn(T) -> [u8; N],
            see: &mut impl FnMut(&[u8]),
        ) {
            let mut piece = [0; PIECE_BYTES];
            for values in values.chunks(PIECE_BYTES / N) {
                let piece = &mut piece[..N * values.len()];
                for (bytes, value) in piece.chunks_exact_mut(N).zip(values) {
                    bytes.copy_from_slice(&le(*value));
                }
                see(piece);
            }
        }
        match self {
            Data::F32(values) => pieces(values, f32::to_le_bytes, &mut see),
            Data::F64(values) => pieces(values, f64::to_le_bytes, &mut see),
            Data::U32(values) => pieces(values, u32::to_le_bytes, &mut see),
            Data::U64(values) => pieces(values, u64::to_le_bytes, &mut see),
            Data::U8(values) => see(values),
        }
    }
}

/// A shaped block of values, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its extent in each dimension.
    pub shape: Vec<usize>,
    /// The values, as many as the shape has.
    pub data: Data,
}

/// Tensors of a file that something else wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreign {
    /// The tensors of types that are computed with here.
    pub tensors: Tensors,
    /// The types and shapes of the others, as in `F16 [3, 2]`, by name.
    pub others: BTreeMap<String, String>,
}

/// State that does not have the form it should.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A tensor is missing: another kind of model wrote this state.
    #[error("tensor {0:?} is missing")]
    Missing(String),
    /// A tensor of another type or shape: another description wrote this state.
    #[error("tensor {name:?} is {got}, expected {expected}")]
    Form {
        /// The name of the tensor.
        name: String,
        /// The shape or type that this description needs.
        expected: String,
        /// The shape or type of the file.
        got: String,
    },
    /// A value that cannot be: the file was damaged or forged.
    #[error("tensor {name:?}: {what}")]
    Value {
        /// The name of the tensor.
        name: String,
        /// The mistake in it.
        what: String,
    },
}

impl Error {
    /// A value of this tensor cannot be, for this reason.
    pub fn value(name: &str, what: impl Into<String>) -> Error {
        Error::Value {
            name: name.to_owned(),
            what: what.into(),
        }
    }
}

/// Tensors by name, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors(pub BTreeMap<String, Tensor>);

macro_rules! accessors {
    ($put:ident, $take:ident, $variant:ident, $type:ty) => {
        /// Adds a tensor of this type.
        pub fn $put(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<$type>) {
            self.put(name.into(), shape, Data::$variant(values));
        }

        /// Takes out the tensor of this type; `shape` bounds it, `None` where any extent will do.
        ///
        /// # Errors
        /// [`Error::Missing`] and [`Error::Form`]: the state is not of this description.
        pub fn $take(&mut self, name: &str, shape: &[Option<usize>]) -> Result<Vec<$type>, Error> {
            let expected = Data::$variant(Vec::new()).dtype();
            match self.take(name, expected, shape)? {
                Data::$variant(values) => Ok(values),
                _ => unreachable!("take checks the type"),
            }
        }
    };
}

impl Tensors {
    accessors!(put_f32, take_f32, F32, f32);
    accessors!(put_f64, take_f64, F64, f64);
    accessors!(put_u32, take_u32, U32, u32);
    accessors!(put_u64, take_u64, U64, u64);
    accessors!(put_u8, take_u8, U8, u8);

    fn put(&mut self, name: String, shape: &[usize], data: Data) {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len(), "{name}");
        let shape = shape.to_vec();
        self.0.insert(name, Tensor { shape, data });
    }

    fn take(
        &mut self,
        name: &str,
        dtype: &'static str,
        shape: &[Option<usize>],
    ) -> Result<Data, Error> {
        let tensor = self
            .0
            .remove(name)
            .ok_or_else(|| Error::Missing(name.to_owned()))?;
        let fits = tensor.data.dtype() == dtype
            && tensor.shape.len() == shape.len()
            && tensor
                .shape
                .iter()
                .zip(shape)
                .all(|(got, want)| want.is_none_or(|want| want == *got))
            && tensor.shape.iter().product::<usize>() == tensor.data.len();
        if !fits {
            let extents = shape.iter().map(|extent| match extent {
                Some(extent) => extent.to_string(),
                None => "*".to_owned(),
            });
            return Err(Error::Form {
                name: name.to_owned(),
                expected: format!("{dtype} [{}]", extents.collect::<Vec<_>>().join(", ")),
                got: format!("{} {:?}", tensor.data.dtype(), tensor.shape),
            });
        }
        Ok(tensor.data)
    }

    /// Adds every tensor of `other`, its names behind `prefix` and a dot.
    pub(crate) fn nest(&mut self, prefix: &str, other: Tensors) {
        let named = |(name, tensor)| (format!("{prefix}.{name}"), tensor);
        self.0.extend(other.0.into_iter().map(named));
    }

    /// Takes out the tensors behind `prefix` and a dot, without it.
    pub(crate) fn unnest(&mut self, prefix: &str) -> Tensors {
        let start = format!("{prefix}.");
        let mut rest = self.0.split_off(&start);
        // '/' follows '.': every name that starts with the prefix sorts below this one.
        let mut after = rest.split_off(&format!("{prefix}/"));
        self.0.append(&mut after);
        let stripped = rest
            .into_iter()
            .map(|(name, tensor)| (name[start.len()..].to_owned(), tensor));
        Tensors(stripped.collect())
    }

    /// BLAKE3 over names, types, shapes and bytes.
    pub fn digest(&self) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        for (name, tensor) in &self.0 {
            let form = format!("{name}\n{}{:?}\n", tensor.data.dtype(), tensor.shape);
            hash.update(form.as_bytes());
            tensor.data.pieces(|piece| {
                hash.update(piece);
            });
        }
        hash.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_f32("0.weight", &[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        tensors.put_u64("count", &[1], vec![7]);
        tensors
    }

    #[test]
    fn a_tensor_is_taken_only_in_its_form() {
        let any = None;
        assert_eq!(
            sample().take_f32("0.weight", &[Some(2), any]).unwrap(),
            vec![1.0, 2.0, 3.0, 4.0]
        );
        let check = |name: &str, shape: &[Option<usize>], message: &str| {
            let error = sample().take_f32(name, shape).unwrap_err();
            assert_eq!(error.to_string(), message);
        };
        check("1.weight", &[any], "tensor \"1.weight\" is missing");
        check(
            "0.weight",
            &[Some(3), any],
            "tensor \"0.weight\" is F32 [2, 2], expected F32 [3, *]",
        );
        check(
            "count",
            &[any],
            "tensor \"count\" is U64 [1], expected F32 [*]",
        );
    }

    #[test]
    fn nesting_is_undone_by_unnesting() {
        let mut all = Tensors::default();
        all.nest("a", sample());
        all.nest("ab", sample());
        all.nest("a.b", sample());
        assert_eq!(all.0.len(), 6);
        assert_eq!(all.unnest("ab"), sample());
        let mut a = all.unnest("a");
        assert!(all.0.is_empty());
        assert_eq!(a.unnest("b"), sample());
        assert_eq!(a, sample());
    }

    #[test]
    fn bytes_are_those_of_every_value() {
        let values: Vec<f64> = (0..5000).map(f64::from).collect();
        let expected: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        assert_eq!(Data::F64(values).bytes(), expected);
        assert_eq!(Data::U8(vec![1, 2]).bytes(), [1, 2]);
    }

    #[test]
    fn the_digest_sees_names_shapes_and_bits() {
        let digest = sample().digest();
        let mut renamed = Tensors::default();
        renamed.nest("x", sample());
        assert_ne!(renamed.digest(), digest);
        let mut changed = sample();
        changed.put_f32("0.weight", &[2, 2], vec![1.0, 2.0, 3.0, -4.0]);
        assert_ne!(changed.digest(), digest);
        let mut reshaped = sample();
        reshaped.put_f32("0.weight", &[4, 1], vec![1.0, 2.0, 3.0, 4.0]);
        assert_ne!(reshaped.digest(), digest);
        assert_eq!(sample().digest(), digest);
    }
}
