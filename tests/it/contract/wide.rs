//! Rows with a vector of sixty-four: `auto` has a network and one ridge regression for them; and
//! that the confidence of a model in a noisy world is calibrated.

use perennial::event::{Batch, Column, Outputs, Signal};

use super::{check_finite, mean};
use crate::support::cases::{SEED, TASKS};
use crate::support::{LearnerHarness, rows};

const LENGTH: usize = 64;

fn description(task: &str, length: usize, learner: &str) -> String {
    let names = match task {
        "classification" => "classes = [\"a\", \"b\"]\n",
        "bandit" => "actions = [\"a\", \"b\"]\n",
        _ => "",
    };
    format!(
        "task = \"{task}\"\n{names}seed = {SEED}\n[[input]]\nname = \"v\"\nkind = \"vector\"\n\
         length = {length}\n{learner}"
    )
}

/// The two numbers of a row, and with them noise that is independent of the truth.
fn vector(batch: &Batch, length: usize, index: usize) -> ([f64; 2], Batch) {
    let [x, y] = super::numbers(batch);
    let noise = |place: usize| {
        let mixed = ((index * LENGTH + place) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) as f64 / u64::MAX as f64 - 0.5
    };
    let values = (0..length).map(|place| match place {
        0 => x as f32,
        1 => y as f32,
        _ => noise(place) as f32,
    });
    let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    let columns = vec![Column::Vectors(bytes.into())];
    ([x, y], Batch { n_rows: 1, columns })
}

/// Predicts and teaches rows; the scores of all: right, absolute error or reward.
fn teach(harness: &mut LearnerHarness, range: std::ops::Range<usize>) -> Vec<f64> {
    let mut scores = Vec::new();
    let stream = rows(range.end, 0.3).enumerate().skip(range.start);
    for (index, (batch, class)) in stream {
        let ([x, y], batch) = vector(&batch, LENGTH, index);
        let prediction = harness.predict(batch);
        let right = |place: u32| f64::from(u8::from((place == 0) == (class == "a")));
        let (score, truth) = match &prediction.outputs {
            Outputs::Probabilities(p)
            | Outputs::Decisions {
                probabilities: p, ..
            } => (
                right(u32::from(p[1] > p[0])),
                Signal::Label(class.to_owned()),
            ),
            Outputs::Values(values) => {
                let value = 3.0 * x - 2.0 * y;
                ((values[0] - value).abs(), Signal::Value(value))
            }
            Outputs::Actions { chosen, .. } => {
                let reward = right(chosen[0]);
                (reward, Signal::Reward(reward))
            }
        };
        scores.push(score);
        harness.submit(prediction.ids[0], truth);
    }
    scores
}

#[test]
fn auto_learns_wide_rows_and_goes_on_as_it_was_saved() {
    for task in TASKS {
        let toml = description(task, LENGTH, "");
        let mut harness = LearnerHarness::new(&toml);
        teach(&mut harness, 0..300);
        let mut loaded = harness.clone();
        loaded.reload();
        let scores = teach(&mut harness, 300..1500);
        teach(&mut loaded, 300..1500);
        assert!(loaded.learner == harness.learner, "{task}");
        assert!(loaded.journal == harness.journal, "{task}");
        check_finite(
            &wide_case(task, &toml),
            "wide",
            &harness.learner.learned().weights(),
        );
        let last = mean(&scores[900..]);
        println!("{task}: {last:.3}");
        let learned = match task {
            "regression" => last < 0.2 * harness.learner.evaluation().no_change().mean(),
            _ => last > 0.9,
        };
        assert!(learned, "{task}: {last}");
    }
}

fn wide_case(task: &'static str, toml: &str) -> super::Case {
    super::Case {
        name: format!("wide {task}"),
        task,
        toml: toml.to_owned(),
        remembered_max: usize::MAX,
    }
}

/// The members of `auto` that have a score.
fn members(length: usize, task: &str) -> Vec<String> {
    let mut harness = LearnerHarness::new(&description(task, length, ""));
    for (index, (batch, class)) in rows(3, 0.3).enumerate() {
        let id = harness.predict(vector(&batch, length, index).1).ids[0];
        let truth = match task {
            "classification" => Signal::Label(class.to_owned()),
            "regression" => Signal::Value(index as f64),
            _ => Signal::Reward(1.0),
        };
        harness.submit(id, truth);
    }
    let members = harness.learner.evaluation().members().iter();
    members.map(|member| member.name.clone()).collect()
}

#[test]
fn the_members_of_auto_follow_the_shape_of_rows() {
    for task in TASKS {
        let [narrow, wide] = [LENGTH - 1, LENGTH].map(|length| members(length, task));
        println!("{task}: {narrow:?}\n  {wide:?}");
        let with = |members: &[String], name: &str| members.iter().any(|one| one == name);
        assert!(
            with(&wide, "network") && !with(&narrow, "network"),
            "{wide:?}"
        );
        // A forest stands in the place of the regression that forgets.
        let forgets = with(&narrow, "analytic-0.999");
        assert_eq!(forgets, !with(&narrow, "forest"), "{narrow:?}");
        assert!(!with(&wide, "analytic-0.999"), "{wide:?}");
        for name in ["analytic", "neighbours-200", "neighbours-1000"] {
            assert!(with(&narrow, name) && with(&wide, name), "{name}: {wide:?}");
        }
    }
}

/// The mean log loss over the last of these rows, and the least that any model can have: each
/// class is drawn with a known probability.
fn log_losses(learner: &str, length: usize) -> [f64; 2] {
    const N_ROWS: usize = 6000;
    let mut harness = LearnerHarness::new(&description("classification", length, learner));
    let mut sums = [0.0; 2];
    let mut state = 1u64;
    for (index, (batch, _)) in rows(N_ROWS, 0.3).enumerate() {
        let ([x, y], batch) = vector(&batch, length, index);
        let p = 1.0 / (1.0 + (-2.0 * x - y).exp());
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let is_a = ((state >> 11) as f64 / (1u64 << 53) as f64) < p;
        let prediction = harness.predict(batch);
        let Outputs::Probabilities(probabilities) = &prediction.outputs else {
            panic!("a classification")
        };
        if index >= N_ROWS / 2 {
            sums[0] -= f64::from(probabilities[usize::from(!is_a)]).max(1e-9).ln();
            sums[1] -= if is_a { p.ln() } else { (1.0 - p).ln() };
        }
        let class = if is_a { "a" } else { "b" };
        harness.submit(prediction.ids[0], Signal::Label(class.to_owned()));
    }
    sums.map(|sum| sum / (N_ROWS / 2) as f64)
}

#[test]
fn answers_in_a_noisy_world_are_as_sure_as_they_should_be() {
    for (what, learner, length, most) in [
        ("auto", "", 2, 0.03),
        ("auto, wide", "", LENGTH, 0.03),
        ("analytic", "[learner]\nkind = \"analytic\"\n", 2, 0.03),
        ("gradient", "[learner]\nkind = \"gradient\"\n", 2, 0.03),
    ] {
        let [loss, least] = log_losses(learner, length);
        println!("{what}: {loss:.4}, the least is {least:.4}");
        assert!(loss < least + most, "{what}: {loss}, {least} is the least");
    }
}
