//! Feedback on every subject, and each way in which it can be wrong.
//!
//! Invariant: a refusal is compared as the whole sentence that a client reads.

use super::*;
use crate::event::Signal;
use crate::proto::perennial::v1;

const NOW_S: i64 = 1_700_000_000;
const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn spec(task: &str) -> Spec {
    let input = "[[input]]\nname = \"n\"\nkind = \"number\"";
    Spec::parse(&format!("{task}\n{input}")).expect("a sound description")
}

/// Sound feedback for a bandit's prediction.
fn rewarded() -> FeedbackRequest {
    FeedbackRequest {
        feedback_id: "f".into(),
        prediction_id: Some(ID.into()),
        reward: Some(1.0),
        ..Default::default()
    }
}

/// Sound feedback that brings its own row.
fn with_inputs() -> FeedbackRequest {
    FeedbackRequest {
        prediction_id: None,
        inputs: vec![Tensor {
            name: "n".into(),
            datatype: "FP64".into(),
            shape: vec![1],
            contents: 1.0f64.to_le_bytes().to_vec().into(),
        }],
        action: Some("left".into()),
        propensity: Some(0.5),
        event_time: Some(Timestamp {
            seconds: NOW_S,
            nanos: 5_000,
        }),
        ..rewarded()
    }
}

fn read(task: &str, request: FeedbackRequest) -> Result<Feedback, Refusal> {
    let spec = spec(task);
    feedback(
        request,
        &spec,
        spec.task.names(),
        (Time(NOW_S * 1_000_000), Time(NOW_S * 1_000_000)),
    )
}

const BANDIT: &str = "task = \"bandit\"\nactions = [\"left\", \"right\"]";
const CLASSES: &str = "task = \"classification\"\nclasses = [\"no\", \"yes\"]";
const REGRESSION: &str = "task = \"regression\"";

#[test]
fn sound_feedback_is_taken() {
    let taken = read(BANDIT, rewarded()).expect("sound");
    assert_eq!(taken.signal, Signal::Reward(1.0));
    assert_eq!(
        taken.subject,
        Subject::Prediction(ID.parse().expect("an id"))
    );
    let taken = read(BANDIT, with_inputs()).expect("sound");
    assert_eq!(taken.event_time, Some(Time(NOW_S * 1_000_000 + 5)));
    let Subject::Inputs { batch, decision } = taken.subject else {
        panic!("inputs")
    };
    assert_eq!(batch.n_rows, 1);
    let action = "left".to_owned();
    assert_eq!(
        decision,
        Some(Decision {
            action,
            propensity: 0.5
        })
    );
}

/// Sound feedback for a bandit, changed.
fn check_refused(change: fn(&mut FeedbackRequest), field: &str, expected: &str) {
    let mut request = rewarded();
    change(&mut request);
    let refusal = read(BANDIT, request).expect_err(expected);
    assert_eq!((refusal.field, refusal.message.as_str()), (field, expected));
}

#[test]
fn p9_bad_feedback_is_refused_with_its_field() {
    let check = check_refused;
    check(
        |f| f.feedback_id.clear(),
        "feedback_id",
        "feedback_id: not given; each event has an id of its own, expected 1 to 128 bytes",
    );
    check(
        |f| f.feedback_id = "f".repeat(129),
        "feedback_id",
        "feedback_id: 129 bytes, expected 1 to 128 bytes",
    );
    check(
        |f| f.source = "s".repeat(257),
        "source",
        "source: 257 bytes, expected at most 256",
    );
    for weight in [0.0, -1.0, 1e30, f64::MIN_POSITIVE, 10.5] {
        let mut request = rewarded();
        request.weight = Some(weight);
        let refusal = read(BANDIT, request).expect_err("it is out of range");
        let range = "expected 0.001 to 10, the largest of [feedback] weight_max";
        let expected = format!("weight: {weight:e}, {range}");
        assert_eq!((refusal.field, refusal.message), ("weight", expected));
    }
    check(
        |f| f.weight = Some(f64::NAN),
        "weight",
        "weight: NaN, expected a finite number",
    );
    check(
        |f| f.weight = Some(f64::INFINITY),
        "weight",
        "weight: inf, expected a finite number",
    );
    check(
        |f| f.comment = Some("c".repeat(1025)),
        "comment",
        "comment: 1025 bytes, expected at most 1024",
    );
    check(
        |f| f.tags = (0..17).map(|n| (n.to_string(), "".into())).collect(),
        "tags",
        "tags: 17, expected at most 16",
    );
    check(
        |f| f.tags = [("t".into(), "v".repeat(129))].into(),
        "tags",
        "tags: 129 bytes, expected at most 128 a name or value",
    );
}

