//! `perennial status`: the state of the served models.
//!
//! Invariant: a block for each model, or with `--json` an object a line.

mod events;
mod figures;

use perennial::proto::perennial::v1::{
    Confusion, DriftAlarm, Evidence, GateStatus, MemberStatus, ModelStatus, Retraining,
    SourceBudget, StatusRequest,
};
use serde_json::{Map, Value, json};

use crate::cli::client::{self, Client, refusal};
use crate::cli::output::print;

/// The model, or every model.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial status fraud")]
pub(crate) struct Args {
    /// The model's name; every model if absent
    model: Option<String>,
    #[command(flatten)]
    client: client::Args,
}

/// Requests the status, and prints it.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.client).await?;
    let request = StatusRequest {
        model: args.model.unwrap_or_default(),
        digest: false,
    };
    let found = client.registry.status(request).await;
    let found = found.map_err(refusal)?.into_inner();
    for status in &found.models {
        if args.client.json {
            let mut object = object(status);
            object["webhook"] = found.webhook.as_ref().map(events::webhook_object).into();
            print::line(object)?;
        } else {
            block(status).iter().try_for_each(print::line)?;
        }
    }
    match &found.webhook {
        Some(webhook) if !args.client.json => print::line(events::webhook(webhook)),
        _ => Ok(()),
    }
}

/// The name, the task where it is known, and the state.
fn headline(status: &ModelStatus) -> String {
    let state = match status.reason.as_str() {
        "" => status.state.clone(),
        reason => format!("{}: {reason}", status.state),
    };
    match status.task.as_str() {
        "" => format!("{} {state}", status.model),
        task => format!("{} ({task}) {state}", status.model),
    }
}

/// The state of a model, line by line.
pub(super) fn block(status: &ModelStatus) -> Vec<String> {
    let mut lines = vec![headline(status)];
    if status.state != "READY" {
        return lines;
    }
    let mut put = |name: &str, text: String| lines.push(format!("  {name:<12} {text}"));
    put(
        "serves",
        format!("version {}, position {}", status.version, status.position),
    );
    put(
        "journal",
        format!(
            "position {}, {} bytes, {} entries to learn",
            status.journal_position, status.journal_bytes, status.lag
        ),
    );
    put("room", room(status));
    put(
        "learned",
        format!(
            "{} examples, {} in memory",
            status.examples, status.remembered
        ),
    );
    put("judged", judged(status));
    if let Some(retention) = status.retention {
        let retained = print::shown(Some(retention));
        put("retention", format!("{retained} of what was learned once"));
    }
    put("drift", drift(status));
    figures::lines(&status.figures)
        .into_iter()
        .for_each(|(name, line)| put(name, line));
    let (waiting, unjournaled) = (status.waiting, status.unjournaled);
    let predictions = format!("{waiting} waiting, {unjournaled} unjournaled");
    put("predictions", predictions);
    put("feedback", fates(status));
    for budget in &status.budgets {
        put("budget", budget_line(budget));
    }
    if status.quarantined > 0 {
        let (n, model) = (status.quarantined, &status.model);
        put(
            "quarantine",
            format!("{n} wait: see perennial quarantine {model}"),
        );
    }
    for member in &status.members {
        put("member", member_line(member));
    }
    put("computed by", status.profile.clone());
    lines.extend(gate_lines(status));
    lines.extend(alias_line(status));
    lines.extend(retraining_line(status));
    lines.extend(bounds(status));
    lines.extend(events::lines(status));
    lines
}

/// The score of the answers that were judged.
fn judged(status: &ModelStatus) -> String {
    let metric = status.metric.replace('_', " ");
    let [all, recent, no_change] =
        [status.score, status.recent_score, status.no_change_score].map(print::shown);
    let mut score = format!("{metric} {all}, recently {recent}");
    if status.task != "bandit" {
        score += &format!(", no change {no_change}");
    }
    match status.judged {
        0 => "no answer yet".to_owned(),
        judged => format!("{judged} answers: {score}"),
    }
}

/// The line of the gate, and one of open incidents.
fn gate_lines(status: &ModelStatus) -> Vec<String> {
    let Some(gate) = &status.gate else {
        return Vec::new();
    };
    let mut lines = vec![format!("  {:<12} {}", "gate", gate_line(gate))];
    if gate.open_incidents > 0 {
        let (n, model) = (gate.open_incidents, &status.model);
        let shown = format!("{n} open: see perennial incidents {model}");
        lines.push(format!("  {:<12} {shown}", "incidents"));
    }
    lines
}

