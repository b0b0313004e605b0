//! Operators of an ONNX file by numbers.
//!
//! They are the outputs of onnxruntime 1.32, within 1e-5, for files of the same nodes and tensors that
//! `onnx.helper` makes: `InferenceSession(file).run(None, {"x": x})[0]`, with
//! `x = numpy.arange(6, dtype="float32").reshape(1, *dims)` and weights
//! `numpy.sin(0.7 * numpy.arange(n))`.

use crate::pretrained::onnx::{check_formula, check_refused, wave};
use crate::support::onnx::{Onnx, Set};

const X: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

fn ints(values: &[i64]) -> Set {
    Set::Ints(values.to_vec())
}

/// A file that has `x [batch, ...dims]`.
fn file(dims: &[i64]) -> Onnx {
    let mut file = Onnx::new();
    file.input("x", 1, &[&[-1], dims].concat());
    file
}

fn check(file: &Onnx, expected: &[f32]) {
    check_formula(file, &[X.to_vec()], |_| expected.to_vec());
}

/// A split of `x` in three, joined again from the last to the first.
fn parts(lengths: &[i64]) -> Onnx {
    let mut file = file(&[6]);
    let along = [("axis", Set::Int(1))];
    file.ints("lengths", &[lengths.len()], lengths);
    file.node("Split", &["x", "lengths"], "a", &along);
    let more = ["b", "c"].map(str::to_owned);
    file.graph().node[0].output.extend(more);
    file.node("Concat", &["c", "b", "a"], "y", &along);
    file
}

#[test]
fn a_split_gives_its_parts() {
    check(&parts(&[1, 3, 2]), &[4.0, 5.0, 1.0, 2.0, 3.0, 0.0]);
    // Where nothing needs a part, its name may be missing.
    let mut alone = parts(&[1, 3, 2]);
    alone.graph().node[0].output[0].clear();
    alone.graph().node[1].input.remove(2);
    check(&alone, &[4.0, 5.0, 1.0, 2.0, 3.0]);
    // Equal parts.
    let mut gated = file(&[6]);
    let along = ("axis", Set::Int(-1));
    gated.node("Split", &["x"], "a", std::slice::from_ref(&along));
    gated.graph().node[0].output.push("b".to_owned());
    gated.node("Mul", &["a", "b"], "y", &[]);
    check(&gated, &[0.0, 4.0, 10.0]);
    let mut third = file(&[6]);
    third.0.opset_import[0].version = 18;
    let set = [along, ("num_outputs", Set::Int(3))];
    third.node("Split", &["x"], "a", &set);
    let more = ["b", "y"].map(str::to_owned);
    third.graph().node[0].output.extend(more);
    check(&third, &[4.0, 5.0]);
}

#[test]
fn p9_parts_that_are_not_there_are_refused() {
    for lengths in [&[1, 3, 3][..], &[1, 5], &[-1, 5, 2], &[i64::MAX; 3]] {
        check_refused(
            |file| *file = parts(lengths),
            "node \"Split of a\" (\"Split\"): [1, 6] in 3 parts along axis 1",
        );
    }
    check_refused(
        |file| {
            file.node("Dropout", &["y"], "end", &[]);
            file.graph().node[4].output.push("mask".to_owned());
        },
        "node \"Dropout of end\" (\"Dropout\"): output \"mask\" is not supported",
    );
}

/// `x [1, 2, 3]` with so much around it.
fn padded(mode: Option<&'static str>, pads: &[i64]) -> Onnx {
    let mut file = file(&[1, 2, 3]);
    file.ints("pads", &[pads.len()], pads);
    let mode: Vec<_> = mode.iter().map(|mode| ("mode", Set::Text(mode))).collect();
    file.node("Pad", &["x", "pads"], "y", &mode);
    file
}

