//! Tensors as safetensors bytes, for files that may come from elsewhere.
//!
//! Invariant: before anything is allocated for a tensor, its name, type, shape and place are
//! checked against limits and against the bytes that are there; whatever fails is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use safetensors::tensor::{Dtype, TensorView, View};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::model::weights::{Data, Foreign, Tensor, Tensors};
use crate::store::error::Malformed;

/// Room for the largest number of tensors with long names; a parser's memory grows with it.
const HEADER_BYTES_MAX: u64 = 1 << 20;
const TENSORS_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 200;
const RANK_MAX: usize = 8;

/// The bytes of a safetensors file; equal tensors make equal bytes.
///
/// # Errors
/// [`Malformed`]: [`read_tensors`] would refuse the file.
pub(crate) fn write_tensors(tensors: &Tensors) -> Result<Vec<u8>, Malformed> {
    for (name, tensor) in &tensors.0 {
        check_name(name)?;
        check_shape(name, &tensor.shape, tensor.data.len() as u64)?;
    }
    check_count(tensors.0.len())?;
    let views = tensors
        .0
        .iter()
        .map(|(name, tensor)| (name, StoredTensor(tensor)));
    safetensors::serialize(views, None).map_err(|error| Malformed(error.to_string()))
}

/// Reads a safetensors file that may be damaged or hostile.
///
/// # Errors
/// [`Malformed`]: a header over 1 MiB, over 4096 tensors, a name used twice or with other
/// characters than `[A-Za-z0-9._-]`, a rank over 8, a type other than F32, F64, U32, U64 and U8,
/// or places that do not cover the data exactly.
pub(crate) fn read_tensors(bytes: &[u8]) -> Result<Tensors, Malformed> {
    check_header(bytes, width)?;
    let Foreign { tensors, others } = parse(bytes)?;
    match others.iter().next() {
        Some((name, form)) => Err(unknown_type(name, form)),
        None => Ok(tensors),
    }
}

/// The tensors of a file that something else wrote: those of types that nothing here computes with are only
/// named.
///
/// # Errors
/// As [`read_tensors`], but for the types.
pub(crate) fn read_foreign(bytes: &[u8]) -> Result<Foreign, Malformed> {
    check_header(bytes, |dtype| {
        width(dtype).or(match dtype {
            "BOOL" | "I8" => Some(1),
            "I16" | "U16" | "F16" | "BF16" => Some(2),
            "I32" => Some(4),
            "I64" => Some(8),
            _ => None,
        })
    })?;
    parse(bytes)
}

fn parse(bytes: &[u8]) -> Result<Foreign, Malformed> {
    let parsed = safetensors::SafeTensors::deserialize(bytes)
        .map_err(|error| Malformed(error.to_string()))?;
    let mut read = Foreign::default();
    for (name, view) in parsed.iter() {
        let shape = view.shape().to_vec();
        match data(&view) {
            Some(data) => {
                let tensor = Tensor { shape, data };
                read.tensors.0.insert(name.to_owned(), tensor);
            }
            None => {
                let form = format!("{} {shape:?}", view.dtype());
                read.others.insert(name.to_owned(), form);
            }
        }
    }
    Ok(read)
}

/// The bytes of a value of a type that is computed with here.
fn width(dtype: &str) -> Option<u64> {
    match dtype {
        "F32" | "U32" => Some(4),
        "F64" | "U64" => Some(8),
        "U8" => Some(1),
        _ => None,
    }
}

/// Values that were learned and are served must be finite.
pub(super) fn check_finite(tensors: &Tensors) -> Result<(), Malformed> {
    for (name, tensor) in &tensors.0 {
        let index = match &tensor.data {
            Data::F32(values) => values.iter().position(|value| !value.is_finite()),
            Data::F64(values) => values.iter().position(|value| !value.is_finite()),
            Data::U32(_) | Data::U64(_) | Data::U8(_) => None,
        };
        if let Some(index) = index {
            return Err(Malformed(format!(
                "tensor {name:?} has a value at index {index} that is not finite"
            )));
        }
    }
    Ok(())
}

fn data(view: &TensorView<'_>) -> Option<Data> {
    fn values<T, const WIDTH: usize>(bytes: &[u8], from_bytes: fn([u8; WIDTH]) -> T) -> Vec<T> {
        let items = bytes.chunks_exact(WIDTH);
        let items = items.map(|item| from_bytes(item.try_into().expect("exact chunks")));
        items.collect()
    }
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => Some(Data::F32(values(bytes, f32::from_le_bytes))),
        Dtype::F64 => Some(Data::F64(values(bytes, f64::from_le_bytes))),
        Dtype::U32 => Some(Data::U32(values(bytes, u32::from_le_bytes))),
        Dtype::U64 => Some(Data::U64(values(bytes, u64::from_le_bytes))),
        Dtype::U8 => Some(Data::U8(bytes.to_vec())),
        _ => None,
    }
}

/// A tensor as the safetensors crate wants to see it.
struct StoredTensor<'a>(&'a Tensor);

