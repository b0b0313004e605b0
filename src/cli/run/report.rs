//! The report of a prequential run.
//!
//! Invariant: the names in JSON are a contract; a value that is not known is null.

use perennial::learn::ClassCount;
use serde_json::{Map, Value, json};

use super::monitored::MonitorFigures;
use super::scores::{RunScores, ScoreNames};
use crate::cli::output::print;

/// A class that makes up less than this part of its even share is rare.
const RARE: f64 = 0.1;
/// Rare classes that are printed.
const RARE_SHOWN: usize = 5;

/// The results of a run.
pub(crate) struct RunReport {
    /// The names of its scores.
    pub names: ScoreNames,
    /// The scores of its answers.
    pub scores: RunScores,
    /// The seconds of the run, without the test.
    pub seconds: f64,
    /// The processor time of the run.
    pub cpu_seconds: f64,
    /// The share of the retention set that is answered right in the end, of a classification.
    pub retention: Option<f64>,
    /// The figures of the model's monitors beside its scores.
    pub monitored: MonitorFigures,
    /// Alarms of drift, by the stream that raised them.
    pub drift_alarms: Vec<(String, u64)>,
    /// The mean score of each member of a portfolio.
    pub members: Vec<MemberScore>,
    /// The names of the classes or actions.
    pub classes: Vec<String>,
    /// True if each class is printed, and not only the rare ones.
    pub each_class: bool,
    /// The mean score on rows that were not learned, if asked for.
    pub test: Option<Option<f64>>,
    /// Rows that could not be used.
    pub n_unusable: u64,
    /// Rows that were predicted and not scored.
    pub n_without_target: u64,
    /// Rows that an earlier run had fed back.
    pub n_known: u64,
    /// Known rows that were retracted since, and are not learned again.
    pub n_retracted: u64,
    /// Rows that were held out: a freeze, or the share that is.
    pub n_held_out: u64,
    /// Examples that a rewind took back.
    pub n_undone: u64,
    /// Further lines for people.
    pub notes: Vec<String>,
    /// Sentences about the rows, on stderr.
    pub warnings: Vec<String>,
}

/// A member of a portfolio.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MemberScore {
    pub name: String,
    /// Its mean score.
    pub score: f64,
    /// Its share of the retention set, of a classification.
    pub retention: Option<f64>,
}

