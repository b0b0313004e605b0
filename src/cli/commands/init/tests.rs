//! Tests of drafts from whole files.

use super::*;
use crate::cli::rows::number::Decimals;

/// A file of the given rows below a header.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

/// A draft for the target `y`.
pub(super) fn drafted(text: &str, task: Option<DraftTask>) -> anyhow::Result<Draft> {
    draft(
        file(text).path(),
        Goal::Target("y", task),
        &ReadOptions::default(),
        &[],
    )
}

#[test]
fn nothing_to_learn_from_is_refused() {
    let check = |text: &str, expected: &str| {
        let error = format!("{:#}", drafted(text, None).unwrap_err());
        assert!(error.ends_with(expected), "{error}");
    };
    check("x,y\n", ": no rows below the header");
    check("x,z\n1,2\n", ": no column \"y\"; the file has \"x\", \"z\"");
    check("y\na\nb\n", ": no column besides the target");
    check(
        ",x,y\n,1,a\n,1,b\n",
        ": no column to learn from: \"\": it has no name; \"x\": constant (1)",
    );
    check(
        "x,y\n1,2,3\n",
        ": line 2: 3 fields, expected 2 as in the header",
    );
    check(
        "{\"x\":1,\"y\":[1]}",
        ": line 1: the target is a list: an object of columns? expected an object a row",
    );
    check(
        "n,y\n1,a\n2,b\n3,a\n",
        ": no column to learn from: \"n\": a row id (1, 2, 3, ...); --as \"n=number\" takes it \
         all the same",
    );
}

#[test]
fn an_index_and_a_value_are_a_series() {
    let series = drafted(",time,y\n1,1,2.5\n2,2,3.5\n3,3,1.5\n", None).unwrap();
    let inputs = series.inputs.iter();
    let inputs: Vec<_> = inputs.map(|input| (&*input.name, &input.kind)).collect();
    assert_eq!(inputs, [("time", &DraftKind::Number)]);
    assert!(series.inputs[0].reason.ends_with("a series"));
    let beside = drafted("n,x,y\n1,4,2.5\n2,9,3.5\n3,1,1.5\n", None).unwrap();
    assert_eq!(beside.inputs.len(), 1);
    assert_eq!(beside.inputs[0].name, "x");
}

#[test]
fn decisions_make_a_bandit_that_sees_neither_reward_nor_propensity() {
    let drafted = |text: &str| {
        let goal = Goal::Decisions(["y", "r", "p"]);
        draft(file(text).path(), goal, &ReadOptions::default(), &[])
    };
    let sound = drafted("x,r,y,p\n5,0,b,0.5\n2,,a,1\n3,2,b,0.25\n").unwrap();
    assert_eq!(sound.task, DraftTask::Bandit);
    assert_eq!(sound.task_reason, "logged decisions; 2 actions in \"y\"");
    assert_eq!(sound.labels, ["a", "b"]);
    let excluded: Vec<String> = sound
        .excluded
        .iter()
        .map(ExcludedColumn::to_string)
        .collect();
    let expected = [
        "\"r\": the reward of the logged action",
        "\"p\": the propensity of the logged action",
    ];
    assert_eq!(excluded, expected);
    let check = |text: &str, expected: &str| {
        let error = format!("{:#}", drafted(text).unwrap_err());
        assert!(error.ends_with(expected), "{error}");
    };
    let check_note = |text: &str, expected: &str| {
        let notes = drafted(text).unwrap().notes;
        assert!(
            notes.iter().any(|note| note.ends_with(expected)),
            "{notes:?}"
        );
    };
    let p = "the first: line 3: column \"p\": \"0\" is not a probability in (0, 1]";
    check_note("x,r,y,p\n1,0,b,0.5\n5,0,a,0\n2,1,a,0.5\n", p);
    let r = "the first: line 2: column \"r\": \"yes\" is not a finite number";
    check_note("x,r,y,p\n1,yes,b,0.5\n5,0,a,0.5\n", r);
    check_note(
        "x,r,y,p\n1,1,b,0.5\n5,0,b,0.5\n",
        "nothing can be learned from that",
    );
    let free = drafted("r,y,p\n1,b,0.5\n0,a,0.5\n").unwrap();
    assert_eq!(free.inputs.len(), 1);
    assert_eq!(free.rows.constants["context"], "");
    // A probability may be written as a percentage.
    let percent = drafted("x,r,y,p\n5,0,b,50%\n2,1,a,100 %\n3,2,b,25%\n").unwrap();
    assert!(
        percent
            .notes
            .iter()
            .all(|note| !note.contains("cannot be learned"))
    );
    for p in ["0", "150%", "-"] {
        let none = drafted(&format!("x,r,y,p\n1,0,b,{p}\n5,0,a,{p}\n")).unwrap_err();
        let none = format!("{none:#}");
        assert!(
            none.contains(": no row can be learned, the first: line 2"),
            "{none}"
        );
    }
    let toml = free.to_toml();
    let spec = perennial::model::Spec::parse(&toml).expect(&toml);
    assert_eq!(spec.rows, free.rows);
    check(
        "x,r,y\n1,1,b\n",
        ": no column \"p\"; the file has \"x\", \"r\", \"y\"",
    );
}

