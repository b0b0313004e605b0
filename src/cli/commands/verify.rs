//! `perennial verify`: checks every journal and checkpoint of a data directory.
//!
//! Invariant: it changes nothing, and damage of one model does not hide that of another.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use perennial::engine::check_kept_encoders;
use perennial::event::{Entry, Event};
use perennial::model::Spec;
use perennial::store::regular::is_there;
use perennial::store::{self, Directory, JournalReport, Manifest, Reader, checkpoint};
use rayon::prelude::*;
use serde_json::json;

use crate::cli::output::print;

/// The data directory, and the folder of models.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial verify --data data")]
pub(crate) struct Args {
    /// The data directory; no server may have it open
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// The folder of models: data of a model without a description is reported
    #[arg(long, value_name = "FOLDER", default_value = "models")]
    models: PathBuf,
    /// Print JSON, one object a model
    #[arg(long)]
    json: bool,
}

/// Checks every model, each on its own thread, and prints a line for each.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let directory = Directory::inspect(&args.data)?;
    let models = directory.models()?;
    note_undescribed(&args.models, &models);
    // The process keeps rayon's own pool at one thread.
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(n_threads.min(models.len()).max(1))
        .build()
        .context("start the threads")?;
    let findings: Vec<ModelReport> = pool.install(|| {
        let models = models.into_par_iter();
        models.map(|model| check(&directory, model)).collect()
    });
    for finding in &findings {
        if args.json {
            print::line(finding.object())?;
        } else {
            print::line(finding.line())?;
        }
    }
    let n_damaged = findings
        .iter()
        .filter(|finding| !finding.damage.is_empty())
        .count();
    ensure!(
        n_damaged == 0,
        "{n_damaged} of {} models are damaged",
        findings.len()
    );
    Ok(())
}

/// Notes the models that have data and no description.
fn note_undescribed(folder: &Path, models: &[String]) {
    for model in models.iter().filter(|_| folder.is_dir()) {
        if !is_there(&folder.join(model).join("model.toml")) {
            let text = "has data, and no model.toml: it is not served";
            print::note(format_args!("{model} {text}"));
        }
    }
}

/// The results for one model.
#[derive(Default)]
struct ModelReport {
    model: String,
    segments: u64,
    entries: u64,
    bytes: u64,
    erased: u64,
    last_position: u64,
    checkpoints: u64,
    /// The torn end that a crash left; it is no damage.
    torn: Option<String>,
    /// Each damage, as a sentence.
    damage: Vec<String>,
}

fn check(directory: &Directory, model: String) -> ModelReport {
    let mut finding = ModelReport::default();
    let journal = directory.journal(&model);
    let checkpoints = directory.checkpoints(&model);
    finding.model = model;
    if let Err(error) = directory.check(&finding.model) {
        finding.damage.push(error.to_string());
        return finding;
    }
    let report = match store::verify(&journal) {
        Ok(report) => Some(report),
        Err(error) => {
            finding.damage.push(error.to_string());
            None
        }
    };
    if let Some(report) = &report {
        finding.segments = report.segments;
        finding.entries = report.entries;
        finding.bytes = report.bytes;
        finding.erased = report.erased;
        finding.last_position = report.last_position;
        finding.torn = report.torn_tail.as_ref().map(|cut| {
            let (bytes, position) = (cut.bytes, cut.position);
            format!("a torn end of {bytes} bytes from position {position}, cut at the next start")
        });
    }
    if let Some(report) = &report {
        let ids = directory.ids(&finding.model);
        let checked = store::ids::verify(&ids, &report.journal_id);
        finding
            .damage
            .extend(checked.err().map(|error| error.to_string()));
    }
    let start = directory.start(&finding.model);
    let checked = check_start(&journal, &start);
    finding
        .damage
        .extend(checked.err().map(|error| error.to_string()));
    let encoders = directory.encoders(&finding.model);
    finding.damage.extend(check_kept_encoders(&encoders));
    for folder in [checkpoints, directory.frozen(&finding.model)] {
        check_checkpoints(&folder, &journal, report.as_ref(), &mut finding);
    }
    finding
}

/// Checks every checkpoint of a folder.
fn check_checkpoints(
    checkpoints: &Path,
    journal: &Path,
    report: Option<&JournalReport>,
    finding: &mut ModelReport,
) {
    let listed = checkpoint::list(checkpoints).unwrap_or_else(|error| {
        finding.damage.push(error.to_string());
        Vec::new()
    });
    for listed in listed {
        finding.checkpoints += 1;
        let loaded = checkpoint::load(checkpoints, listed.position);
        let belongs = loaded.and_then(|found| match report {
            Some(report) => belongs(journal, report, checkpoints, &found.manifest),
            None => Ok(()),
        });
        finding
            .damage
            .extend(belongs.err().map(|error| error.to_string()));
    }
}

/// Checks the initial weights of a model against the first entry of its journal.
fn check_start(journal: &Path, start: &Path) -> anyhow::Result<()> {
    let entry = Reader::open(journal, 1, 0).and_then(|mut reader| reader.next(1));
    // Damage of the journal itself is reported elsewhere.
    let Ok(Some(Entry {
        event: Event::Description(description),
        ..
    })) = entry
    else {
        return Ok(());
    };
    if let Some(pinned) = Spec::journaled(&description.toml)?.weights() {
        checkpoint::load_start(start, &pinned.digest)?;
    }
    Ok(())
}

/// Checks that a checkpoint is of this journal, and not ahead of it.
fn belongs(
    journal: &Path,
    report: &JournalReport,
    checkpoints: &Path,
    manifest: &Manifest,
) -> Result<(), store::Error> {
    let position = manifest.position;
    let journal_id = report.journal_id.iter().map(|byte| format!("{byte:02x}"));
    if manifest.journal_id != journal_id.collect::<String>() {
        return Err(store::Error::Foreign {
            path: checkpoints.to_owned(),
            what: format!(
                "the checkpoint at position {position} is of another journal; \
                 move it out of this folder"
            ),
        });
    }
    if report.last_position < position {
        Err(store::Error::CheckpointAhead {
            path: journal.to_owned(),
            checkpoint: position,
            last: report.last_position,
        })
    } else {
        Ok(())
    }
}

impl ModelReport {
    fn line(&self) -> String {
        if !self.damage.is_empty() {
            return format!("{}: damaged: {}", self.model, self.damage.join("; "));
        }
        let torn = self.torn.as_ref();
        let torn = torn.map_or_else(String::new, |torn| format!("; {torn}"));
        let erased = match self.erased {
            0 => String::new(),
            n => format!(" ({n} erased)"),
        };
        format!(
            "{}: sound: {} entries{erased} in {} segments, {} bytes, {} checkpoints{torn}",
            self.model, self.entries, self.segments, self.bytes, self.checkpoints
        )
    }

    fn object(&self) -> serde_json::Value {
        json!({
            "model": self.model,
            "sound": self.damage.is_empty(),
            "entries": self.entries,
            "segments": self.segments,
            "bytes": self.bytes,
            "erased": self.erased,
            "last_position": self.last_position,
            "checkpoints": self.checkpoints,
            "torn": self.torn,
            "damage": self.damage,
        })
    }
}