impl RunReport {
    /// Prints it: one object for machines, lines for people.
    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        let fields = self.fields();
        self.warnings.iter().for_each(print::note);
        if json {
            self.notes.iter().for_each(print::note);
            return print::line(Value::Object(fields));
        }
        for (name, value) in &fields {
            let name = name.replace('_', " ");
            match value {
                Value::Object(_) if name.ends_with("classes") || name == "member retention" => {}
                Value::Object(alarms) if name == "drift alarms" => {
                    let alarms = alarms.iter().map(|(watched, n)| format!("{n} {watched}"));
                    let alarms = alarms.collect::<Vec<_>>().join(", ");
                    print::line(format_args!("{name:<28} {alarms}"))?;
                }
                Value::Object(slices) if name == "slices" => {
                    for (slice, figures) in slices {
                        print::line(format_args!("{slice:<28} {}", figures_line(figures)))?;
                    }
                }
                Value::Object(members) => {
                    for (index, (member, score)) in members.iter().enumerate() {
                        let mark = if index == 0 { '*' } else { ' ' };
                        let retained = self.retained(member);
                        let score = number(score);
                        print::line(format_args!("{mark} {member:<26} {score}{retained}"))?;
                    }
                }
                value => print::line(format_args!("{name:<28} {}", number(value)))?,
            }
        }
        if self.each_class {
            self.print_classes()?;
        } else {
            self.print_rare()?;
        }
        self.notes.iter().try_for_each(print::line)
    }

    /// The retention of a member, as the text behind its score.
    fn retained(&self, member: &str) -> String {
        let found = self.members.iter().find(|one| one.name == member);
        let retention = found.and_then(|one| one.retention);
        retention.map_or(String::new(), |one| {
            format!("  retention {}", print::shown(Some(one)))
        })
    }

    /// Prints the rare classes of which the most examples were missed, a line each.
    fn print_rare(&self) -> anyhow::Result<()> {
        let mut rare = self.rare();
        rare.sort_by_key(|(_, class)| std::cmp::Reverse((class.count - class.right) as u64));
        let n_more = rare.len().saturating_sub(RARE_SHOWN);
        for (name, class) in rare.iter().take(RARE_SHOWN) {
            let (recall, count) = (print::shown(class.recall()), class.count as u64);
            print::line(format_args!(
                "{:<28} {recall}  ({count})",
                format!("recall of {name}")
            ))?;
        }
        match n_more {
            0 => Ok(()),
            n => print::line(format_args!(
                "and {n} more rare classes; --classes shows them all"
            )),
        }
    }

    /// Prints a line for each class, the frequent ones first.
    pub(crate) fn print_classes(&self) -> anyhow::Result<()> {
        let classes = self.counted();
        let header = ["class", "count", "precision", "recall", "f1"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for (name, class) in classes {
            let shares = [class.precision(), class.recall(), class.f1()];
            let mut row = vec![name.clone(), (class.count as u64).to_string()];
            row.extend(shares.map(print::shown));
            rows.push(row);
        }
        aligned(&rows).iter().try_for_each(print::line)
    }

    /// The report as JSON.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let RunReport { names, scores, .. } = self;
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("examples", scores.examples().into());
        for (name, n) in [
            ("rows_without_target", self.n_without_target),
            ("unusable_rows", self.n_unusable),
            ("known_rows", self.n_known),
            ("retracted_rows", self.n_retracted),
            ("held_out_rows", self.n_held_out),
            ("undone_examples", self.n_undone),
        ] {
            if n > 0 {
                put(name, n.into());
            }
        }
        // Of rows that were learned before, an answer is no prediction.
        let of_new = |score: Option<f64>| print::json(score.filter(|_| !self.are_all_known()));
        put(names.score, of_new(scores.score()));
        put(names.last_tenth, of_new(scores.last_tenth()));
        if let Some(last) = scores.last() {
            put(names.last, last.into());
        }
        if let Some(no_change) = names.no_change {
            put(no_change, print::json(scores.no_change()));
        }
        for (name, score) in self.monitored_scores().chain(self.value_scores()) {
            put(name, score.into());
        }
        for (name, figure) in &self.monitored.of_all {
            put(name, (*figure).into());
        }
        if let Some(retention) = self.retention {
            put("retention", retention.into());
        }
        for (name, parts) in self.parts() {
            if !parts.is_empty() {
                put(name, Value::Object(parts));
            }
        }
        if self.each_class {
            let classes = self.counted().into_iter().map(|(name, class)| {
                let shares = [class.precision(), class.recall(), class.f1()];
                let [precision, recall, f1] = shares.map(print::json);
                let count = class.count as u64;
                let class =
                    json!({"count": count, "precision": precision, "recall": recall, "f1": f1});
                (name.clone(), class)
            });
            put("classes", Value::Object(classes.collect()));
        }
        put("examples_per_second", print::json(self.rate()));
        put("cpu_seconds", self.cpu_seconds.into());
        if let Some(test) = self.test {
            put(names.test, print::json(test));
        }
        fields
    }

    /// The scores that the monitors of a model keep, too, beside the first.
    fn monitored_scores(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let scores = self.scores.monitored().into_iter();
        scores.filter(|(name, _)| *name != self.names.score)
    }

    /// The scores of a regression or a bandit that only a run has, those that there are.
    fn value_scores(&self) -> Vec<(&'static str, f64)> {
        let values = self.scores.values();
        let (interval, season) = (values.interval(), values.season());
        let all = [
            ("interval_coverage", interval.map(|one| one[0])),
            ("interval_width", interval.map(|one| one[1])),
            ("seasonal_no_change_absolute_error", season.map(|one| one.1)),
            ("season", season.map(|one| one.0 as f64)),
            ("regret_at_10000_rounds", self.scores.regret()),
        ];
        let known = all.into_iter();
        known
            .filter_map(|(name, score)| Some((name, score?)))
            .collect()
    }

    /// The scores of the members, the best first, and the retention of each.
    fn member_fields(&self) -> (Map<String, Value>, Map<String, Value>) {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by(|a, b| {
            let order = a.score.total_cmp(&b.score);
            if self.names.is_error {
                order
            } else {
                order.reverse()
            }
        });
        let score = |member: &&MemberScore| (member.name.clone(), member.score.into());
        let retention = |member: &&MemberScore| {
            let retention = member.retention?;
            Some((member.name.clone(), retention.into()))
        };
        let retained = members.iter().filter_map(retention).collect();
        (members.iter().map(score).collect(), retained)
    }

    /// Numbers by name: alarms by stream, scores by slice, scores and retention by member, counts by rare class.
    fn parts(&self) -> [(&'static str, Map<String, Value>); 5] {
        let alarms = self.drift_alarms.iter();
        let alarms = alarms.map(|(watched, n)| (watched.clone(), (*n).into()));
        let (scored, retained) = self.member_fields();
        let rare = self.rare().into_iter().map(|(name, class)| {
            let counts = json!({"count": class.count as u64, "recall": class.recall()});
            (name.clone(), counts)
        });
        [
            ("drift_alarms", alarms.collect()),
            ("slices", self.monitored.of_slices.clone()),
            ("members", scored),
            ("member_retention", retained),
            ("rare_classes", rare.collect()),
        ]
    }

    /// True if the model had learned every row before the run.
    fn are_all_known(&self) -> bool {
        let n_learned = self.n_known - self.n_retracted;
        n_learned > 0 && n_learned >= self.scores.examples()
    }

    /// Examples a second.
    pub(crate) fn rate(&self) -> Option<f64> {
        Some(self.scores.examples() as f64 / self.seconds)
    }

    /// The rare classes, the rarest last; the actions of a bandit are not classes.
    fn rare(&self) -> Vec<(&String, &ClassCount)> {
        if self.names.no_change.is_none() {
            return Vec::new();
        }
        let even = self.scores.examples() as f64 / self.classes.len().max(1) as f64;
        let is_rare = |class: &ClassCount| class.count > 0.0 && class.count < RARE * even;
        let counted = self.counted().into_iter();
        counted.filter(|(_, class)| is_rare(class)).collect()
    }

    /// The classes that were seen or answered, the frequent ones first.
    fn counted(&self) -> Vec<(&String, &ClassCount)> {
        let counted = self.classes.iter().zip(self.scores.classes());
        let seen = |class: &ClassCount| class.count + class.answered > 0.0;
        let mut counted: Vec<_> = counted.filter(|(_, class)| seen(class)).collect();
        counted.sort_by_key(|(_, class)| std::cmp::Reverse(class.count as u64));
        counted
    }
}