#[test]
fn the_author_settles_what_the_file_leaves_open() {
    let check = |text: &str, decimals: Option<Decimals>, choice: &str, expected: &str| {
        let options = ReadOptions {
            decimals,
            ..ReadOptions::default()
        };
        let choices: Vec<ColumnChoice> = choice.parse().into_iter().collect();
        let goal = Goal::Target("y", None);
        let drafted = draft(file(text).path(), goal, &options, &choices);
        let got = match drafted {
            Ok(draft) => format!("{:?}", draft.inputs[0].kind),
            Err(error) => format!("{error:#}"),
        };
        assert!(got.contains(expected), "{got}, expected {expected}");
    };
    let open = "x;y\n2.107;a\n3.205;b\n2.107;a\n";
    check(open, None, "", "say --decimals point or --decimals comma");
    check(open, Some(Decimals::Point), "", "Number");
    check(open, Some(Decimals::Comma), "", "Number");
    let days = "d,y\n01/02/2004,a\n03/04/2004,b\n05/06/2004,a\n";
    check(days, None, "", "no value tells which");
    check(days, None, "d=date:%d/%m/%Y", "Time(\"%d/%m/%Y\")");
    let days = "d,y\n01/02/2004,a\n13/04/2004,b\n25/06/2004,a\n";
    check(days, None, "d=date:%m/%d/%Y", "reads 1 of the 3 values");
    let columns: Vec<String> = (0..5000).map(|n| format!("c{n}")).collect();
    let row = |from: usize| vec![from.to_string(); 5000].join(",");
    let wide = format!("{},y\n{},a\n{},b\n", columns.join(","), row(1), row(2));
    check(
        &wide,
        None,
        "",
        "5000 columns would be inputs, at most 4096",
    );
}