/// The aliases that are set.
fn alias_line(status: &ModelStatus) -> Option<String> {
    let aliases = sorted(&status.aliases);
    let named = aliases
        .iter()
        .map(|(alias, version)| format!("{alias} {version}"));
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| format!("  {:<12} {}", "aliases", named.join(", ")))
}

/// The newest learner that began anew.
fn retraining_line(status: &ModelStatus) -> Option<String> {
    let newest = status.retraining?;
    let of = match newest.newest {
        0 => "all that is retained".to_owned(),
        rows => format!("the newest {rows} labelled rows"),
    };
    let begun = newest.begun;
    let shown = if newest.is_open {
        format!("a learner is derived from {of}, since position {begun}")
    } else {
        format!("the next is counted from position {begun} on")
    };
    Some(format!("  {:<12} {shown}", "retraining"))
}

/// Champion and contender, and how far the evidence is.
fn gate_line(gate: &GateStatus) -> String {
    let mut line = format!("{}, champion version {}", gate.policy, gate.champion);
    if gate.policy != "live" && gate.champion_position == 1 {
        line += ", which has learned nothing and serves";
    }
    if let Some(promotion) = &gate.promotion {
        line += &format!(
            ", contender version {} {}",
            gate.contender,
            evidence(promotion)
        );
    }
    if let Some(decline) = gate.decline.filter(|decline| decline.labels > 0) {
        line += &format!(", candidate {}", evidence(&decline));
    }
    if gate.promotion.is_none() && gate.next_contender > 0 {
        let GateStatus {
            next_contender,
            examples,
            ..
        } = gate;
        line += &format!(", next contender at example {next_contender} ({examples} so far)");
    }
    if !gate.forgot.is_empty() {
        line += &format!(", the newest contender forgot: {}", gate.forgot);
    }
    if !gate.no_evidence.is_empty() {
        line += &format!(", {}", gate.no_evidence);
    }
    if gate.frozen {
        line += &format!(", frozen{}: nothing is learned", frozen_by(gate));
    }
    line
}

/// The person who froze it, and the reason; nothing where the gate did.
fn frozen_by(gate: &GateStatus) -> String {
    let (actor, note) = (
        gate.frozen_actor.escape_debug(),
        gate.frozen_note.escape_debug(),
    );
    match (gate.frozen_actor.is_empty(), gate.frozen_note.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!(" by {actor}"),
        (true, false) => format!(" ({note})"),
        (false, false) => format!(" by {actor} ({note})"),
    }
}

/// The difference of a side from the champion, and how far the evidence is.
fn evidence(evidence: &Evidence) -> String {
    if evidence.labels == 0 {
        return "not scored yet".to_owned();
    }
    let side = match evidence.difference {
        more if more > 0.0 => "worse",
        _ => "better",
    };
    format!(
        "{side} by {:.4} (evidence {:.3} of {:.0}, {} labels)",
        evidence.difference.abs(),
        evidence.wealth,
        evidence.needed,
        evidence.labels
    )
}

/// The alarms of drift, of the streams that raised any.
fn raised(status: &ModelStatus) -> Vec<(String, Value)> {
    let alarms = sorted(&status.drift_alarms).into_iter();
    alarms.filter(|(_, n)| *n != 0).collect()
}

/// The number of alarms, and the newest.
fn drift(status: &ModelStatus) -> String {
    let alarms = raised(status).into_iter();
    let alarms: Vec<String> = alarms
        .map(|(watched, n)| format!("{n} {watched}"))
        .collect();
    match status.newest_alarms.last() {
        _ if status.drift_alarms.is_empty() => "not watched".to_owned(),
        None => "no alarm".to_owned(),
        Some(newest) => format!("{}; newest: {}", alarms.join(", "), alarm_line(newest)),
    }
}

fn alarm_line(alarm: &DriftAlarm) -> String {
    let DriftAlarm {
        position,
        watched,
        input,
        change,
        evidence,
    } = alarm;
    let input = if input.is_empty() {
        String::new()
    } else {
        format!(" {input:?}")
    };
    format!(
        "{watched}{input} {change} at position {position}, by chance once in {evidence:.2e} events"
    )
}

