//! Streams for the benches: from PERENNIAL_DATA or ../shared/data, or generated where neither is.
//!
//! Invariant: seeded and complete in memory before anything is timed.

#![allow(dead_code, reason = "each bench takes what it needs")]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

/// Grey images of 28 x 28 with their digits.
pub(crate) struct Images {
    pub(crate) pixels: Vec<[u8; 784]>,
    pub(crate) digits: Vec<u8>,
}

/// Where the data are, if they are there.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("PERENNIAL_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folders = named.into_iter().chain([beside]);
    folders
        .into_iter()
        .find(|folder| folder.join("elec2.csv.gz").exists())
}

impl Images {
    /// Reads `<name>-images-idx3-ubyte.gz` and its labels.
    pub(crate) fn read(folder: &Path, name: &str) -> Result<Images> {
        let images = unpacked(&folder.join(format!("mnist-{name}-images-idx3-ubyte.gz")))?;
        let labels = unpacked(&folder.join(format!("mnist-{name}-labels-idx1-ubyte.gz")))?;
        ensure!(images.len() > 16 && labels.len() > 8, "MNIST is cut off");
        let pixels: Vec<[u8; 784]> = images[16..]
            .chunks_exact(784)
            .map(|image| image.try_into().expect("784 pixels"))
            .collect();
        let digits = labels[8..].to_vec();
        ensure!(pixels.len() == digits.len(), "a label for each image");
        Ok(Images { pixels, digits })
    }

    /// The first `n_images` of them.
    pub(crate) fn first(mut self, n_images: usize) -> Images {
        self.pixels.truncate(n_images);
        self.digits.truncate(n_images);
        self
    }

    /// Ten blurred shapes under noise.
    pub(crate) fn generated(n_images: usize) -> Images {
        let mut random = Random(0x5eed);
        let shapes: Vec<Vec<u64>> = (0..10)
            .map(|_| (0..784).map(|_| random.below(5)).collect())
            .collect();
        let mut images = Images {
            pixels: Vec::new(),
            digits: Vec::new(),
        };
        for _ in 0..n_images {
            let digit = random.below(10) as usize;
            let pixel = |index: usize| match shapes[digit][index] {
                0 => 100 + random.below(156) as u8,
                _ => random.below(60) as u8,
            };
            images.pixels.push(std::array::from_fn(pixel));
            images.digits.push(digit as u8);
        }
        images
    }
}

/// Rows of eight numbers with one of two labels.
pub(crate) struct Rows {
    pub numbers: Vec<[f64; 8]>,
    pub labels: Vec<String>,
}

impl Rows {
    /// Reads elec2.csv.gz, whose last column is the label.
    pub(crate) fn elec2(folder: &Path) -> Result<Rows> {
        let text = String::from_utf8(unpacked(&folder.join("elec2.csv.gz"))?)?;
        let mut rows = Rows {
            numbers: Vec::new(),
            labels: Vec::new(),
        };
        for line in text.lines().skip(1) {
            let (numbers, label) = line.rsplit_once(',').context("a row without a label")?;
            let numbers: Vec<f64> = numbers
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            let numbers = numbers.try_into();
            let numbers = numbers.map_err(|_| anyhow::anyhow!("elec2 has eight inputs"))?;
            rows.numbers.push(numbers);
            rows.labels.push(label.to_owned());
        }
        Ok(rows)
    }

    /// As many rows, whose border turns slowly.
    pub(crate) fn generated() -> Rows {
        let mut random = Random(0x5eed);
        let mut rows = Rows {
            numbers: Vec::new(),
            labels: Vec::new(),
        };
        for index in 0..45_312 {
            let numbers: [f64; 8] = std::array::from_fn(|_| random.uniform());
            let turn = f64::from(index) / 10_000.0;
            let side = (numbers[0] - 0.5) * turn.cos() + (numbers[1] - 0.5) * turn.sin();
            rows.numbers.push(numbers);
            rows.labels
                .push(if side > 0.0 { "up" } else { "down" }.to_owned());
        }
        rows
    }
}

/// A small seeded generator (Marsaglia 2003).
pub(crate) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `0..n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.uniform() * n as f64) as u64
    }

    /// A random order of `0..n` (Fisher and Yates).
    pub(crate) fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for place in (1..n).rev() {
            order.swap(place, self.below(place as u64 + 1) as usize);
        }
        order
    }
}

pub(crate) fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| path.display().to_string())?;
    GzDecoder::new(file).read_to_end(&mut bytes)?;
    Ok(bytes)
}