#[test]
fn p9_feedback_has_one_subject_and_one_signal() {
    let check = check_refused;
    check(
        |f| f.prediction_id = Some("7".into()),
        "prediction_id",
        "prediction_id: \"7\", expected a hyphenated UUID",
    );
    check(
        |f| f.prediction_id = None,
        "prediction_id",
        "neither prediction_id nor inputs, expected exactly one of them",
    );
    check(
        |f| f.inputs = with_inputs().inputs,
        "prediction_id",
        "both prediction_id and inputs, expected exactly one of them",
    );
    check(
        |f| f.propensity = Some(0.5),
        "propensity",
        "propensity: expected only with a bandit's inputs; a prediction_id already names them",
    );
    check(
        |f| f.reward = None,
        "label",
        "no signal, expected exactly one of label, value, reward, signal and preferred_over",
    );
    check(
        |f| f.label = Some("left".into()),
        "reward",
        "label and reward, expected exactly one of them",
    );
    check(
        |f| f.reward = Some(f64::NAN),
        "reward",
        "reward: NaN, expected a finite number",
    );
    check(
        |f| {
            f.event_time = Some(Timestamp {
                seconds: 1,
                nanos: -1,
            });
        },
        "event_time",
        "event_time: 1 s and -1 ns, expected 0 to 999999999 ns",
    );
}

#[test]
fn p9_a_row_of_its_own_needs_its_time_and_decision() {
    let check = |change: fn(&mut FeedbackRequest), expected: &str| {
        let mut request = with_inputs();
        change(&mut request);
        let refusal = read(BANDIT, request).expect_err(expected);
        assert_eq!(refusal.message, expected);
    };
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let taken = |seconds| {
        let request = FeedbackRequest {
            event_time: at(seconds),
            ..with_inputs()
        };
        read(BANDIT, request).map_err(|refusal| refusal.message)
    };
    assert!(taken(NOW_S - 86_400).is_ok() && taken(NOW_S + 86_400).is_ok());
    assert_eq!(
        taken(NOW_S - 86_401),
        Err("event_time: more than a day ago; older rows come in a declared backfill".into())
    );
    assert_eq!(
        taken(NOW_S + 86_401),
        Err("event_time: more than a day ahead".into())
    );
    assert!(taken(i64::MIN).is_err() && taken(i64::MAX).is_err());
    check(
        |f| f.event_time = None,
        "event_time: missing, expected with inputs",
    );
    check(|f| f.action = None, "action: missing, expected with inputs");
    check(
        |f| f.propensity = None,
        "propensity: missing, expected with inputs",
    );
    check(
        |f| f.action = Some("up".into()),
        "action: \"up\", expected one of left, right",
    );
    check(
        |f| f.propensity = Some(0.0),
        "propensity: 0, expected above 0 and at most 1",
    );
    check(
        |f| f.propensity = Some(f64::NAN),
        "propensity: NaN, expected above 0 and at most 1",
    );
    check(
        |f| f.inputs[0].shape = vec![2],
        "input \"n\": 2 rows, expected 1 to 1",
    );
}

#[test]
fn p9_a_signal_must_suit_the_task() {
    let check = |task: &str, change: fn(&mut FeedbackRequest), expected: &str| {
        let mut request = FeedbackRequest {
            reward: None,
            ..rewarded()
        };
        change(&mut request);
        let refusal = read(task, request)
            .map(|_| ())
            .map_err(|refusal| refusal.message);
        assert_eq!(refusal.err().unwrap_or_default(), expected);
    };
    check(CLASSES, |f| f.label = Some("yes".into()), "");
    check(
        CLASSES,
        |f| f.label = Some("maybe".into()),
        "label: \"maybe\", expected one of no, yes",
    );
    check(
        CLASSES,
        |f| f.value = Some(1.0),
        "value: the model's task is classification, expected a label",
    );
    check(
        CLASSES,
        |f| f.reward = Some(1.0),
        "reward: the model's task is classification, expected a label",
    );
    check(REGRESSION, |f| f.value = Some(1.0), "");
    check(
        REGRESSION,
        |f| f.value = Some(f64::INFINITY),
        "value: inf, expected a finite number",
    );
    check(
        REGRESSION,
        |f| f.label = Some("1".into()),
        "label: the model's task is regression, expected a value",
    );
    check(BANDIT, |f| f.label = Some("right".into()), "");
    check(
        BANDIT,
        |f| f.value = Some(1.0),
        "value: the model's task is bandit, expected a reward, a signal, a preference or a label",
    );
    check(
        BANDIT,
        |f| {
            f.signal = Some(v1::Signal {
                name: "click".into(),
                value: 1.0,
            });
        },
        "signal: the model describes none under [feedback.signals]",
    );
}