#[test]
fn a_pad_stands_around_or_takes_away() {
    let pads = [0, 0, 1, 1, 0, 0, 0, 2];
    let check_pad = |mode, expected: &[f32]| check(&padded(mode, &pads), expected);
    let zeros = [
        0.0, 0.0, 0.0, 0.0, 0.0, 0.0, //
        0.0, 0.0, 1.0, 2.0, 0.0, 0.0, //
        0.0, 3.0, 4.0, 5.0, 0.0, 0.0,
    ];
    check_pad(None, &zeros);
    let reflected = [
        4.0, 3.0, 4.0, 5.0, 4.0, 3.0, //
        1.0, 0.0, 1.0, 2.0, 1.0, 0.0, //
        4.0, 3.0, 4.0, 5.0, 4.0, 3.0,
    ];
    check_pad(Some("reflect"), &reflected);
    let edges = [
        0.0, 0.0, 1.0, 2.0, 2.0, 2.0, //
        0.0, 0.0, 1.0, 2.0, 2.0, 2.0, //
        3.0, 3.0, 4.0, 5.0, 5.0, 5.0,
    ];
    check_pad(Some("edge"), &edges);
    let mut filled = padded(Some("constant"), &[1, -1]);
    filled.0.opset_import[0].version = 18;
    filled.floats("filler", &[], &[7.5]);
    filled.ints("axes", &[1], &[3]);
    let more = ["filler", "axes"].map(str::to_owned);
    filled.graph().node[0].input.extend(more);
    check(&filled, &[7.5, 0.0, 1.0, 7.5, 3.0, 4.0]);
    for pads in [&[0, 1][..], &[0; 6], &[0, 0, 0, -9, 0, 0, 0, 9]] {
        check_refused(|file| *file = padded(None, pads), "(\"Pad\"): ");
    }
}

/// As exports of `F.pad` write it: what their pads are is counted in the file.
#[test]
fn pads_may_be_turned_around_in_the_file() {
    let mut file = file(&[1, 2, 3]);
    file.ints("behind", &[4], &[1, 2, 1, 0]);
    file.ints("n_missing", &[1], &[4]);
    for (name, value) in [("first", 0), ("last", -1), ("end", i64::MIN + 1)] {
        file.ints(name, &[1], &[value]);
    }
    file.ints("in_pairs", &[2], &[-1, 2]);
    file.node("ConstantOfShape", &["n_missing"], "floats", &[]);
    file.node("Cast", &["floats"], "none", &[("to", Set::Int(7))]);
    let along = [("axis", Set::Int(0))];
    file.node("Concat", &["behind", "none"], "all", &along);
    file.node("Reshape", &["all", "in_pairs"], "pairs", &[]);
    let turned = ["pairs", "last", "end", "first", "last"];
    file.node("Slice", &turned, "turned", &[]);
    file.node(
        "Transpose",
        &["turned"],
        "columns",
        &[("perm", ints(&[1, 0]))],
    );
    file.node("Reshape", &["columns", "last"], "pads", &[]);
    file.node(
        "Pad",
        &["x", "pads"],
        "y",
        &[("mode", Set::Text("reflect"))],
    );
    let expected = [
        4.0, 3.0, 4.0, 5.0, 4.0, 3.0, //
        1.0, 0.0, 1.0, 2.0, 1.0, 0.0, //
        4.0, 3.0, 4.0, 5.0, 4.0, 3.0,
    ];
    check(&file, &expected);
}

/// The attributes in exports of `F.interpolate`.
fn interpolated(mode: &'static str, place: &'static str) -> Vec<(&'static str, Set)> {
    vec![
        ("coordinate_transformation_mode", Set::Text(place)),
        ("cubic_coeff_a", Set::Float(-0.75)),
        ("mode", Set::Text(mode)),
        ("nearest_mode", Set::Text("floor")),
    ]
}

/// `x [1, 2, 3]` in another size.
fn resized(mode: &'static str, place: &'static str, scales: [f32; 2]) -> Onnx {
    let mut file = file(&[1, 2, 3]);
    file.floats("scales", &[4], &[1.0, 1.0, scales[0], scales[1]]);
    let set = interpolated(mode, place);
    file.node("Resize", &["x", "", "scales"], "y", &set);
    file
}

const NEAREST: [f32; 24] = [
    0.0, 0.0, 1.0, 1.0, 2.0, 2.0, //
    0.0, 0.0, 1.0, 1.0, 2.0, 2.0, //
    3.0, 3.0, 4.0, 4.0, 5.0, 5.0, //
    3.0, 3.0, 4.0, 4.0, 5.0, 5.0,
];

