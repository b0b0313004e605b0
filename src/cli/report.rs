//! What a run over the rows of a file came to.
//!
//! Invariant: the names in JSON are a contract; a value that is not known is null.

use serde_json::{Map, Value};

use super::print;
use super::tally::{Names, Tally};

/// The end of a run.
pub struct Report {
    /// What its numbers are called.
    pub names: Names,
    /// How the answers did.
    pub tally: Tally,
    /// How long it took, without the test.
    pub seconds: f64,
    /// The mean score of each member of a portfolio.
    pub members: Vec<(String, f64)>,
    /// The mean score on rows that were not learned, if asked for.
    pub test: Option<Option<f64>>,
    /// What else there is to say to people.
    pub notes: Vec<String>,
}

impl Report {
    /// Prints it: one object for machines, lines for people.
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        let fields = self.fields();
        if json {
            self.notes.iter().for_each(print::note);
            return print::line(Value::Object(fields));
        }
        for (name, value) in &fields {
            let name = name.replace('_', " ");
            match value {
                Value::Object(members) => {
                    for (member, score) in members {
                        print::line(format_args!("  {member:<26} {}", number(score)))?;
                    }
                }
                value => print::line(format_args!("{name:<28} {}", number(value)))?,
            }
        }
        self.notes.iter().try_for_each(print::line)
    }

    fn fields(&self) -> Map<String, Value> {
        let Report { names, tally, .. } = self;
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("examples", tally.examples().into());
        put(names.score, print::json(tally.score()));
        put(names.last_tenth, print::json(tally.last_tenth()));
        if let Some(no_change) = names.no_change {
            put(no_change, print::json(tally.no_change()));
        }
        if !self.members.is_empty() {
            let members = self.members.iter();
            let members = members.map(|(name, score)| (name.clone(), (*score).into()));
            put("members", Value::Object(members.collect()));
        }
        let rate = tally.examples() as f64 / self.seconds;
        put("examples_per_second", print::json(Some(rate)));
        put("cpu_seconds", cpu_seconds().into());
        if let Some(test) = self.test {
            put(names.test, print::json(test));
        }
        fields
    }
}

fn number(value: &Value) -> String {
    match value.as_u64() {
        Some(count) => count.to_string(),
        None => print::shown(value.as_f64()),
    }
}

/// The processor time that this process has used, by itself and by the system for it.
fn cpu_seconds() -> f64 {
    // SAFETY: `rusage` is numbers only, for which zero bytes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `rusage` that lives through the call.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    debug_assert_eq!(
        status, 0,
        "it fails only for a bad pointer or a bad request"
    );
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use perennial::model::Task;

    use super::*;
    use crate::cli::tally::Target;

    fn keys(task: Task, members: Vec<(String, f64)>, test: Option<Option<f64>>) -> String {
        let mut tally = Tally::default();
        tally.judge(Target::Name(0), Target::Name(0));
        let report = Report {
            names: Names::of(&task),
            tally,
            seconds: 1.0,
            members,
            test,
            notes: Vec::new(),
        };
        let fields = report.fields();
        fields.keys().cloned().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_names_are_those_of_the_contract() {
        let classes = vec!["a".to_owned()];
        let actions = classes.clone();
        let members = vec![("linear".to_owned(), 0.5)];
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
                "examples progressive_accuracy last_tenth_accuracy no_change_accuracy members \
                 {end} test_accuracy"
            )
        );
        assert_eq!(
            keys(Task::Regression, Vec::new(), None),
            format!(
                "examples mean_absolute_error last_tenth_absolute_error \
                 no_change_absolute_error {end}"
            )
        );
        assert_eq!(
            keys(Task::Bandit { actions }, Vec::new(), None),
            format!("examples mean_reward last_tenth_reward {end}")
        );
    }
}
