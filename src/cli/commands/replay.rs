//! `perennial replay`: applies the journal again, to verify it or under another description.
//!
//! Invariant: nothing on disk is changed without `--adopt`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use perennial::engine::{ChampionChange, Offline, Replay, ReplayReport, describe};
use perennial::learn::Evaluation;
use serde_json::json;

use crate::cli::output::print::{self, ProgressLine, counted};

/// Entries between two updates of the progress line.
const STRIDE: u64 = 1024;

/// The model, and the description to apply.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial replay fraud
  perennial replay fraud --with models/fraud-next/model.toml
  perennial replay fraud --with models/fraud-next/model.toml --adopt")]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// The data directory; no server may have it open
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// Start from this version instead of the first entry
    #[arg(long, value_name = "VERSION", conflicts_with = "with")]
    from: Option<u64>,
    /// Apply the journal under this description, and compare the scores
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// Adopt the description, and make a version of the state under it
    #[arg(long, requires = "with")]
    adopt: bool,
    /// The reason, shown in the list of versions
    #[arg(long, value_name = "TEXT", default_value = "", requires = "adopt")]
    note: String,
    /// Print JSON, one object
    #[arg(long)]
    json: bool,
}

/// Applies the journal again, and prints the comparison.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let offline = Offline::open(&args.data, &args.model)?;
    let Some(with) = &args.with else {
        let started = Instant::now();
        let mut replay = offline.replay(args.from)?;
        finish(&mut replay, "replayed")?;
        return verified(&args, &replay.outcome(), started.elapsed().as_secs_f64());
    };
    let described = describe(with)?;
    offline.keep_encoders(&described)?;
    let mut replay = offline.replay_with(described.description)?;
    finish(&mut replay, "with it")?;
    compared(&args, &offline.served()?, &replay.outcome())?;
    if !args.adopt {
        return Ok(());
    }
    let (made, change) = offline.adopt(replay, print::user(), args.note.clone())?;
    if args.json {
        print::line(json!({
            "version": made.version,
            "position": made.position,
            "champion": change.as_ref().map(|change| change.after.version),
            "approvals_void": change.map(|change| change.void),
        }))?;
    } else {
        print::line(format_args!(
            "made version {} at position {}",
            made.version, made.position
        ))?;
        change.iter().try_for_each(champion)?;
    }
    if !is_own(with, &args.model) {
        print::note(format_args!(
            "copy {} over the model's own model.toml before the next `perennial serve`",
            with.display()
        ));
    }
    Ok(())
}

/// Prints the champion of the history that was adopted, and the approvals that are void in it.
fn champion(change: &ChampionChange) -> anyhow::Result<()> {
    let after = change.after;
    let loss = match after.loss {
        Some(loss) => format!("mean loss {loss:.4} over {} labels", after.labels),
        None => "scored on no label".to_owned(),
    };
    print::line(format_args!(
        "the champion was version {}, and is version {}: {loss}",
        change.before.version, after.version
    ))?;
    change.void.iter().try_for_each(|position| {
        print::line(format_args!(
            "the approval at position {position} is void: it was of other weights"
        ))
    })
}

/// The decisions of the gate under the other description, if there were any.
fn gate_lines(other: &ReplayReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(champion) = other.champion.filter(|champion| champion.position > 1) {
        let position = champion.position;
        lines.push(format!(
            "with it the champion is the state at position {position}"
        ));
    }
    let counts = [
        (other.n_incidents, "incident"),
        (other.n_undone, "example undone by a rewind"),
        (other.n_held_out, "example held out"),
    ];
    for (n, what) in counts.into_iter().filter(|(n, _)| *n > 0) {
        let (first, rest) = what.split_once(' ').unwrap_or((what, ""));
        lines.push(
            format!("{} {rest}", counted(n, first))
                .trim_end()
                .to_owned(),
        );
    }
    if other.frozen {
        lines.push("with it the model is frozen at the end: nothing is learned".to_owned());
    }
    lines
}

/// True for the model.toml in the folder of a model of this name.
fn is_own(description: &Path, model: &str) -> bool {
    let path = description.canonicalize();
    let path = path.as_deref().unwrap_or(description);
    let folder = path.parent().and_then(Path::file_name);
    path.file_name().is_some_and(|name| name == "model.toml")
        && folder.is_some_and(|folder| folder == model)
}

/// Applies all entries, with a progress line.
fn finish(replay: &mut Replay, did: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut progress = ProgressLine::new();
    while replay.advance(STRIDE)? {
        progress.show(|| {
            let (position, base, last) = replay.positions();
            let rate = (position - base) as f64 / started.elapsed().as_secs_f64();
            format!("{did}: entry {position} of {last}, {rate:.0} entries/s")
        });
    }
    Ok(())
}

fn verified(args: &Args, replayed: &ReplayReport, seconds: f64) -> anyhow::Result<()> {
    ensure!(
        replayed.entries > 0 || replayed.compared > 0,
        "the journal is empty"
    );
    let rate = replayed.entries as f64 / seconds.max(1e-9);
    if args.json {
        return print::line(json!({
            "model": args.model,
            "entries": replayed.entries,
            "compared": replayed.compared,
            "digest": replayed.digest,
            "bit_equal": (replayed.compared > 0).then_some(true),
            "seconds": seconds,
            "entries_per_second": rate,
        }));
    }
    let compared = match replayed.compared {
        0 if replayed.has_other_bits => "no digest compared, since the journal was written under \
             another numeric profile"
            .to_owned(),
        0 => "no checkpoint to be compared with".to_owned(),
        n => format!("{n} checkpoints compared, every digest bit-equal"),
    };
    print::line(format_args!(
        "{}: {} entries applied again at {rate:.0} a second, {compared}; its digest is {}",
        args.model, replayed.entries, replayed.digest
    ))
}

fn compared(args: &Args, served: &Evaluation, other: &ReplayReport) -> anyhow::Result<()> {
    let with = args.with.as_ref().context("compared with something")?;
    let other_score = &other.evaluation;
    let (was, is) = (served.served().mean(), other_score.served().mean());
    let recent = (served.recent(), other_score.recent());
    if args.json {
        let divergence = other.divergence.as_ref().map(|divergence| {
            json!({
                "position": divergence.position,
                "served": divergence.served,
                "with": divergence.other,
            })
        });
        return print::line(json!({
            "model": args.model,
            "judged": other.evaluation.served().count,
            "score": {"served": was, "with": is},
            "recent_score": {"served": recent.0, "with": recent.1},
            "digest": other.digest,
            "parting": divergence,
            "champion_position": other.champion.map(|champion| champion.position),
            "incidents": other.n_incidents,
            "held_out": other.n_held_out,
            "undone": other.n_undone,
            "frozen": other.frozen,
        }));
    }
    let judged = other.evaluation.served().count;
    print::line(format_args!("{:<14} {:>10} {:>10}", "", "served", "with"))?;
    print::line(format_args!("{:<14} {was:>10.4} {is:>10.4}", "score"))?;
    print::line(format_args!(
        "{:<14} {:>10.4} {:>10.4}",
        "recent score", recent.0, recent.1
    ))?;
    print::line(format_args!(
        "{judged} answers judged; with is {}",
        with.display()
    ))?;
    gate_lines(other).iter().try_for_each(print::line)?;
    match &other.divergence {
        Some(divergence) => print::line(format_args!(
            "they part at position {}: {} was served, {} it would have been",
            divergence.position, divergence.served, divergence.other
        )),
        None => print::line("they never part"),
    }
}
