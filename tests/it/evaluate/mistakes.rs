//! A faulty call is refused in a sentence, with the right code, and leaves nothing behind.

use super::*;

#[test]
fn p9_usual_mistakes_are_refused_in_a_sentence() {
    let workspace = Workspace::new(&[("m", AUTO), ("bandit", BANDIT)]);
    let (rows, folder) = (csv(&workspace, 5), workspace.models().join("m"));
    let (rows, m) = (text(&rows), text(&folder));
    let target = ["--target", "target"];
    let check = |paths: &[&str], end: &[&str], code, expected: &str| {
        refused(&[&["evaluate"], paths, end].concat(), code, expected);
    };
    check(&[rows, m], &target, 2, "the file of rows comes last");
    check(&[rows], &target, 2, "give a model folder");
    check(&[m, rows], &[], 2, "--target");
    check(&[m, rows], &["--action", "target"], 2, "--reward");
    check(
        &[m, rows],
        &["--target", "x", "--version", "2"],
        2,
        "cannot be used with",
    );
    check(&[rows, rows], &target, 2, "expected a model folder");
    let toml = folder.join("model.toml");
    check(&[text(&toml), rows], &target, 2, "name the folder it is in");
    let models = workspace.models();
    check(&[text(&models), rows], &target, 1, "no model.toml in it");
    let missing = models.join("missing");
    check(&[text(&missing), rows], &target, 1, "no such model folder");
    check(&[m, text(&missing)], &target, 1, "missing: No such file");
    check(&[m, rows], &["--target", "z"], 1, "no column \"z\"");
    let svg = |end: &str| text(&models).to_owned() + end;
    let nowhere = svg("/nowhere/picture.svg");
    for name in ["/picture.png", "/picture.txt", "/picture", "/picture.SVG"] {
        let end = ["--target", "target", "--svg", &svg(name)];
        check(&[m, rows], &end, 2, "does not end in .svg");
        assert!(!Path::new(&svg(name)).exists());
    }
    check(
        &[m, rows],
        &["--target", "target", "--svg", &nowhere],
        1,
        "No such file",
    );
    workspace.describe("other", &AUTO.replace("\"x\"", "\"w\""));
    let other = models.join("other");
    check(&[m, text(&other), rows], &target, 1, "other: ");
    check(&[m, text(&other), rows], &target, 1, "no column \"w\"");
    let bandit = models.join("bandit");
    check(
        &[m, text(&bandit), rows],
        &target,
        1,
        "compare models of one task",
    );
}

#[test]
fn p9_what_means_nothing_here_is_misuse() {
    let regression = AUTO.replacen("classification", "regression", 1);
    let regression = regression.replacen("classes = [\"a\", \"b\"]\n", "", 1);
    let workspace = Workspace::new(&[("m", BANDIT), ("value", &regression)]);
    let (rows, models) = (logs(&workspace, 5), workspace.models());
    let [bandit, value] = ["m", "value"].map(|name| models.join(name));
    let journal = workspace.data().join("m");
    for option in [["--test", text(&rows)], ["--correct", "0.5"]] {
        let expected = format!("{}: logged decisions take only", option[0]);
        let args = [&["evaluate", text(&bandit), text(&rows)], &DECISIONS[..]];
        refused(&[&args.concat(), &option[..]].concat(), 2, &expected);
        let args = ["evaluate", text(&bandit), "--journal", text(&journal)];
        refused(&[&args[..], &option[..]].concat(), 2, &expected);
    }
    let rows = csv(&workspace, 5);
    let args = ["evaluate", text(&value), text(&rows), "--target", "target"];
    refused(&[&args[..], &["--classes"]].concat(), 2, "is a regression");
}

#[test]
fn a_run_that_fails_leaves_no_picture() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (rows, folder) = (csv(&workspace, 5), workspace.models().join("m"));
    let mut lines = fs::read_to_string(&rows).expect("rows");
    lines += "0,0,red,neither\n";
    fs::write(&rows, lines).expect("rows");
    let svg = workspace.data().with_file_name("picture.svg");
    let args = ["evaluate", text(&folder), text(&rows), "--target", "target"];
    let args = [&args[..], &["--strict", "--svg", text(&svg)]].concat();
    refused(&args, 1, "\"neither\" is not one of the model's classes");
    assert!(!svg.exists());
    // The file that was there is left as it was.
    fs::write(&svg, "another picture").expect("a file");
    refused(&args, 1, "\"neither\"");
    assert_eq!(
        fs::read_to_string(&svg).expect("it is there"),
        "another picture"
    );
}

/// The folder of one more model.
fn models_of(workspace: &Workspace, name: &str, toml: &str) -> PathBuf {
    let folder = workspace.models().join(name);
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("model.toml"), toml).expect("a description");
    folder
}

#[test]
fn a_file_that_ends_early_is_scored_as_far_as_it_was_read() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (rows, folder) = (csv(&workspace, 60), workspace.models().join("m"));
    let whole = fs::read_to_string(&rows).expect("rows");
    let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    lines[43] = format!("\"{}", lines[43].replace('"', ""));
    fs::write(&rows, lines.join("\n")).expect("rows");
    let args = ["evaluate", text(&folder), text(&rows), "--target", "target"];
    let (stdout, stderr) = run(&[&args[..], &["--json"]].concat(), 1);
    let report: Value = serde_json::from_str(stdout.trim()).expect("an object");
    assert_eq!(report["examples"], 42, "{stderr}");
    assert!(report["progressive_accuracy"].is_number(), "{report}");
    assert!(stderr.contains("error: "), "{stderr}");
    let why = "line 44: a quoted field is never closed";
    assert!(stderr.contains(why), "{stderr}");
    // The prefix of the file stands there once.
    assert_eq!(stderr.matches("rows.csv").count(), 1, "{stderr}");
    let broken = models_of(&workspace, "broken", "task = \"classification\"\n");
    let args_of_broken = ["evaluate", text(&broken), text(&rows), "--target", "target"];
    let (_, stderr) = run(&args_of_broken, 1);
    let file = broken.join("model.toml");
    assert!(
        stderr.starts_with(&format!("error: {}: ", text(&file))),
        "{stderr}"
    );
    // Of no row there is no score.
    fs::write(&rows, format!("{}\n\"1,2\n", lines[0])).expect("rows");
    refused(&args, 1, "line 2: a quoted field is never closed");
}

#[test]
fn p9_a_bad_decision_is_named_with_its_line() {
    let workspace = Workspace::new(&[("m", BANDIT), ("classes", AUTO)]);
    let folder = workspace.models().join("m");
    let check = |row: &str, expected: &str| {
        let rows = file(
            &workspace,
            "bad.csv",
            format!("x,act,p,earned\n1,left,0.5,1\n{row}\n"),
        );
        let args = [&["evaluate", text(&folder), text(&rows)], &DECISIONS[..]];
        refused(&[&args.concat(), &["--strict"][..]].concat(), 1, expected);
        let (_, stderr) = run(&args.concat(), 0);
        assert!(stderr.contains("not used: 1 row,"), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    };
    check(
        "1,up,0.5,1",
        "line 3: column \"act\": \"up\" is not one of the model's actions",
    );
    check(
        "1,left,0,1",
        "line 3: column \"p\": \"0\" is no probability in (0, 1]",
    );
    check(
        "1,left,0.5,much",
        "line 3: column \"earned\": \"much\" is not a finite number",
    );
    let (folder, rows) = (workspace.models().join("classes"), logs(&workspace, 5));
    let args = [&["evaluate", text(&folder), text(&rows)], &DECISIONS[..]];
    refused(&args.concat(), 1, "only a bandit");
}
