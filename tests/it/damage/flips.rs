//! A turned bit in any file of a data directory.
//!
//! Invariant: it is refused with the file's name and advice, or recovery names the part that it passes over
//! and comes to the same digest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use perennial::engine::{Config, Engine, Readiness};
use perennial::event::Order;
use perennial::store::{Error, checkpoint, verify};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use safetensors::tensor::{Dtype, TensorView};

use crate::damage::log::warnings;
use crate::support::layout::groups;
use crate::support::{
    Workspace, copy, digest, gradient, order, overwrite, syncing_nothing, teach_rows,
};

/// The kinds of files, and how each is called.
const KINDS: [(&str, &str); 5] = [
    ("segment", "00000000000000000001.seg"),
    ("manifest", "manifest.json"),
    ("weights", "weights.safetensors"),
    ("learner", "learner.safetensors"),
    ("start", "start.safetensors"),
];

/// How the flips ended, by file; one that went unseen is `silent`.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Refused when verified, by kind of file.
    pub refused: BTreeMap<&'static str, u64>,
    /// In the empty group at the end, which holds no entry: reported as torn.
    pub torn: u64,
    pub silent: u64,
    /// A model that was refused as a whole when it was opened.
    pub unavailable: u64,
    /// A model that came to the same digest, with a warning.
    pub warned: u64,
    /// A model that came to the same digest without a warning, where opening does not read the file:
    /// verifying refuses it.
    pub unread: u64,
}

/// Turns `n_flips` bits, each in a file of its own, and opens the model with every `nth` of them.
pub(super) fn turn(n_flips: u64, nth: u64, seed: u64) -> Found {
    println!("{n_flips} flips, seed {seed}");
    let intact = Intact::new();
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut found = Found::default();
    for n in 0..n_flips {
        let of_kind = &intact.files[n as usize % intact.files.len()];
        let (path, sound) = &of_kind[rng.random_range(0..of_kind.len())];
        let bit = rng.random_range(0..sound.len() * 8);
        let mut turned = sound.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        let place = format!("bit {bit} of {}", path.display());
        overwrite(&intact.workspace.data().join(path), &turned);
        if !intact.verify(path, sound, bit / 8, &mut found) {
            println!("unseen: {place}");
            found.silent += 1;
        }
        if n % nth == 0 {
            intact.open(path, &place, &mut found);
        }
        overwrite(&intact.workspace.data().join(path), sound);
    }
    found
}

/// A data directory with three checkpoints, a journal and the weights of the start, closed.
struct Intact {
    workspace: Workspace,
    digest: blake3::Hash,
    /// By kind, with their paths.
    files: [Vec<(PathBuf, Vec<u8>)>; KINDS.len()],
    /// Of the weights that it started with.
    start: blake3::Hash,
}

impl Intact {
    fn new() -> Intact {
        let toml = gradient("adamw", "4", "der++");
        let arrived = "hidden = [4]\nweights = \"net.safetensors\"";
        let workspace = Workspace::new(&[("m", &toml.replace("hidden = [4]", arrived))]);
        let weights = weights();
        fs::write(workspace.models().join("m/net.safetensors"), &weights).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let engine = workspace.open_on(syncing_nothing());
        let model = engine.model("m").unwrap();
        let digest = runtime.block_on(async {
            teach_rows(model, 20, 0.3, "first").await;
            order(model, Order::Checkpoint).await;
            teach_rows(model, 20, 0.3, "second").await;
            digest(model)
        });
        engine.close();
        let mut files = Vec::new();
        collect(&workspace.data(), Path::new("m"), &mut files);
        let files = KINDS.map(|(_, end)| {
            let of_kind = files.iter().filter(|(path, _)| path.ends_with(end));
            of_kind.cloned().collect()
        });
        Intact {
            workspace,
            digest,
            files,
            start: blake3::hash(&weights),
        }
    }

    /// Whether the damage at this byte is seen by who verifies the file.
    fn verify(&self, path: &Path, sound: &[u8], at: usize, found: &mut Found) -> bool {
        let data = self.workspace.data();
        if path.ends_with("start.safetensors") {
            return match checkpoint::load_start(&data.join(path), &self.start) {
                Ok(_) => false,
                Err(error) => self.refused(&error, path, found),
            };
        }
        let Some(position) = path.parent().and_then(position) else {
            return self.verify_segment(path, sound, at, found);
        };
        match checkpoint::load(&data.join("m/checkpoints"), position) {
            Ok(_) => false,
            Err(error) => self.refused(&error, path, found),
        }
    }

