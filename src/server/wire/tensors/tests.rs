//! Rows of every form, and each way in which a tensor can be wrong.
//!
//! Invariant: a refusal is compared as the whole sentence that a client reads.

use super::*;

const SPEC: &str = r#"
    task = "regression"
    [[input]]
    name = "n"
    kind = "number"
    [[input]]
    name = "gap"
    kind = "number"
    missing = "mean"
    [[input]]
    name = "c"
    kind = "category"
    [[input]]
    name = "v"
    kind = "vector"
    length = 2
"#;

type Given = (&'static str, &'static str, Vec<i64>, Vec<u8>);

fn floats(values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn singles(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Two sound rows, raw.
fn sound() -> Vec<Given> {
    vec![
        ("n", "FP64", vec![2], floats(&[1.0, 2.0])),
        ("gap", "FP64", vec![2, 1], floats(&[1.0, f64::NAN])),
        ("c", "BYTES", vec![2], b"\x01\0\0\0a\0\0\0\0".to_vec()),
        ("v", "FP32", vec![2, 2], singles(&[1.0, 2.0, 3.0, 4.0])),
    ]
}

fn tensor(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.into(),
        ..Default::default()
    }
}

fn raw(given: Vec<Given>) -> RequestTensors {
    let inputs = given
        .iter()
        .map(|(name, datatype, shape, _)| tensor(name, datatype, shape));
    RequestTensors {
        inputs: inputs.collect(),
        raw: given.iter().map(|given| given.3.clone().into()).collect(),
    }
}

fn read(tensors: RequestTensors) -> Result<Batch, Refusal> {
    let spec = Spec::parse(SPEC).expect("a sound description");
    batch(&spec, tensors, 4)
}

#[test]
fn rows_are_read_in_any_order_and_vectors_are_not_copied() {
    let mut tensors = raw(sound());
    tensors.inputs.reverse();
    tensors.raw.reverse();
    let vectors = tensors.raw[0].clone();
    let batch = read(tensors).expect("sound rows");
    assert_eq!(batch.n_rows, 2);
    assert_eq!(batch.columns[0], Column::Numbers(vec![1.0, 2.0]));
    assert_eq!(
        batch.columns[2],
        Column::Strings(vec!["a".into(), "".into()])
    );
    let Column::Vectors(kept) = &batch.columns[3] else {
        panic!("a vector")
    };
    assert_eq!(kept.as_ptr(), vectors.as_ptr());
}

/// Sound rows with the tensor at `index` replaced.
fn check_refused(index: usize, bad: Given, expected: &str) {
    let mut given = sound();
    given[index] = bad;
    let refusal = read(raw(given)).expect_err(expected);
    assert_eq!(refusal.message, format!("input {expected}"));
}

fn n(datatype: &'static str, shape: &[i64], bytes: Vec<u8>) -> Given {
    ("n", datatype, shape.to_vec(), bytes)
}

fn two() -> Vec<u8> {
    floats(&[1.0, 2.0])
}

#[test]
fn p9_a_raw_tensor_of_the_wrong_size_is_refused_by_name() {
    let check = check_refused;
    check(
        0,
        n("FP64", &[2], vec![0; 15]),
        "\"n\": 15 raw bytes, expected 16",
    );
    check(
        0,
        n("FP16", &[2], vec![0; 16]),
        "\"n\": 16 raw bytes, expected 4",
    );
    check(
        0,
        n("FP64", &[2, 2], two()),
        "\"n\": shape [2, 2], expected [rows] or [rows, 1]",
    );
    check(
        0,
        n("FP64", &[], two()),
        "\"n\": shape [], expected [rows] or [rows, 1]",
    );
    check(0, n("FP64", &[0], vec![]), "\"n\": 0 rows, expected 1 to 4");
    check(
        0,
        n("FP64", &[-1], two()),
        "\"n\": -1 rows, expected 1 to 4",
    );
    check(0, n("FP64", &[5], two()), "\"n\": 5 rows, expected 1 to 4");
    check(
        0,
        n("FP64", &[i64::MAX], two()),
        "\"n\": 9223372036854775807 rows, expected 1 to 4",
    );
    check(
        1,
        ("gap", "FP64", vec![1], floats(&[1.0])),
        "\"gap\": 1 rows, expected 2, as \"n\" has",
    );
}

#[test]
fn p9_a_raw_number_of_the_wrong_kind_is_refused_by_name() {
    let check = check_refused;
    let kinds = "expected FP64, FP32, FP16, BF16, INT8 to INT64, UINT8 to UINT64 or BOOL";
    check(
        0,
        n("BYTES", &[2], two()),
        &format!("\"n\": datatype BYTES, {kinds}"),
    );
    check(
        0,
        n("fp64", &[2], two()),
        &format!("\"n\": datatype fp64, {kinds}"),
    );
    let row = floats(&[1.0, f64::NAN]);
    check(
        0,
        n("FP64", &[2], row),
        "\"n\": row 1 is NaN, expected a finite number; an input with missing = \"mean\" takes a gap",
    );
    let row = floats(&[f64::INFINITY, 1.0]);
    let expected = "\"gap\": row 0 is inf, expected a finite number or NaN";
    check(1, ("gap", "FP64", vec![2], row), expected);
}

#[test]
fn p9_a_bad_raw_text_is_refused_by_name() {
    let check = check_refused;
    let c = |bytes: &[u8]| ("c", "BYTES", vec![2], bytes.to_vec());
    let form = "expected 2 elements, each its length in 4 bytes and its bytes";
    check(
        2,
        c(b"\x02\0\0\0a"),
        &format!("\"c\": raw bytes end within row 0, {form}"),
    );
    check(
        2,
        c(b"\0\0\0\0\xff\xff\xff\xff"),
        &format!("\"c\": raw bytes end within row 1, {form}"),
    );
    check(
        2,
        c(b"\0\0\0\0\0\0\0\0\0"),
        "\"c\": 1 raw bytes after the last row, expected 2 elements",
    );
    check(2, c(b"\x01\0\0\0\xff\0\0\0\0"), "\"c\": row 0 is not UTF-8");
    check(
        2,
        ("c", "FP64", vec![2], two()),
        "\"c\": datatype FP64, expected BYTES",
    );
    let long = [&65_537u32.to_le_bytes()[..], &[b'a'; 65_537], &[0; 4]].concat();
    check(
        2,
        c(&long),
        "\"c\": row 0 has 65537 bytes, expected at most 65536",
    );
}

#[test]
fn p9_a_bad_raw_vector_is_refused_by_name() {
    let check = check_refused;
    let v =
        |datatype, shape: &[i64], values: &[f32]| ("v", datatype, shape.to_vec(), singles(values));
    check(
        3,
        v("FP32", &[2], &[1.0; 2]),
        "\"v\": shape [2], expected [rows, 2]",
    );
    check(
        3,
        v("FP32", &[2, 3], &[1.0; 6]),
        "\"v\": shape [2, 3], expected [rows, 2]",
    );
    check(
        3,
        v("FP64", &[2, 2], &[1.0; 8]),
        "\"v\": datatype FP64, expected FP32",
    );
    check(
        3,
        v("FP32", &[2, 2], &[1.0; 3]),
        "\"v\": 12 raw bytes, expected 16",
    );
    let nan = "\"v\": value 3 is not finite, expected finite numbers";
    check(3, v("FP32", &[2, 2], &[1.0, 1.0, 1.0, f32::NAN]), nan);
    check(
        3,
        ("x", "FP32", vec![2, 2], vec![0; 16]),
        "\"x\": the model has no such input",
    );
    check(3, n("FP64", &[2], two()), "\"n\": given twice");
}

#[test]
fn p9_a_shape_of_many_dimensions_is_counted_and_not_shown() {
    for index in [0, 3] {
        let mut tensors = raw(sound());
        tensors.inputs[index].shape = vec![1; 100_000];
        let refusal = read(tensors).unwrap_err().message;
        let expected = ": shape of 100000 dimensions, expected [rows";
        assert!(refusal.contains(expected), "{refusal}");
        assert!(refusal.len() < 100, "{refusal}");
    }
}

#[test]
fn p9_tensors_must_be_complete_and_all_of_one_form() {
    let check = |change: fn(&mut RequestTensors), expected: &str| {
        let mut tensors = raw(sound());
        change(&mut tensors);
        assert_eq!(read(tensors).unwrap_err().message, expected);
    };
    check(
        |t| drop((t.inputs.pop(), t.raw.pop())),
        "input \"v\": missing, expected a vector",
    );
    check(
        |t| (t.inputs, t.raw) = (Vec::new(), Vec::new()),
        "input \"n\": missing, expected a number",
    );
    check(
        |t| drop(t.raw.pop()),
        "3 raw buffers, expected 4: one for each input",
    );
    check(
        |t| {
            t.inputs[1].contents = Some(InferTensorContents {
                fp64_contents: vec![1.0],
                ..Default::default()
            });
        },
        "input \"gap\": both raw and typed values, expected one of them",
    );
    check(
        |t| t.raw.clear(),
        "input \"n\": 0 values in fp64_contents, expected 2, for datatype FP64",
    );
}

/// One typed number.
fn check_typed(datatype: &str, contents: InferTensorContents, expected: Result<f64, &str>) {
    let spec = "task = \"regression\"\n[[input]]\nname = \"n\"\nkind = \"number\"";
    let spec = Spec::parse(spec).expect("a sound description");
    let mut typed = tensor("n", datatype, &[1]);
    typed.contents = Some(contents);
    let inputs = vec![typed];
    let got = batch(
        &spec,
        RequestTensors {
            inputs,
            raw: vec![],
        },
        4,
    );
    let got = got
        .map(|batch| batch.columns)
        .map_err(|refusal| refusal.message);
    let expected = expected.map(|value| vec![Column::Numbers(vec![value])]);
    let expected = expected.map_err(|what| format!("input \"n\": {what}"));
    assert_eq!(got, expected, "{datatype}");
}

fn int(value: i32) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    contents.int_contents.push(value);
    contents
}