/// The weight, the score and the retention of a member.
fn member_line(member: &MemberStatus) -> String {
    let mean = print::shown(mean(member));
    let retained = member.retention.map(|one| print::shown(Some(one)));
    let retained = retained.map_or(String::new(), |one| format!(", retention {one}"));
    format!(
        "{:<20} share {:.3}, {mean}{retained}",
        member.name, member.share
    )
}

/// A line for each bound that is near or reached.
fn bounds(status: &ModelStatus) -> impl Iterator<Item = String> {
    let shown = status.bounds.iter().filter(|bound| bound.level != "ample");
    shown.map(|bound| {
        let (name, level, advice) = (&bound.name, &bound.level, &bound.advice);
        format!("  {:<12} {name} is {level}: {advice}", "bound")
    })
}

fn room(status: &ModelStatus) -> String {
    let a_day = format!("{:.0} bytes a day", status.journal_bytes_a_day);
    match status.journal_days_left {
        Some(days) => format!("{a_day}, full in {days:.1} days"),
        None => format!("{a_day}, never full at that rate"),
    }
}

fn fates(status: &ModelStatus) -> String {
    let fates = sorted(&status.fates).into_iter();
    let fates: Vec<String> = fates.map(|(fate, n)| format!("{n} {fate}")).collect();
    let mut fates = fates.join(", ");
    if status.contradictions > 0 {
        let n = status.contradictions;
        fates += &format!("; {n} of the quarantined contradict the label of another source");
    }
    fates
}

/// The spent part of a source's budget.
fn budget_line(one: &SourceBudget) -> String {
    let SourceBudget { spent, budget, .. } = one;
    let source = match one.source.as_str() {
        "" => "all other sources".to_owned(),
        source => format!("{source:?}"),
    };
    let spent = (spent * 1e3).round() / 1e3;
    format!("{source} spent {spent} of {budget}")
}

fn mean(member: &MemberStatus) -> Option<f64> {
    (member.examples > 0).then(|| member.sum / member.examples as f64)
}

fn budget_object(one: &SourceBudget) -> Value {
    json!({ "source": one.source, "spent": one.spent, "budget": one.budget })
}

fn object(status: &ModelStatus) -> Value {
    let members = status.members.iter().map(|member| {
        json!({
            "name": member.name,
            "share": member.share,
            "examples": member.examples,
            "sum": member.sum,
        })
    });
    let alarms = status.newest_alarms.iter().map(alarm_object);
    let bounds = status.bounds.iter().map(|bound| {
        json!({
            "name": bound.name,
            "used": bound.used,
            "level": bound.level,
            "advice": bound.advice,
        })
    });
    json!({
        "model": status.model,
        "state": status.state,
        "reason": status.reason,
        "task": status.task,
        "version": status.version,
        "position": status.position,
        "journal_position": status.journal_position,
        "lag": status.lag,
        "journal_bytes": status.journal_bytes,
        "journal_bytes_a_day": status.journal_bytes_a_day,
        "journal_days_left": status.journal_days_left,
        "examples": status.examples,
        "judged": status.judged,
        "metric": status.metric,
        "score": print::json(status.score),
        "recent_score": print::json(status.recent_score),
        "no_change_score": print::json(status.no_change_score),
        "retention": print::json(status.retention),
        "drift_alarms": raised(status).into_iter().collect::<Map<_, _>>(),
        "newest_alarms": alarms.collect::<Vec<_>>(),
        "steady_answers": print::json(status.steady_answers),
        "monitors": figures::object(&status.figures),
        "confusion": confusion(&status.confusion),
        "members": members.collect::<Vec<_>>(),
        "fates": sorted(&status.fates).into_iter().collect::<Map<_, _>>(),
        "contradictions": status.contradictions,
        "quarantined": status.quarantined,
        "budgets": status.budgets.iter().map(budget_object).collect::<Vec<_>>(),
        "waiting": status.waiting,
        "unjournaled": status.unjournaled,
        "remembered": status.remembered,
        "profile": status.profile,
        "bounds": bounds.collect::<Vec<_>>(),
        "gate": status.gate.as_ref().map(gate_object),
        "aliases": sorted(&status.aliases).into_iter().collect::<Map<_, _>>(),
        "retraining": status.retraining.map(retraining_object),
        "newest_events": events::event_objects(status),
    })
}

fn alarm_object(alarm: &DriftAlarm) -> Value {
    json!({
        "position": alarm.position,
        "watched": alarm.watched,
        "input": alarm.input,
        "change": alarm.change,
        "evidence": alarm.evidence,
    })
}