#[test]
fn a_resize_takes_its_neighbours() {
    check(&resized("nearest", "asymmetric", [2.0, 2.0]), &NEAREST);
    let linear = [
        0.0, 0.25, 0.75, 1.25, 1.75, 2.0, //
        0.75, 1.0, 1.5, 2.0, 2.5, 2.75, //
        2.25, 2.5, 3.0, 3.5, 4.0, 4.25, //
        3.0, 3.25, 3.75, 4.25, 4.75, 5.0,
    ];
    for place in ["half_pixel", "pytorch_half_pixel"] {
        check(&resized("linear", place, [2.0, 2.0]), &linear);
    }
    let asymmetric = [0.0, 0.5, 1.0, 1.5, 2.0, 2.0];
    check(&resized("linear", "asymmetric", [0.5, 2.0]), &asymmetric);
}

#[test]
fn a_resize_may_name_sizes() {
    let corners = [0.0, 1.0, 2.0, 1.5, 2.5, 3.5, 3.0, 4.0, 5.0];
    let mut set = interpolated("linear", "align_corners");
    let mut all = file(&[1, 2, 3]);
    all.ints("first", &[1], &[0]);
    all.ints("end", &[1], &[1]);
    all.node("Shape", &["x"], "shape", &[]);
    all.node("Slice", &["shape", "first", "end"], "rows", &[]);
    let along = [("axis", Set::Int(0))];
    all.ints("others", &[3], &[1, 3, 3]);
    all.node("Concat", &["rows", "others"], "sizes", &along);
    all.node("Resize", &["x", "", "", "sizes"], "y", &set);
    check(&all, &corners);
    let mut pair = file(&[1, 2, 3]);
    pair.0.opset_import[0].version = 18;
    pair.ints("sizes", &[2], &[3, 3]);
    set.push(("axes", ints(&[2, 3])));
    pair.node("Resize", &["x", "", "", "sizes"], "y", &set);
    check(&pair, &corners);
    // Old exports leave an input out with a tensor of nothing.
    let mut old = resized("nearest", "asymmetric", [2.0, 2.0]);
    old.0.opset_import[0].version = 11;
    old.floats("none", &[0], &[]);
    old.graph().node[0].input[1] = "none".to_owned();
    check(&old, &NEAREST);
}

#[test]
fn p9_sizes_that_cannot_be_are_refused() {
    let check_scales = |scales, expected: &str| {
        check_refused(
            |file| *file = resized("nearest", "asymmetric", scales),
            expected,
        );
    };
    let above = "sizes or scales for [1, 1, 2, 3]: expected one above 0 for each axis";
    check_scales([0.1, 1.0], above);
    check_scales([-2.0, 1.0], above);
    check_scales([1e30, 1.0], "has more than 134217728 values");
    check_refused(
        |file| *file = resized("cubic", "half_pixel", [2.0, 2.0]),
        "mode = \"cubic\": expected nearest or linear",
    );
}

#[test]
fn a_transposed_convolution_spreads_its_values() {
    let mut file = file(&[2, 1, 3]);
    file.floats("w", &[2, 1, 2, 3], &wave(12, 0));
    file.floats("b", &[2], &[10.0, 20.0]);
    let set = [
        ("dilations", ints(&[1, 1])),
        ("group", Set::Int(2)),
        ("kernel_shape", ints(&[2, 3])),
        ("output_padding", ints(&[0, 1])),
        ("pads", ints(&[0, 1, 1, 1])),
        ("strides", ints(&[2, 2])),
    ];
    file.node("ConvTranspose", &["x", "w", "b"], "y", &set);
    let expected = [
        10.0, 10.0, 10.644217, 10.98545, 11.288435, 11.9709, //
        17.052643, 14.619897, 16.07019, 13.117055, 15.087737, 16.843666,
    ];
    check(&file, &expected);
}

#[test]
fn each_channel_is_convolved_by_itself() {
    let mut file = file(&[2, 1, 3]);
    file.floats("w", &[2, 1, 3, 2], &wave(12, 0));
    file.floats("b", &[2], &[10.0, 20.0]);
    let set = [
        ("group", Set::Int(2)),
        ("pads", ints(&[1, 0, 2, 1])),
        ("strides", ints(&[1, 2])),
    ];
    file.node("Conv", &["x", "w", "b"], "y", &set);
    let expected = [
        10.86321, 11.9709, 10.644217, 10.0, //
        18.173456, 16.843666, 13.455462, 15.642121,
    ];
    check(&file, &expected);
}

#[test]
fn the_largest_of_a_channel_is_found() {
    let mut file = file(&[2, 3]);
    file.node("Neg", &["x"], "n", &[]);
    file.node("GlobalMaxPool", &["n"], "y", &[]);
    check(&file, &[0.0, -3.0]);
}