fn uint(value: u32) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    contents.uint_contents.push(value);
    contents
}

#[test]
fn p9_typed_integers_are_read_within_their_datatype() {
    let check = check_typed;
    check("INT8", int(-128), Ok(-128.0));
    check("INT8", int(128), Err("128 is outside of INT8"));
    check("INT16", int(-32_769), Err("-32769 is outside of INT16"));
    check("INT32", int(i32::MIN), Ok(-2_147_483_648.0));
    check("UINT8", uint(256), Err("256 is outside of UINT8"));
    check("UINT16", uint(65_535), Ok(65_535.0));
    check("UINT16", uint(65_536), Err("65536 is outside of UINT16"));
    check("UINT32", uint(u32::MAX), Ok(4_294_967_295.0));
}

#[test]
fn p9_typed_numbers_are_read_from_the_field_of_their_datatype() {
    let check = |datatype: &str, fill: fn(&mut InferTensorContents), expected| {
        let mut contents = InferTensorContents::default();
        fill(&mut contents);
        check_typed(datatype, contents, expected);
    };
    check("INT64", |c| c.int64_contents.push(-3), Ok(-3.0));
    check("UINT64", |c| c.uint64_contents.push(3), Ok(3.0));
    check("BOOL", |c| c.bool_contents.push(true), Ok(1.0));
    check("FP32", |c| c.fp32_contents.push(0.5), Ok(0.5));
    check("FP64", |c| c.fp64_contents.push(0.5), Ok(0.5));
    let raw_only = "datatype FP16 in contents, expected it raw";
    check("FP16", |c| c.int_contents.push(1), Err(raw_only));
    let missing = "0 values in fp64_contents, expected 1, for datatype FP64";
    check("FP64", |c| c.int_contents.push(1), Err(missing));
    let beside = "values beside fp32_contents, expected only those, for datatype FP32";
    let both = |c: &mut InferTensorContents| {
        c.fp32_contents.push(1.0);
        c.int_contents.push(1);
    };
    check("FP32", both, Err(beside));
}