    fn verify_segment(&self, path: &Path, sound: &[u8], at: usize, found: &mut Found) -> bool {
        match verify(&self.workspace.data().join("m/journal")) {
            Ok(report) if report.torn_tail.is_some() => {
                let end = groups(sound).pop().unwrap();
                assert!(end.entries.is_empty() && at >= end.start, "byte {at}");
                found.torn += 1;
                true
            }
            Ok(_) => false,
            Err(error) => {
                check_place(&error, sound, at);
                self.refused(&error, path, found)
            }
        }
    }

    /// The sentence names the file and the remedy.
    fn refused(&self, error: &Error, path: &Path, found: &mut Found) -> bool {
        let check_sentence = error.to_string();
        let file = self.workspace.data().join(path);
        assert!(
            check_sentence.starts_with(file.to_str().unwrap()),
            "{check_sentence}"
        );
        assert!(
            check_sentence.contains("restore the file from a copy"),
            "{check_sentence}"
        );
        let kind = KINDS.iter().find(|(_, end)| path.ends_with(end)).unwrap();
        *found.refused.entry(kind.0).or_default() += 1;
        true
    }

    /// Opens the model on a copy.
    fn open(&self, path: &Path, place: &str, found: &mut Found) {
        let copied = tempfile::tempdir().unwrap();
        let data = copied.path().join("data");
        copy(&self.workspace.data(), &data);
        if path.ends_with("start.safetensors") {
            // Where there is a checkpoint, nothing needs the start.
            fs::remove_dir_all(data.join("m/checkpoints")).unwrap();
        }
        let config = Config {
            data,
            disk: syncing_nothing(),
            ..self.workspace.config()
        };
        let (engine, log) = warnings(|| Engine::open(config));
        let engine = engine.expect("one model stops no engine");
        let model = engine.model("m").unwrap();
        if let Readiness::Unavailable(reason) = model.status(false).state {
            let advice = "restore the file from a copy";
            let place = reason.contains("position") || reason.contains("start.safetensors");
            assert!(place && reason.contains(advice), "{reason}");
            found.unavailable += 1;
            return;
        }
        assert_eq!(digest(model), self.digest, "{place}: {log}");
        if log.contains("passing over a damaged checkpoint") {
            assert!(log.contains("restore the file from a copy"), "{log}");
            found.warned += 1;
        } else if log.contains("cut a torn end") {
            found.warned += 1;
        } else {
            found.unread += 1;
        }
    }
}

/// A network of two numbers and two classes, as PyTorch would have exported it.
fn weights() -> Vec<u8> {
    let layers: [(&str, &[usize]); 4] = [
        ("0.weight", &[4, 2]),
        ("0.bias", &[4]),
        ("2.weight", &[2, 4]),
        ("2.bias", &[2]),
    ];
    let parts = layers.map(|(name, shape)| {
        let n_values = shape.iter().product::<usize>();
        let values = (0..n_values).flat_map(|index| (index as f32).sin().to_le_bytes());
        (name, shape, values.collect::<Vec<u8>>())
    });
    let views = parts.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        (*name, view.expect("as many bytes"))
    });
    safetensors::serialize(views, None).expect("a file")
}

/// Damage in a segment names the first position of its group.
fn check_place(error: &Error, sound: &[u8], at: usize) {
    let Error::Damaged {
        position, offset, ..
    } = error
    else {
        panic!("{error}")
    };
    let groups = groups(sound);
    let group = groups
        .iter()
        .find(|group| (group.start..group.end).contains(&at));
    let expected = group.map_or((1, 0), |group| (group.first_position, group.start));
    assert_eq!(*position, expected.0, "{error}");
    assert!((expected.1..=at).contains(&(*offset as usize)), "{error}");
}

/// The position that a checkpoint's folder is of.
fn position(folder: &Path) -> Option<u64> {
    folder.file_name()?.to_str()?.parse().ok()
}

/// Every file below a folder, by its path from the root.
pub(super) fn collect(root: &Path, folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, files);
        } else {
            files.push((path, fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
}
