//! Seeded random filters of images, for vectors that are declared with a shape.
//!
//! Each filter is a Gaussian square of pixels of length one, laid over every place of the image; its
//! output is cut off below zero and averaged over squares of places (Coates, Lee and Ng 2011, with
//! random filters as in Saxe et al. 2011). A learner of such features need not learn again
//! for each pixel that a stroke has moved.
//!
//! Invariant: a function of the description alone, so nothing of it is ever saved; the work of a row is
//! bounded by strides over large images.

use std::sync::Arc;

use pulp::Arch;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::model::linear_algebra::gaussian::gaussian;
use crate::model::spec::{InputKind, Spec};

/// Filters of an image.
const FILTERS: usize = 24;
/// Pixels on a side of a filter, and places on a side of a square that is averaged.
const SIDE: usize = 6;
const POOL: usize = 4;
/// Places on a side of an image at most: beyond, filters move by more than one pixel.
const PLACES: usize = 32;
/// The outputs of filters of length one on a standardised image have a mean square of one half.
const GAIN: f32 = std::f32::consts::SQRT_2;

/// The filters of the images among the dense inputs of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Filters {
    /// The parts, in the order of the inputs, which they cover.
    parts: Vec<DensePart>,
}

#[derive(Clone, Debug, PartialEq)]
enum DensePart {
    /// A number of inputs that are taken as they are.
    Plain(usize),
    Image(Image),
}

/// The filters of one image `[height, width, channels]`.
#[derive(Clone, Debug, PartialEq)]
struct Image {
    shape: [usize; 3],
    /// Along height and width.
    sides: [FilterAxis; 2],
    /// `[pixels of a filter, FILTERS]`.
    weights: Arc<[f32]>,
}

/// The layout of filters along one side of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
struct FilterAxis {
    /// Pixels of a filter.
    n_pixels: usize,
    /// Pixels from one place to the next.
    stride: usize,
    /// Places that are averaged, and how many averages there are.
    pool: usize,
    n_pooled: usize,
}

impl FilterAxis {
    fn new(extent: usize) -> FilterAxis {
        let n_pixels = extent.min(SIDE);
        let n_steps = extent - n_pixels + 1;
        let stride = n_steps.div_ceil(PLACES);
        let n_places = n_steps.div_ceil(stride);
        let pool = n_places.min(POOL);
        FilterAxis {
            n_pixels,
            stride,
            pool,
            n_pooled: n_places / pool,
        }
    }
}

impl Filters {
    /// The filters of the vectors with a shape; none without such vectors, or under earlier revisions of the
    /// rules than the third.
    pub fn new(spec: &Spec) -> Option<Filters> {
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        rng.set_stream(u64::from(u32::MAX));
        let part = |kind: &InputKind| match kind {
            InputKind::Vector {
                shape: Some(shape), ..
            } => DensePart::Image(Image::new(*shape, &mut rng)),
            kind => DensePart::Plain(kind.n_dense()),
        };
        let parts: Vec<DensePart> = spec
            .inputs
            .iter()
            .map(|input| &input.kind)
            .map(part)
            .collect();
        let has_image = parts.iter().any(|part| matches!(part, DensePart::Image(_)));
        (spec.filters_images() && has_image).then_some(Filters { parts })
    }

    /// The number of features of the filters.
    pub(crate) fn n_features(&self) -> usize {
        let features = self.parts.iter().map(|part| match part {
            DensePart::Plain(n) => *n,
            DensePart::Image(image) => image.n_features(),
        });
        features.sum()
    }

    /// The features of the dense inputs of a row.
    pub fn apply(&self, mut dense: &[f32]) -> Vec<f32> {
        let mut features = Vec::with_capacity(self.n_features());
        for part in &self.parts {
            let n_inputs = match part {
                DensePart::Plain(n) => *n,
                DensePart::Image(image) => image.shape.iter().product(),
            };
            let (inputs, rest) = dense.split_at(n_inputs);
            match part {
                DensePart::Plain(_) => features.extend_from_slice(inputs),
                DensePart::Image(image) => image.append(inputs, &mut features),
            }
            dense = rest;
        }
        features
    }
}

impl Image {
    fn new(shape: [usize; 3], rng: &mut ChaCha8Rng) -> Image {
        let [height, width, n_channels] = shape;
        let sides = [FilterAxis::new(height), FilterAxis::new(width)];
        let n_weights = sides[0].n_pixels * sides[1].n_pixels * n_channels;
        let mut weights = vec![0.0; n_weights * FILTERS];
        for filter in 0..FILTERS {
            let drawn: Vec<f32> = (0..n_weights).map(|_| gaussian(rng)).collect();
            let length = drawn.iter().map(|x| x * x).sum::<f32>().sqrt();
            for (place, x) in drawn.iter().enumerate() {
                weights[place * FILTERS + filter] = GAIN * x / length.max(f32::MIN_POSITIVE);
            }
        }
        Image {
            shape,
            sides,
            weights: weights.into(),
        }
    }

