//! A stream of values from a file to a report, with nothing set.

use std::fs;

use crate::evaluate::{file, objects, run, text};
use crate::support::{Workspace, rows};
use perennial::event::Column;

#[test]
fn a_regression_is_described_by_init_and_beats_no_change() {
    let workspace = Workspace::new(&[]);
    let mut lines = "x,y,c,target\n".to_owned();
    for (batch, _) in rows(3000, 0.4) {
        let [Column::Numbers(x), Column::Numbers(y), Column::Strings(c)] = &batch.columns[..]
        else {
            panic!("a number, a number and a category")
        };
        let extra = if c[0] == "red" { 2.0 } else { 0.0 };
        let value = 10.0 + 3.0 * x[0] - 2.0 * y[0] + extra;
        lines += &format!("{},{},{},{value}\n", x[0], y[0], c[0]);
    }
    let rows = file(&workspace, "values.csv", lines);
    let models = workspace.models();
    let target = ["--target", "target"];
    let init = ["init", "m", text(&rows), "--models", text(&models)];
    run(&[&init[..], &target].concat(), 0);
    let folder = models.join("m");
    let toml = fs::read_to_string(folder.join("model.toml")).expect("a description");
    assert!(toml.contains("\"regression\""), "{toml}");
    let args = ["evaluate", text(&folder), text(&rows), "--json"];
    let report = objects(&[&args[..], &target].concat()).remove(0);
    let number = |name: &str| report[name].as_f64().expect(name);
    println!("{report}");
    let [error, no_change] = ["mean_absolute_error", "no_change_absolute_error"].map(number);
    assert!(error < 0.2 * no_change, "{report}");
}
