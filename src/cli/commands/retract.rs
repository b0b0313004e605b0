//! `perennial retract`: retracts feedback, and prints a certificate.
//!
//! Invariant: the change is announced before it is made.

use perennial::proto::perennial::v1::{Certificate, ChampionScore, MovedAlias, RetractRequest};
use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::cli::client::{self, Client, moment, refusal};
use crate::cli::output::print;

/// The feedback to retract, and the reason.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  perennial retract fraud --source team-7 --dry-run
  perennial retract fraud --source team-7 --note \"their labels were swapped\"
  perennial retract fraud --since 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z")]
#[command(group(clap::ArgGroup::new("choice").required(true).multiple(true)))]
pub(crate) struct Args {
    /// The model's name
    model: String,
    /// All feedback of this source
    #[arg(long, group = "choice", conflicts_with_all = ["feedback_id", "since", "until"])]
    source: Option<String>,
    /// The event with this feedback id
    #[arg(long, value_name = "ID", group = "choice", conflicts_with_all = ["since", "until"])]
    feedback_id: Option<String>,
    /// All feedback accepted from this moment on, as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", group = "choice", value_parser = moment)]
    since: Option<Timestamp>,
    /// All feedback accepted up to and including this moment
    #[arg(long, value_name = "TIME", group = "choice", value_parser = moment)]
    until: Option<Timestamp>,
    /// Also overwrite the feedback on disk, and delete the checkpoints that learned from it; the
    /// journaled order then holds a hash in place of the source or id
    #[arg(long)]
    erase: bool,
    /// Print the effect, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The reason, shown in the list of versions
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    client: client::Args,
}

/// Announces the change, makes it, and prints the certificate.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let request = RetractRequest {
        model: args.model,
        source: args.source,
        feedback_id: args.feedback_id,
        since: args.since,
        until: args.until,
        note: args.note,
        dry_run: true,
        erase: args.erase,
    };
    let planned = client.registry.retract(request.clone()).await;
    // With nothing left to retract there may still be something to erase.
    if args.dry_run || !args.erase {
        let plan = planned.map_err(refusal)?.into_inner();
        if args.dry_run {
            return show("would retract", &plan, args.client.json);
        }
        print::note(format_args!(
            "{} retracts {} events: {}; {} entries are applied again beside live traffic",
            request.model, plan.excluded, plan.selector, plan.entries
        ));
    }
    let done = client.registry.retract(RetractRequest {
        dry_run: false,
        ..request
    });
    let certificate = done.await.map_err(refusal)?.into_inner();
    show("retracted", &certificate, args.client.json)?;
    print::note("answers already served, and the feedback they led to, are not undone");
    Ok(())
}

fn show(did: &str, certificate: &Certificate, json: bool) -> anyhow::Result<()> {
    if json {
        return print::line(object(certificate));
    }
    let put = |name: &str, text: String| print::line(format_args!("{name:<12} {text}"));
    let Certificate {
        excluded,
        selector,
        first_position,
        last_position,
        entries,
        base,
        ..
    } = certificate;
    put(did, format!("{excluded} events: {selector}"))?;
    put(
        "entries",
        format!("first {first_position}, last {last_position}"),
    )?;
    if *entries > 0 {
        put(
            "derived",
            format!("{entries} entries applied to the state at {base}"),
        )?;
    }
    if certificate.version > 0 {
        let Certificate {
            version, position, ..
        } = certificate;
        put(
            "version",
            format!("{version}, from the order at position {position} on"),
        )?;
        put("digest", certificate.digest.clone())?;
        put("computed by", certificate.profile.clone())?;
    }
    let tainted: Vec<String> = certificate.tainted.iter().map(u64::to_string).collect();
    if tainted.is_empty() {
        put("tainted", "no version".to_owned())?;
    } else {
        put("tainted", format!("versions {}", tainted.join(", ")))?;
    }
    for (name, line) in champion_lines(certificate) {
        put(name, line)?;
    }
    for one in &certificate.aliases {
        put("alias", moved(one))?;
    }
    if !certificate.clock.is_empty() {
        put("chosen by", certificate.clock.clone())?;
    }
    match certificate.erased {
        0 => Ok(()),
        erased => put("erased", format!("the content of {erased} entries")),
    }
}

/// An alias that moves.
fn moved(one: &MovedAlias) -> String {
    let MovedAlias {
        alias,
        before,
        after,
    } = one;
    match after {
        0 => format!("{alias} names version {before}, and would name the first one without it"),
        _ => format!("{alias} named version {before}, and names version {after}"),
    }
}

/// The champion before and after, and the effect on incidents and approvals.
fn champion_lines(certificate: &Certificate) -> Vec<(&'static str, String)> {
    let Certificate {
        champion_before,
        champion_after,
        incidents_gone,
        incidents_come,
        approvals_void,
        ..
    } = certificate;
    let mut lines = Vec::new();
    if let (Some(before), Some(after)) = (champion_before, champion_after) {
        let (before, after) = (scored(before), scored(after));
        lines.push(("champion", format!("{before}; after it {after}")));
    }
    let numbers = |all: &[u64]| -> String {
        let all: Vec<String> = all.iter().map(u64::to_string).collect();
        all.join(", ")
    };
    for (name, incidents) in [("gone", incidents_gone), ("come", incidents_come)] {
        if !incidents.is_empty() {
            lines.push(("incidents", format!("{} {name}", numbers(incidents))));
        }
    }
    if !approvals_void.is_empty() {
        let void = numbers(approvals_void);
        let what =
            "was of weights that change: promote again to approve those that take their place";
        lines.push(("void", format!("approval at position {void} {what}")));
    }
    lines
}

/// A champion with its mean loss.
fn scored(score: &ChampionScore) -> String {
    let version = match score.version {
        0 => format!("the state at position {}", score.position),
        version => format!("version {version}"),
    };
    match score.loss {
        Some(loss) => format!(
            "{version}, mean loss {loss:.4} over {} labels",
            score.labels
        ),
        None => format!("{version}, scored on no label"),
    }
}

fn score_object(score: &ChampionScore) -> Value {
    json!({
        "version": score.version,
        "position": score.position,
        "labels": score.labels,
        "loss": score.loss,
    })
}

fn alias_object(one: &MovedAlias) -> Value {
    json!({"alias": one.alias, "before": one.before, "after": one.after})
}

fn object(certificate: &Certificate) -> Value {
    json!({
        "model": certificate.model,
        "selector": certificate.selector,
        "excluded": certificate.excluded,
        "first_position": certificate.first_position,
        "last_position": certificate.last_position,
        "base": certificate.base,
        "entries": certificate.entries,
        "version": certificate.version,
        "position": certificate.position,
        "digest": certificate.digest,
        "profile": certificate.profile,
        "tainted": certificate.tainted,
        "erased": certificate.erased,
        "champion_before": certificate.champion_before.as_ref().map(score_object),
        "champion_after": certificate.champion_after.as_ref().map(score_object),
        "incidents_gone": certificate.incidents_gone,
        "incidents_come": certificate.incidents_come,
        "approvals_void": certificate.approvals_void,
        "aliases": certificate.aliases.iter().map(alias_object).collect::<Vec<_>>(),
        "clock": certificate.clock,
    })
}