    fn n_features(&self) -> usize {
        self.sides[0].n_pooled * self.sides[1].n_pooled * FILTERS
    }

    /// Appends the features of an image, `[rows of averages, columns, FILTERS]`.
    fn append(&self, pixels: &[f32], features: &mut Vec<f32>) {
        let [rows, columns] = self.sides;
        let weight = 1.0 / (rows.pool * columns.pool) as f32;
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for at in 0..rows.n_pooled * columns.n_pooled {
                    let (row, column) = (at / columns.n_pooled, at % columns.n_pooled);
                    let mut sums = [0.0f32; FILTERS];
                    for place in 0..rows.pool * columns.pool {
                        let top = (row * rows.pool + place / columns.pool) * rows.stride;
                        let left = (column * columns.pool + place % columns.pool) * columns.stride;
                        let given = self.at(pixels, top, left);
                        for (sum, given) in sums.iter_mut().zip(given) {
                            *sum += given.max(0.0);
                        }
                    }
                    features.extend(sums.iter().map(|sum| weight * sum));
                }
            },
        );
    }

    /// The response of each filter at one place.
    #[inline(always)]
    fn at(&self, pixels: &[f32], top: usize, left: usize) -> [f32; FILTERS] {
        let [_, width, n_channels] = self.shape;
        let [_, columns] = self.sides;
        let n_across = columns.n_pixels * n_channels;
        let mut given = [0.0f32; FILTERS];
        let lines = self.weights.chunks_exact(n_across * FILTERS);
        for (line, weights) in lines.enumerate() {
            let start = ((top + line) * width + left) * n_channels;
            let pixels = &pixels[start..start + n_across];
            for (pixel, weights) in pixels.iter().zip(weights.chunks_exact(FILTERS)) {
                for (given, weight) in given.iter_mut().zip(weights) {
                    *given += pixel * weight;
                }
            }
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(shapes: &[&str], n_numbers: usize) -> Option<Filters> {
        let mut toml = "task = \"regression\"\n".to_owned();
        for index in 0..n_numbers {
            toml += &format!("[[input]]\nname = \"x{index}\"\nkind = \"number\"\n");
        }
        for (index, shape) in shapes.iter().enumerate() {
            toml += &format!("[[input]]\nname = \"v{index}\"\nkind = \"vector\"\n{shape}\n");
        }
        Filters::new(&Spec::parse(&toml).expect("a description"))
    }

    #[test]
    fn an_image_has_features_of_its_squares_and_numbers_stay() {
        let check = |shape: &str, expected: usize| {
            let filters = filters(&[shape], 2).expect("an image");
            assert_eq!(filters.n_features(), 2 + expected, "{shape}");
            let n_pixels = shape.split_once("length = ").expect("a length").1;
            let n_pixels: usize = n_pixels.parse().expect("a number");
            let dense: Vec<f32> = (0..n_pixels + 2).map(|x| (x % 5) as f32 - 2.0).collect();
            let features = filters.apply(&dense);
            assert_eq!(features[..2], dense[..2]);
            assert_eq!(features.len(), 2 + expected);
            assert!(features[2..].iter().all(|x| *x >= 0.0 && x.is_finite()));
        };
        check("shape = [28, 28]\nlength = 784", 5 * 5 * 24);
        check("shape = [28, 28, 1]\nlength = 784", 5 * 5 * 24);
        check("shape = [8, 8]\nlength = 64", 24);
        check("shape = [32, 32, 3]\nlength = 3072", 6 * 6 * 24);
        check("shape = [1, 7]\nlength = 7", 24);
        check("shape = [128, 100, 3]\nlength = 38400", 7 * 8 * 24);
        assert_eq!(filters(&["length = 784"], 1), None);
    }

    #[test]
    fn a_stroke_that_moves_by_a_pixel_changes_features_less_than_pixels() {
        let filters = filters(&["shape = [28, 28]\nlength = 784"], 0).expect("an image");
        let stroke = |column: usize| {
            let mut pixels = vec![-0.4f32; 784];
            (6..22).for_each(|row| pixels[row * 28 + column] = 2.8);
            pixels
        };
        let apart = |a: &[f32], b: &[f32]| {
            let squares = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
            let between: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            squares(&between) / squares(a)
        };
        let (one, other) = (stroke(13), stroke(14));
        let features = apart(&filters.apply(&one), &filters.apply(&other));
        assert!(features < 0.3 * apart(&one, &other), "{features}");
    }
}