#[test]
fn an_input_that_a_row_may_be_without_may_be_left_out() {
    let kinds = [
        ("a", "number", "mean"),
        ("b", "time", "mean"),
        ("c", "category", "empty"),
    ];
    let input = |(name, kind, missing): &(&str, &str, &str)| {
        format!("[[input]]\nname = '{name}'\nkind = '{kind}'\nmissing = '{missing}'\n")
    };
    let inputs: String = kinds.iter().map(input).collect();
    let toml = format!("task = 'regression'\n[[input]]\nname = 'n'\nkind = 'number'\n{inputs}");
    let spec = Spec::parse(&toml).expect("a description");
    let given = raw(vec![("n", "FP64", vec![2], floats(&[1.0, 2.0]))]);
    let batch = batch(&spec, given, 4).expect("two rows");
    assert_eq!(batch.n_rows, 2);
    assert!(matches!(&batch.columns[1], Column::Numbers(a) if a.iter().all(|a| a.is_nan())));
    for column in &batch.columns[2..] {
        assert_eq!(*column, Column::Strings(vec![String::new(); 2]));
    }
    let alone = raw(vec![("c", "BYTES", vec![1], b"\x01\0\0\0a".to_vec())]);
    let refused = super::batch(&spec, alone, 4).expect_err("n is not there");
    assert_eq!(refused.message, "input \"n\": missing, expected a number");
}
