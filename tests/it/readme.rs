//! The commands of the documents, run from their own text: README.md and every file in docs/.
//!
//! Invariant: a marked block is run as it stands, in order, in a folder with `rows.csv` and links to
//! proto/ and examples/; only ports differ. A mark is an HTML comment on a line of its own before a fenced block:
//!
//! | mark | effect on the block that follows |
//! | --- | --- |
//! | `<!-- run -->` | `sh`: run in one shell for the whole document; `python`: run where tritonclient is |
//! | `<!-- run: python -->` | `sh`: run where tritonclient is |
//! | `<!-- run: background -->` | `sh`: one `perennial serve`, started and left running |
//! | `<!-- file: NAME -->` | written to that file |
//! | `<!-- stop -->` | no block: SIGTERM for the server, until it has ended |

mod shell;
mod steps;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::passed_over::pass_over;
use shell::ShellWorkspace;
use steps::{Action, steps};

/// Rows with three inputs and the target `is_fraud`, which follows from them.
fn rows() -> String {
    let mut csv = "amount,country,hour,is_fraud\n".to_owned();
    for row in 0..400_u32 {
        let amount = 5 + row * 7919 % 496;
        let country = ["DE", "FR", "US", "BR"][(row * 31 % 4) as usize];
        let hour = row * 13 % 24;
        let is_fraud = amount > 300 && (country == "BR" || hour < 6);
        let label = if is_fraud { "yes" } else { "no" };
        writeln!(csv, "{amount}.5,{country},{hour},{label}").expect("a string takes it");
    }
    csv
}

/// Runs the marked blocks of a document; gives how many commands it ran.
fn run(name: &str, document: &str) -> usize {
    let steps = steps(document);
    if steps.is_empty() {
        return 0;
    }
    let mut workspace = ShellWorkspace::new(&rows());
    let mut n_run = 0;
    for step in &steps {
        let place = format!("{name}, line {}", step.line);
        match &step.action {
            Action::Shell(text) => workspace.run(&place, text),
            Action::Background(text) => workspace.serve(&place, text),
            Action::File(file, text) => workspace.write(file, text),
            Action::Stop => workspace.stop(),
            Action::PythonShell(text) if workspace.has_python() => workspace.run(&place, text),
            Action::Python(text) if workspace.has_python() => workspace.run_python(&place, text),
            Action::PythonShell(_) | Action::Python(_) => {
                pass_over(&format!("{place}: tritonclient"));
                continue;
            }
        }
        n_run += 1;
    }
    workspace.stop();
    n_run
}

#[test]
fn marked_blocks_run_in_order_and_reach_their_server() {
    let document = r#"
Text.

<!-- run -->
```sh
perennial init payments rows.csv --target is_fraud   # drafts a model
name=payments
```

<!-- run: background -->
```sh
perennial serve
```

<!-- file: events.jsonl -->
```json
{"feedback_id": "1", "inputs": {"amount": 1, "country": "DE", "hour": 3}, "event_time": "2026-01-31T12:00:00Z", "label": "no"}
```

<!-- run -->
```sh
perennial status "$name"
perennial predict "$name" --set amount=12.5 --set country=DE --set hour=3 --json > answer.json
grep -q prediction_id answer.json
test "$(cat)" = ""
```

```sh
this is not run
```

<!-- stop -->

<!-- run -->
```sh
perennial verify
```
"#;
    assert_eq!(run("a sample", document), 6);
}

#[test]
#[should_panic(expected = "a sample, line 3: `false`")]
fn a_command_that_fails_is_shown_with_its_line() {
    run("a sample", "<!-- run -->\n```sh\nfalse\n```\n");
}

#[test]
#[should_panic(expected = "line 1: `<!-- run -->` is not followed by a block")]
fn a_mark_without_a_block_is_an_error() {
    run("a sample", "<!-- run -->\nText.\n");
}

#[test]
fn the_documents_say_what_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("there are documents");
    let docs = docs.map(|entry| entry.expect("it is listed").path());
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|end| end == "md");
    let mut paths: Vec<PathBuf> = docs.filter(is_markdown).collect();
    paths.push(root.join("README.md"));
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(root).expect("it is below").display();
        let text = fs::read_to_string(&path).expect("it is read");
        run(&name.to_string(), &text);
    }
}