/// A bandit with signals.
const SIGNALS: &str = "task = \"bandit\"\nactions = [\"left\", \"right\"]\n\
    [feedback.signals]\nclick = { reward = 1.0 }\n";

fn signalled(name: &str, value: f64) -> FeedbackRequest {
    FeedbackRequest {
        reward: None,
        signal: Some(v1::Signal {
            name: name.into(),
            value,
        }),
        ..rewarded()
    }
}

#[test]
fn p9_signals_are_those_of_the_description() {
    let taken = read(SIGNALS, signalled("click", 1.0)).expect("sound");
    let expected = Signal::Named {
        name: "click".into(),
        value: 1.0,
    };
    assert_eq!(taken.signal, expected);
    let check = |request, expected: &str| {
        let refusal = read(SIGNALS, request).expect_err(expected);
        assert_eq!(refusal.message, expected);
    };
    check(
        signalled("dwell", 1.0),
        "signal: \"dwell\", expected one of click",
    );
    check(
        signalled("click", f64::NAN),
        "signal: NaN, expected a finite number",
    );
}

#[test]
fn p9_rewards_and_signals_are_in_the_range_that_is_described() {
    let check = |task: &str, request, field: &str, expected: &str| {
        let refusal = read(task, request).expect_err(expected);
        assert_eq!((refusal.field, refusal.message.as_str()), (field, expected));
    };
    let reward = |reward| FeedbackRequest {
        reward: Some(reward),
        ..rewarded()
    };
    for taken in [-1e6, 0.0, 1e6] {
        assert!(read(BANDIT, reward(taken)).is_ok(), "{taken}");
        assert!(read(SIGNALS, signalled("click", taken)).is_ok(), "{taken}");
    }
    let keys = "the range of [feedback] reward_min and reward_max";
    let expected = format!("reward: 1e308, expected -1000000 to 1000000, {keys}");
    check(BANDIT, reward(1e308), "reward", &expected);
    let logged = FeedbackRequest {
        reward: Some(1e308),
        ..with_inputs()
    };
    check(BANDIT, logged, "reward", &expected);
    let input = "[[input]]\nname = \"n\"\nkind = \"number\"";
    let narrow = "[feedback]\nreward_min = 0.0\nreward_max = 5.0";
    let spec = Spec::parse(&format!("{BANDIT}\n{input}\n{narrow}"));
    let spec = spec.expect("a sound description");
    let names = spec.task.names();
    let read_narrow = |request| {
        feedback(
            request,
            &spec,
            names,
            (Time(NOW_S * 1_000_000), Time(NOW_S * 1_000_000)),
        )
    };
    assert!(read_narrow(reward(5.0)).is_ok());
    let refusal = read_narrow(reward(-0.5)).expect_err("beyond");
    assert_eq!(
        refusal.message,
        format!("reward: -5e-1, expected 0 to 5, {keys}")
    );
    let expected =
        "signal: 1e308, expected -1000000 to 1000000, the range of its value_min and value_max";
    check(SIGNALS, signalled("click", 1e308), "signal", expected);
}

#[test]
fn p9_a_preference_names_two_predictions() {
    let preferred = |over: &str| FeedbackRequest {
        reward: None,
        preferred_over: Some(over.into()),
        ..rewarded()
    };
    let other = "01890a5d-ac96-774b-bcce-b302099a8058";
    let taken = read(BANDIT, preferred(other)).expect("sound");
    assert_eq!(taken.signal, Signal::PreferredOver(other.parse().unwrap()));
    let check = |over: &str, expected: &str| {
        let refusal = read(BANDIT, preferred(over)).expect_err(expected);
        assert_eq!(refusal.message, expected);
    };
    check(ID, "preferred_over: expected with another prediction_id");
    check("me", "preferred_over: \"me\", expected a hyphenated UUID");
}

