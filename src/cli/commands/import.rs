//! `perennial import`: checks a file of trained weights against the network of a description, and
//! copies it beside the description.
//!
//! Invariant: the file is copied only if every tensor fits, and never over another file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use perennial::engine::tensor_matches;
use perennial::model::{Spec, TensorMatch};
use perennial::store::checkpoint::FOREIGN_BYTES_MAX;
use perennial::store::regular;
use serde_json::json;

use crate::cli::output::print;

/// The largest part of a description that is read.
const DESCRIPTION_BYTES_MAX: u64 = 8 << 20;

/// The model folder, and the file of weights.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial import models/digits digits.safetensors")]
pub(crate) struct Args {
    /// The folder that holds the model.toml
    #[arg(value_name = "MODEL_FOLDER")]
    folder: PathBuf,
    /// Weights as PyTorch's nn.Sequential names them: safetensors, 32 bits
    #[arg(value_name = "FILE.safetensors")]
    file: PathBuf,
    /// Print JSON, one object a tensor
    #[arg(long)]
    json: bool,
}

/// Prints the check of each tensor, and copies the file if all fit.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let description = args.folder.join("model.toml");
    let matches = tensor_matches(&description, &args.file)?;
    for one in &matches {
        if args.json {
            print::line(object(one))?;
        } else {
            print::line(one)?;
        }
    }
    let n_wrong = matches.iter().filter(|one| one.advice.is_some()).count();
    let (n_tensors, file) = (matches.len(), args.file.display());
    ensure!(
        n_wrong == 0,
        "{file}: {n_wrong} of {n_tensors} tensors do not fit {}",
        description.display()
    );
    let name = args.file.file_name().context("the file has a name")?;
    let place = args.folder.join(name);
    put(&args.file, &place)?;
    let name = name.to_string_lossy();
    let toml = regular::read(Path::new("/"), &description, DESCRIPTION_BYTES_MAX)
        .with_context(|| description.display().to_string())?;
    let toml = String::from_utf8(toml).context("model.toml: expected UTF-8")?;
    let is_named = Spec::named(&toml)?.weights.as_deref() == Some(&*name);
    print::note(if is_named {
        format!(
            "all {n_tensors} tensors fit; it serves from {}",
            place.display()
        )
    } else {
        format!(
            "all {n_tensors} tensors fit; to start with them, write below [network] in {}: \
             weights = {name:?}",
            description.display()
        )
    });
    Ok(())
}

/// Copies the file, unless it is there already.
fn put(file: &Path, place: &Path) -> anyhow::Result<()> {
    // A person names both, so their links may lead anywhere.
    let read = |path: &Path| {
        let bytes = regular::read(Path::new("/"), path, FOREIGN_BYTES_MAX);
        bytes.with_context(|| path.display().to_string())
    };
    let bytes = read(file)?;
    if regular::is_there(place) {
        let there = read(place)?;
        let place = place.display();
        ensure!(
            there == bytes,
            "{place} is another file; move it away, or rename this one"
        );
        return Ok(());
    }
    fs::write(place, bytes).with_context(|| place.display().to_string())
}

fn object(one: &TensorMatch) -> serde_json::Value {
    json!({
        "name": one.name,
        "expected": one.expected,
        "found": one.found,
        "fits": one.advice.is_none(),
        "advice": one.advice,
    })
}