#[test]
fn a_model_is_written_once() {
    let draft = drafted("x,y\n1,a\n2,b\n", None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("new/models");
    let name: ModelName = "0.x_y-Z".parse().unwrap();
    let path = write(&models, &name, &draft).unwrap();
    assert_eq!(path, models.join("0.x_y-Z/model.toml"));
    assert_eq!(fs::read_to_string(path).unwrap(), draft.to_toml());
    let error = write(&models, &name, &draft).unwrap_err().to_string();
    assert!(error.contains("Z/model.toml: the model exists"), "{error}");
}

/// Checks the draft from a data set: inputs as `kind name`, excluded names, number of labels.
fn check_data(name: &str, inputs: &[String], excluded: &[&str], n_labels: usize) {
    let folder = std::env::var_os("PERENNIAL_DATA");
    let folder = folder.map_or("../shared/data".into(), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        return crate::cli::passed_over::pass_over(&format!(
            "no {}; set PERENNIAL_DATA",
            path.display()
        ));
    }
    let draft = draft(
        &path,
        Goal::Target("label", None),
        &ReadOptions::default(),
        &[],
    )
    .unwrap();
    let got = draft.inputs.iter();
    let got = got.map(|input| format!("{:?} {}", input.kind, input.name));
    assert_eq!(got.collect::<Vec<_>>(), inputs, "{name}");
    let got = draft.excluded.iter().map(|excluded| &excluded.name);
    assert_eq!(got.collect::<Vec<_>>(), excluded, "{name}");
    assert_eq!(draft.task, DraftTask::Classification, "{name}");
    assert_eq!(draft.labels.len(), n_labels, "{name}");
    toml::from_str::<toml::Table>(&draft.to_toml()).unwrap();
}

#[test]
fn streams_of_numbers_and_of_texts_are_drafted_whole() {
    let numbers = |names: &str| -> Vec<String> {
        let names = names.split(' ');
        names.map(|name| format!("Number {name}")).collect()
    };
    let elec2 = "date day period nswprice nswdemand vicprice vicdemand transfer";
    check_data("elec2.csv.gz", &numbers(elec2), &[], 2);
    check_data(
        "weather.csv.gz",
        &numbers("x0 x1 x2 x3 x4 x5 x6 x7"),
        &[],
        2,
    );
    check_data("sea.csv.gz", &numbers("x0 x1 x2"), &[], 2);
    let text = ["Text text".to_owned()];
    check_data("banking77_train.csv.gz", &text, &[], 77);
}

#[test]
fn a_mixed_stream_keeps_all_but_its_constants() {
    let counts = "src_bytes dst_bytes land wrong_fragment urgent hot num_failed_logins \
                  logged_in num_compromised root_shell su_attempted num_root \
                  num_file_creations num_shells num_access_files is_guest_login count \
                  srv_count serror_rate srv_serror_rate rerror_rate srv_rerror_rate \
                  same_srv_rate diff_srv_rate srv_diff_host_rate dst_host_count \
                  dst_host_srv_count dst_host_same_srv_rate dst_host_diff_srv_rate \
                  dst_host_same_src_port_rate dst_host_srv_diff_host_rate \
                  dst_host_serror_rate dst_host_srv_serror_rate dst_host_rerror_rate \
                  dst_host_srv_rerror_rate";
    let mut inputs = vec!["Number duration".to_owned()];
    let words = ["protocol_type", "service", "flag"];
    inputs.extend(words.map(|name| format!("Category {name}")));
    inputs.extend(counts.split(' ').map(|name| format!("Number {name}")));
    let constants = ["num_outbound_cmds", "is_host_login"];
    check_data("intrusion.csv.gz", &inputs, &constants, 22);
}

/// Sales of each store on each day, sorted by the day or by the store.
fn sales(n_stores: usize, n_days: usize, by_day: bool) -> String {
    let mut text = "date,store,kind,y\n".to_owned();
    for place in 0..n_stores * n_days {
        let (day, store) = if by_day {
            (place / n_stores, place % n_stores)
        } else {
            (place % n_days, place / n_days)
        };
        let (month, day) = (1 + day / 28, 1 + day % 28);
        let kind = ["shop", "kiosk", "market"][store % 3];
        let sold = 10.5 + (place * 7 % 40) as f64;
        text += &format!("2024-{month:02}-{day:02},s{store},{kind},{sold}\n");
    }
    text
}

#[test]
fn the_category_that_comes_once_at_each_date_is_the_key_of_the_series() {
    for by_day in [true, false] {
        let draft = drafted(&sales(7, 60, by_day), Some(DraftTask::Regression)).unwrap();
        let key = draft.series.as_ref().expect("a key");
        assert_eq!((&*key.name, key.n_keys, key.n_times), ("store", 7, 60));
        let toml = draft.to_toml();
        assert!(toml.contains("\n[series]\nkey = \"store\" "), "{toml}");
        let spec = perennial::model::Spec::parse(&toml).expect("a description");
        assert!(spec.series.key.is_some());
    }
    // One series, and rows that no category tells apart.
    let one = drafted(&sales(1, 60, true), Some(DraftTask::Regression)).unwrap();
    assert_eq!(one.series, None);
    let twice = sales(6, 60, true).replace(",s5,", ",s1,");
    let twice = drafted(&twice, Some(DraftTask::Regression)).unwrap();
    assert_eq!(twice.series, None);
    let classes = drafted(&sales(7, 60, true), Some(DraftTask::Classification)).unwrap();
    assert_eq!(classes.series, None);
    // Each store comes twice at each date, and not in a row.
    let text = sales(7, 60, false);
    let (_, rows) = text.split_once('\n').unwrap();
    let text = format!("{text}{rows}");
    let repeated = drafted(&text, Some(DraftTask::Regression)).unwrap();
    assert_eq!(repeated.series, None);
}