#[test]
fn p9_a_new_label_needs_a_free_place() {
    let open = |classes_max| format!("{CLASSES}\nclasses_max = {classes_max}");
    let labelled = |label: &str| FeedbackRequest {
        reward: None,
        label: Some(label.into()),
        ..rewarded()
    };
    assert!(read(&open(3), labelled("perhaps")).is_ok());
    let refusal = read(&open(3), labelled("")).expect_err("no name");
    assert_eq!(refusal.message, "label: 0 bytes, expected 1 to 200");
    let three = ["no", "yes", "perhaps"].map(str::to_owned);
    let spec = spec(&open(3));
    let refusal = feedback(labelled("never"), &spec, &three, (Time(0), Time(0))).expect_err("full");
    assert_eq!(refusal.code, tonic::Code::FailedPrecondition);
    assert!(refusal.message.contains("all 3 places are taken"));
}

#[test]
fn p9_a_backfill_is_declared_by_its_field_and_takes_rows_of_any_age() {
    let old = |backfill: Option<&str>| FeedbackRequest {
        backfill: backfill.map(str::to_owned),
        event_time: Some(Timestamp {
            seconds: NOW_S - 400 * 24 * 3600,
            nanos: 0,
        }),
        ..with_inputs()
    };
    let taken = read(BANDIT, old(Some("may"))).expect("sound");
    assert_eq!(taken.backfill(), Some("may"));
    assert_eq!(taken.source, "may");
    let sourced = FeedbackRequest {
        source: "job".into(),
        ..old(Some("may"))
    };
    assert_eq!(read(BANDIT, sourced).expect("sound").source, "job");
    let check = |request: FeedbackRequest, expected: &str| {
        let refusal = read(BANDIT, request).unwrap_err();
        assert_eq!(refusal.message, expected);
    };
    check(
        old(None),
        "event_time: more than a day ago; older rows come in a declared backfill",
    );
    check(old(Some("")), "backfill: 0 bytes, expected 1 to 128");
    let timeless = FeedbackRequest {
        event_time: None,
        ..old(Some("may"))
    };
    check(timeless, "event_time: missing, expected in a backfill");
    let ahead = FeedbackRequest {
        event_time: Some(Timestamp {
            seconds: NOW_S + 2 * 24 * 3600,
            nanos: 0,
        }),
        ..old(Some("may"))
    };
    check(ahead, "event_time: more than a day ahead");
    let tagged = FeedbackRequest {
        tags: HashMap::from([("backfill".to_owned(), "may".to_owned())]),
        ..rewarded()
    };
    check(
        tagged,
        "tags: \"backfill\" is set by the field backfill alone",
    );
}

#[test]
fn a_weight_and_a_comment_are_taken_within_their_bounds() {
    let request = |weight| FeedbackRequest {
        weight: Some(weight),
        comment: Some("c".repeat(1024)),
        ..rewarded()
    };
    for weight in [0.001, 1.0, 10.0] {
        let taken = read(BANDIT, request(weight)).expect("sound");
        assert_eq!((taken.weight, taken.comment.len()), (weight, 1024));
    }
    let taken = read(BANDIT, rewarded()).expect("sound");
    assert_eq!((taken.weight, taken.comment.as_str()), (1.0, ""));
    let old = format!("{BANDIT}\n[rules]\nrevision = 2\n");
    let parse = |weight| {
        let input = "[[input]]\nname = \"n\"\nkind = \"number\"";
        let spec = Spec::parse(&format!("{old}{input}")).expect("a sound description");
        let now = Time(NOW_S * 1_000_000);
        let names: Vec<String> = spec.task.names().to_vec();
        feedback(request(weight), &spec, &names, (now, now))
    };
    assert_eq!(parse(1.0).expect("sound").weight, 1.0);
    let refusal = parse(2.0).expect_err("these rules know no weights");
    let expected = "weight: 2, expected 1 or none, since rules.revision is 2";
    assert_eq!(
        (refusal.field, refusal.message.as_str()),
        ("weight", expected)
    );
}