/// Lines of cells: the first column to the left, the others to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("  {cell:>width$}"),
        });
        cells.collect::<String>()
    };
    rows.iter().map(line).collect()
}

/// The figures of a slice behind each other.
fn figures_line(figures: &Value) -> String {
    let figures = figures.as_object().into_iter().flatten();
    let shown =
        figures.map(|(name, value)| format!("{} {}", name.replace('_', " "), number(value)));
    shown.collect::<Vec<_>>().join(", ")
}

fn number(value: &Value) -> String {
    match value.as_u64() {
        Some(count) => count.to_string(),
        None => print::shown(value.as_f64()),
    }
}

/// Processor time from here on, by the program itself and by the system for it.
pub(crate) struct CpuClock {
    clock: libc::clockid_t,
    started: f64,
}

impl CpuClock {
    /// The clock of the whole process, since it began.
    pub(crate) fn of_process() -> CpuClock {
        CpuClock {
            clock: libc::CLOCK_PROCESS_CPUTIME_ID,
            started: 0.0,
        }
    }

    /// The clock of this thread, from now on.
    pub(crate) fn of_thread() -> CpuClock {
        let clock = libc::CLOCK_THREAD_CPUTIME_ID;
        let started = read(clock);
        CpuClock { clock, started }
    }

    /// The time on the clock.
    pub(crate) fn seconds(&self) -> f64 {
        read(self.clock) - self.started
    }
}