impl View for StoredTensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.data {
            Data::F32(_) => Dtype::F32,
            Data::F64(_) => Dtype::F64,
            Data::U32(_) => Dtype::U32,
            Data::U64(_) => Dtype::U64,
            Data::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.data.bytes())
    }

    fn data_len(&self) -> usize {
        self.0.data.len() * self.dtype().bitsize() / 8
    }
}

/// The JSON at the start of the file, with every name once.
struct TensorHeaders(BTreeMap<String, TensorHeader>);

/// The header of one tensor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorHeader {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for TensorHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TensorHeaders, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = TensorHeaders;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a safetensors header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TensorHeaders, A::Error> {
                let mut places = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<BTreeMap<String, String>>()?;
                        continue;
                    }
                    let place = map.next_value()?;
                    check_count(places.len() + 1).map_err(A::Error::custom)?;
                    check_name(&name).map_err(A::Error::custom)?;
                    if places.contains_key(&name) {
                        return Err(A::Error::custom(format!("tensor {name:?} is there twice")));
                    }
                    places.insert(name, place);
                }
                Ok(TensorHeaders(places))
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

fn check_header(bytes: &[u8], width: impl Fn(&str) -> Option<u64>) -> Result<(), Malformed> {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        let n_bytes = bytes.len();
        return Err(Malformed(format!(
            "{n_bytes} bytes hold no safetensors header"
        )));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX || length > rest.len() as u64 {
        let limit = HEADER_BYTES_MAX.min(rest.len() as u64);
        return Err(Malformed(format!(
            "a header of {length} bytes, expected at most {limit}"
        )));
    }
    let (header, data) = rest.split_at(length as usize);
    if header.first() != Some(&b'{') {
        return Err(Malformed("the header does not start with '{'".to_owned()));
    }
    let TensorHeaders(places) =
        serde_json::from_slice(header).map_err(|error| Malformed(format!("header: {error}")))?;
    check_places(&places, data.len() as u64, width)
}

/// Each tensor has the bytes that its shape needs, and together they cover the data.
fn check_places(
    places: &BTreeMap<String, TensorHeader>,
    data_bytes: u64,
    width: impl Fn(&str) -> Option<u64>,
) -> Result<(), Malformed> {
    let mut ranges = Vec::with_capacity(places.len());
    for (name, place) in places {
        let width = width(&place.dtype).ok_or_else(|| unknown_type(name, &place.dtype))?;
        let (start, end) = place.data_offsets;
        let n_bytes = end
            .checked_sub(start)
            .filter(|n_bytes| n_bytes % width == 0);
        let Some(n_bytes) = n_bytes else {
            return Err(Malformed(format!(
                "tensor {name:?} lies from byte {start} to {end}, expected a multiple of {width}"
            )));
        };
        check_shape(name, &place.shape, n_bytes / width)?;
        ranges.push((start, end, name));
    }
    ranges.sort_unstable();
    let mut covered = 0;
    for (start, end, name) in ranges {
        if start != covered {
            return Err(Malformed(format!(
                "tensor {name:?} starts at byte {start}, expected {covered}"
            )));
        }
        covered = end;
    }
    if covered != data_bytes {
        return Err(Malformed(format!(
            "the tensors take {covered} bytes, the file has {data_bytes}"
        )));
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), Malformed> {
    if count <= TENSORS_MAX {
        Ok(())
    } else {
        Err(Malformed(format!("more than {TENSORS_MAX} tensors")))
    }
}

fn check_name(name: &str) -> Result<(), Malformed> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(sound);
    if is_name {
        Ok(())
    } else {
        let start: String = name.chars().take(NAME_BYTES_MAX).collect();
        Err(Malformed(format!(
            "tensor name {start:?}, expected 1 to {NAME_BYTES_MAX} of [A-Za-z0-9._-]"
        )))
    }
}

fn check_shape(name: &str, shape: &[usize], n_values: u64) -> Result<(), Malformed> {
    if shape.len() > RANK_MAX {
        let rank = shape.len();
        return Err(Malformed(format!(
            "tensor {name:?} has {rank} dimensions, expected at most {RANK_MAX}"
        )));
    }
    let product = shape
        .iter()
        .try_fold(1u64, |product, extent| product.checked_mul(*extent as u64));
    if product != Some(n_values) {
        return Err(Malformed(format!(
            "tensor {name:?} of shape {shape:?} has {n_values} values"
        )));
    }
    Ok(())
}