fn retraining_object(newest: Retraining) -> Value {
    json!({
        "begun": newest.begun,
        "newest": newest.newest,
        "is_open": newest.is_open,
    })
}

/// The counts of answers by label.
fn confusion(pairs: &[Confusion]) -> Value {
    let pairs = pairs.iter().map(|pair| {
        json!({
            "label": pair.label,
            "answer": pair.answer,
            "count": pair.count,
        })
    });
    pairs.collect()
}

fn gate_object(gate: &GateStatus) -> Value {
    json!({
        "policy": gate.policy,
        "champion": gate.champion,
        "champion_position": gate.champion_position,
        "contender": gate.contender,
        "contender_position": gate.contender_position,
        "promotion": gate.promotion.as_ref().map(evidence_object),
        "decline": gate.decline.as_ref().map(evidence_object),
        "frozen": gate.frozen,
        "frozen_actor": gate.frozen_actor,
        "frozen_note": gate.frozen_note,
        "next_contender": gate.next_contender,
        "forgot": gate.forgot,
        "examples": gate.examples,
        "no_evidence": gate.no_evidence,
        "open_incidents": gate.open_incidents,
    })
}

fn evidence_object(evidence: &Evidence) -> Value {
    json!({
        "labels": evidence.labels,
        "wealth": evidence.wealth,
        "needed": evidence.needed,
        "difference": evidence.difference,
    })
}

/// A map of the wire in a fixed order.
pub(crate) fn sorted<T: Copy + Into<Value>>(
    map: &std::collections::HashMap<String, T>,
) -> Vec<(String, Value)> {
    let mut fields: Vec<_> = map
        .iter()
        .map(|(key, &value)| (key.clone(), value.into()))
        .collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unavailable_model_says_why_and_nothing_else() {
        let status = ModelStatus {
            model: "fraud".into(),
            state: "UNAVAILABLE".into(),
            reason: "its journal is damaged".into(),
            task: "classification".into(),
            ..Default::default()
        };
        let expected = "fraud (classification) UNAVAILABLE: its journal is damaged";
        assert_eq!(block(&status), [expected]);
    }

    #[test]
    fn the_gate_says_what_it_waits_for() {
        let check = |gate: GateStatus, expected: &str| {
            let gate = GateStatus {
                policy: "gated".into(),
                champion: 1,
                ..gate
            };
            assert_eq!(
                gate_line(&gate),
                format!("gated, champion version 1{expected}")
            );
        };
        let waits = GateStatus {
            next_contender: 250,
            examples: 40,
            ..GateStatus::default()
        };
        check(waits.clone(), ", next contender at example 250 (40 so far)");
        let untrained = GateStatus {
            champion_position: 1,
            ..waits
        };
        check(
            untrained,
            ", which has learned nothing and serves, next contender at example 250 (40 so far)",
        );
        let tested = |labels, difference| GateStatus {
            contender: 3,
            promotion: Some(Evidence {
                labels,
                wealth: 0.5,
                needed: 200.0,
                difference,
            }),
            ..GateStatus::default()
        };
        check(tested(0, 0.0), ", contender version 3 not scored yet");
        check(
            tested(9, -0.125),
            ", contender version 3 better by 0.1250 (evidence 0.500 of 200, 9 labels)",
        );
        check(
            tested(9, 0.25),
            ", contender version 3 worse by 0.2500 (evidence 0.500 of 200, 9 labels)",
        );
        let frozen = GateStatus {
            frozen: true,
            frozen_actor: "ann".into(),
            frozen_note: "under\nreview".into(),
            no_evidence: "no evidence: the policy has no propensity floor".into(),
            ..GateStatus::default()
        };
        check(
            frozen,
            ", no evidence: the policy has no propensity floor, frozen by ann (under\\nreview): nothing is \
             learned",
        );
    }

    #[test]
    fn a_ready_model_shows_what_it_learned() {
        let status = ModelStatus {
            state: "READY".into(),
            metric: "progressive_accuracy".into(),
            judged: 2,
            score: Some(0.5),
            fates: [("unmatched".into(), 1), ("learned".into(), 2)].into(),
            ..Default::default()
        };
        let block = block(&status).join("\n");
        assert!(
            block.contains("2 answers: progressive accuracy 0.5000"),
            "{block}"
        );
        assert!(block.contains("2 learned, 1 unmatched"), "{block}");
        assert_eq!(object(&status)["fates"]["learned"], 2);
    }
}