fn read(clock: libc::clockid_t) -> f64 {
    // SAFETY: `timespec` is numbers only, for which zero bytes are a value.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timespec` that lives through the call.
    let status = unsafe { libc::clock_gettime(clock, &mut time) };
    debug_assert_eq!(status, 0, "it fails only for a bad pointer or clock");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use perennial::model::Task;

    use super::*;
    use crate::cli::rows::target::RowTarget;

    fn keys(task: Task, members: Vec<MemberScore>, test: Option<Option<f64>>) -> String {
        let mut scores = RunScores::default();
        match task {
            Task::Regression => {
                scores.note_delivered(RowTarget::Value(0.0), None);
                scores.judge(RowTarget::Value(1.0), RowTarget::Value(1.0));
            }
            Task::Classification { .. } => {
                scores.judge(RowTarget::Name(0), RowTarget::Name(0));
            }
            Task::Bandit { .. } => {
                scores.judge(RowTarget::Name(0), RowTarget::Name(0));
                scores.note_reward(1.0);
            }
        }
        let report = RunReport {
            names: ScoreNames::of(&task),
            scores,
            seconds: 1.0,
            cpu_seconds: 1.0,
            monitored: MonitorFigures::default(),
            drift_alarms: vec![("input".to_owned(), 2)],
            retention: members.first().and_then(|member| member.retention),
            members,
            classes: Vec::new(),
            each_class: false,
            test,
            n_unusable: 0,
            n_without_target: 0,
            n_known: 0,
            n_retracted: 0,
            n_held_out: 0,
            n_undone: 0,
            notes: Vec::new(),
            warnings: Vec::new(),
        };
        let fields = report.fields();
        fields.keys().cloned().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_names_are_those_of_the_contract() {
        let classes = vec!["a".to_owned()];
        let actions = classes.clone();
        let members = vec![MemberScore {
            name: "linear".to_owned(),
            score: 0.5,
            retention: Some(0.25),
        }];
        let end = "examples_per_second cpu_seconds";
        assert_eq!(
            keys(
                Task::Classification {
                    classes_max: 1,
                    classes
                },
                members,
                Some(None)
            ),
            format!(
                "examples progressive_accuracy last_tenth_accuracy no_change_accuracy \
                 commonest_class_accuracy balanced_accuracy retention drift_alarms members \
                 member_retention {end} test_accuracy"
            )
        );
        assert_eq!(
            keys(Task::Regression, Vec::new(), None),
            format!(
                "examples mean_absolute_error last_tenth_absolute_error \
                 no_change_absolute_error root_mean_squared_error drift_alarms {end}"
            )
        );
        assert_eq!(
            keys(Task::Bandit { actions }, Vec::new(), None),
            format!("examples mean_reward last_tenth_reward drift_alarms {end}")
        );
    }

    fn report(task: &Task, members: &[(&str, f64)]) -> RunReport {
        let members = members.iter();
        RunReport {
            names: ScoreNames::of(task),
            scores: RunScores::default(),
            seconds: 1.0,
            cpu_seconds: 1.0,
            retention: None,
            monitored: MonitorFigures::default(),
            drift_alarms: Vec::new(),
            members: members
                .map(|(name, score)| MemberScore {
                    name: (*name).to_owned(),
                    score: *score,
                    retention: None,
                })
                .collect(),
            classes: Vec::new(),
            each_class: false,
            test: None,
            notes: Vec::new(),
            n_unusable: 0,
            n_without_target: 0,
            n_known: 0,
            n_retracted: 0,
            n_held_out: 0,
            n_undone: 0,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn rows_that_were_learned_before_have_no_score() {
        let score = |n_known, n_retracted| {
            let mut report = report(&Task::Regression, &[]);
            let scores = &mut report.scores;
            scores.note_delivered(RowTarget::Value(0.0), None);
            scores.judge(RowTarget::Value(1.0), RowTarget::Value(1.0));
            (report.n_known, report.n_retracted) = (n_known, n_retracted);
            report.fields()["mean_absolute_error"].clone()
        };
        assert_eq!(score(0, 0), 0.0);
        assert_eq!(score(1, 0), Value::Null);
        assert_eq!(
            score(1, 1),
            0.0,
            "rows that were taken back are not learned"
        );
    }

    #[test]
    fn the_best_member_comes_first() {
        let check = |task: Task, expected: [&str; 3]| {
            let report = report(&task, &[("a", 0.5), ("b", 0.75), ("c", 0.25)]);
            let fields = report.fields();
            let members = fields["members"].as_object().unwrap();
            assert_eq!(members.keys().collect::<Vec<_>>(), expected);
        };
        let classes = vec!["x".to_owned()];
        check(
            Task::Classification {
                classes_max: 1,
                classes,
            },
            ["b", "a", "c"],
        );
        check(Task::Regression, ["c", "a", "b"]);
    }

    #[test]
    fn classes_are_printed_with_the_scores_of_each() {
        let classes: Vec<String> = ["never", "rare", "often"].map(str::to_owned).to_vec();
        let task = Task::Classification {
            classes_max: 2,
            classes: classes.clone(),
        };
        let mut report = report(&task, &[]);
        (report.classes, report.each_class) = (classes, true);
        for (truth, answer) in [(2, 2), (2, 2), (1, 2)] {
            report
                .scores
                .judge(RowTarget::Name(truth), RowTarget::Name(answer));
        }
        let expected = json!({
            "often": {"count": 2, "precision": 2.0 / 3.0, "recall": 1.0, "f1": 0.8},
            "rare": {"count": 1, "precision": null, "recall": 0.0, "f1": 0.0},
        });
        let fields = report.fields();
        assert_eq!(fields["classes"].to_string(), expected.to_string());
    }

    #[test]
    fn rare_classes_are_noted_without_a_request() {
        let classes: Vec<String> = ["often", "rare", "never"].map(str::to_owned).to_vec();
        let task = Task::Classification {
            classes_max: 3,
            classes: classes.clone(),
        };
        let mut report = report(&task, &[]);
        report.classes = classes;
        for row in 0..30 {
            let truth = RowTarget::Name(u32::from(row == 29));
            report.scores.judge(truth, RowTarget::Name(0));
        }
        assert_eq!(
            report.fields().get("rare_classes"),
            None,
            "one of thirty is not rare"
        );
        report.scores.judge(RowTarget::Name(0), RowTarget::Name(0));
        let expected = json!({"rare": {"count": 1, "recall": 0.0}});
        assert_eq!(report.fields()["rare_classes"], expected);
    }

    #[test]
    fn cells_stand_below_each_other() {
        let rows = [vec!["a", "1.5"], vec!["long", "0"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect());
        assert_eq!(aligned(&rows), ["a     1.5", "long    0"]);
    }

    #[test]
    fn processor_time_goes_on() {
        let (thread, process) = (CpuClock::of_thread(), CpuClock::of_process());
        let before = process.seconds();
        let mut n = 0u64;
        while thread.seconds() <= 0.0 || process.seconds() <= before {
            n = std::hint::black_box(n + 1);
        }
    }
}