fn unknown_type(name: &str, got: impl fmt::Display) -> Malformed {
    Malformed(format!(
        "tensor {name:?} has type {got}, expected F32, F64, U32, U64 or U8"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_f32("0.weight", &[2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE, 4.0]);
        tensors.put_f64("mean", &[], vec![f64::INFINITY]);
        tensors.put_u32("ids", &[0], vec![]);
        tensors.put_u64("count", &[1], vec![u64::MAX]);
        tensors.put_u8("text", &[3], b"abc".to_vec());
        tensors
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [
            &(header.len() as u64).to_le_bytes(),
            header.as_bytes(),
            data,
        ]
        .concat()
    }

    #[test]
    fn tensors_are_read_back_and_always_make_the_same_bytes() {
        for tensors in [sample(), Tensors::default()] {
            let bytes = write_tensors(&tensors).unwrap();
            assert_eq!(read_tensors(&bytes).unwrap(), tensors);
            assert_eq!(write_tensors(&tensors).unwrap(), bytes);
        }
    }

    #[test]
    fn hostile_headers_are_refused_in_a_sentence() {
        let check = |bytes: &[u8], message: &str| {
            assert_eq!(read_tensors(bytes).unwrap_err().0, message);
        };
        let header = |json: &str, data: &[u8], message: &str| check(&file(json, data), message);
        check(b"1234567", "7 bytes hold no safetensors header");
        check(
            &[&98_000_000u64.to_le_bytes()[..], &[b' '; 2 << 20]].concat(),
            "a header of 98000000 bytes, expected at most 1048576",
        );
        check(
            &u64::MAX.to_le_bytes(),
            "a header of 18446744073709551615 bytes, expected at most 0",
        );
        header(" {}", b"", "the header does not start with '{'");
        header("{}", b"1", "the tensors take 0 bytes, the file has 1");
        let tensor = |dtype: &str, shape: &str, range: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{range}}}}}"#)
        };
        let one = |dtype: &str, shape: &str, range: &str, message: &str| {
            header(&tensor(dtype, shape, range), &[0; 8], message);
        };
        let types = "tensor \"a\" has type F16, expected F32, F64, U32, U64 or U8";
        one("F16", "[4]", "[0,8]", types);
        one(
            "F32",
            "[3]",
            "[0,8]",
            "tensor \"a\" of shape [3] has 2 values",
        );
        let huge = "tensor \"a\" of shape [4294967296, 4294967296, 0] has 2 values";
        one("F32", "[4294967296,4294967296,0]", "[0,8]", huge);
        let rank = "tensor \"a\" has 9 dimensions, expected at most 8";
        one("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]", rank);
        let backwards = "tensor \"a\" lies from byte 8 to 0, expected a multiple of 4";
        one("F32", "[2]", "[8,0]", backwards);
        one(
            "F32",
            "[1]",
            "[4,8]",
            "tensor \"a\" starts at byte 4, expected 0",
        );
        one(
            "F32",
            "[1]",
            "[0,4]",
            "the tensors take 4 bytes, the file has 8",
        );
        one(
            "F32",
            "[4]",
            "[0,16]",
            "the tensors take 16 bytes, the file has 8",
        );
    }

    #[test]
    fn a_foreign_file_may_have_other_types() {
        let half = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},
                       "b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        let read = read_foreign(&file(half, &[0; 8])).unwrap();
        assert_eq!(read.others["a"], "F16 [2]");
        assert_eq!(read.tensors.0["b"].data, Data::F32(vec![0.0]));
        let short = half.replace("[4,8]", "[4,7]");
        assert!(read_foreign(&file(&short, &[0; 8])).is_err());
        let odd = half.replace("F16", "F17");
        let error = read_foreign(&file(&odd, &[0; 8])).unwrap_err();
        assert!(error.0.contains("type F17"), "{error}");
    }

    #[test]
    fn hostile_names_are_refused() {
        let check = |names: &[&str], message: &str| {
            let place = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
            let places: Vec<_> = names
                .iter()
                .map(|name| format!("{name:?}:{place}"))
                .collect();
            let header = format!("{{{}}}", places.join(","));
            let error = read_tensors(&file(&header, b"")).unwrap_err();
            assert!(error.0.contains(message), "{error}");
        };
        check(&["a", "a"], "tensor \"a\" is there twice");
        check(&["../a"], "tensor name \"../a\", expected 1 to 200");
        check(&[""], "tensor name \"\"");
        check(&["a b"], "tensor name \"a b\"");
        check(&["é"], "tensor name \"é\"");
        check(&[&"a".repeat(201)], "expected 1 to 200");
        let many: Vec<String> = (0..4097).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        check(&many, "more than 4096 tensors");
    }

    #[test]
    fn what_would_not_be_read_is_not_written() {
        let check = |name: &str, shape: &[usize], message: &str| {
            let data = Data::U8(vec![0]);
            let shape = shape.to_vec();
            let one = BTreeMap::from([(name.to_owned(), Tensor { shape, data })]);
            assert!(
                write_tensors(&Tensors(one))
                    .unwrap_err()
                    .0
                    .contains(message)
            );
        };
        check("a/b", &[1], "tensor name \"a/b\"");
        check("a", &[2], "of shape [2] has 1 values");
        check("a", &[1; 9], "9 dimensions");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            end in any::<prop::sample::Index>(),
        ) {
            let mut bytes = write_tensors(&sample()).unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read_tensors(&bytes);
            let _ = read_tensors(&bytes[..end.index(bytes.len())]);
        }
    }
}
