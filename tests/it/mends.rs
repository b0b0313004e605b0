//! Decisions through changes of the past: under each policy a promotion by evidence, a rewind, a person's
//! approval and an alias, and behind them a retraction, a restore and a label that supersedes another one.
//!
//! Invariant: a decision of a history that is taken back is derived again, as a second learner decides that
//! never saw the retracted feedback; a restore and a newer label leave the decisions.

use perennial::event::{
    Command, Description, Disposal, Event, Feedback, Judgement, Order, PredictionId, Retraction,
    Selector, Signal,
};
use perennial::learn::{Fate, Learner, Step};
use perennial::model::{REVISION, Spec};

use crate::support::histories::twin;
use crate::support::{LearnerHarness, label, rows};

/// Rates at which the network learns, and at which each update undoes the last.
const GOOD: f64 = 0.05;
const BAD: f64 = 10.0;

fn described(policy: &str, learning_rate: f64) -> String {
    format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
         [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n\
         [[input]]\nname = \"c\"\nkind = \"category\"\n\
         [learner]\nkind = \"gradient\"\noptimizer = \"adamw\"\nlearning_rate = {learning_rate}\n\
         [memory]\nstrategy = \"none\"\n[drift]\naction = \"off\"\n\
         [publish]\npolicy = \"{policy}\"\nevery_examples = 100\nscore_every = 1\n"
    )
}

/// A learner with everything decided that its policy can decide, and an alias of the champion.
struct Decided {
    harness: LearnerHarness,
    policy: &'static str,
    /// The id of an early prediction, and the label that it was given.
    early: (PredictionId, &'static str),
    n_rows: usize,
}

impl Decided {
    fn new(policy: &'static str) -> Decided {
        let mut decided = Decided {
            harness: LearnerHarness::new(&described(policy, GOOD)),
            policy,
            early: (PredictionId(0), ""),
            n_rows: 0,
        };
        decided.teach(400);
        if policy == "manual" {
            decided.approve();
        }
        decided.teach(30);
        // Under every policy a person may approve a contender as well.
        decided.teach_until(200, |learner| learner.contender().is_some());
        decided.approve();
        let (version, _) = decided.harness.learner.champion().expect("a gate");
        decided.order(Order::SetAlias {
            alias: "prod".to_owned(),
            version,
        });
        decided.harness.append(Event::Description(Description {
            toml: Spec::pin(&described(policy, BAD), &[], REVISION),
            build: "a build".to_owned(),
            profile: "a profile".to_owned(),
        }));
        decided.teach_until(800, |learner| !learner.incidents().is_empty());
        decided
    }

    /// Teaches rows, of which every seventh is of the source `batch` and wrong.
    fn teach(&mut self, n_rows: usize) {
        let from = self.n_rows;
        self.n_rows += n_rows;
        for (index, (batch, truth)) in rows(self.n_rows, 0.3).enumerate().skip(from) {
            let id = self.harness.predict(batch).ids[0];
            let is_wrong = index % 7 == 0;
            let other = if truth == "a" { "b" } else { "a" };
            let given_label = if is_wrong { other } else { truth };
            if index == 3 {
                self.early = (id, given_label);
            }
            self.harness.append(Event::Feedback(Feedback {
                source: if is_wrong { "batch" } else { "people" }.to_owned(),
                ..label(id, &format!("row-{index}"), given_label)
            }));
        }
    }

    fn teach_until(&mut self, most: usize, enough: impl Fn(&Learner) -> bool) {
        for _ in 0..most {
            if enough(&self.harness.learner) {
                return;
            }
            self.teach(1);
        }
        panic!("{}: not within {most} rows", self.policy);
    }

    fn order(&mut self, order: Order) -> Step {
        self.harness.append(Event::Command(Command {
            order,
            actor: "ann".to_owned(),
            note: String::new(),
        }))
    }

    /// A person promotes the contender.
    fn approve(&mut self) {
        let learner = &self.harness.learner;
        let (version, _) = learner.contender().expect("one is tested");
        let digest = learner.contender_digest().expect("one is tested");
        let step = self.order(Order::Promote { version, digest });
        assert_eq!(step.refused, None, "{}", self.policy);
        assert_eq!(self.harness.learner.champion_digest(), Some(digest));
    }

    fn n_verdicts(&self, judgement: Judgement) -> usize {
        let verdicts = self
            .harness
            .journal
            .iter()
            .filter(|entry| match entry.event {
                Event::Verdict(verdict) => verdict.judgement == judgement,
                _ => false,
            });
        verdicts.count()
    }

    /// The version that the alias names.
    fn prod(&self) -> u64 {
        self.harness.learner.aliases()["prod"]
    }

    /// The incidents by kind and position.
    fn incidents(&self) -> Vec<(&'static str, u64)> {
        let incidents = self.harness.learner.incidents().iter();
        incidents
            .map(|one| (one.kind.word(), one.position))
            .collect()
    }

    /// Saved, loaded and applied again, it is the same.
    fn check_replay(&self) {
        let learner = &self.harness.learner;
        let loaded = Learner::load(learner.learned().weights(), learner.state());
        assert!(loaded.expect("it was saved") == *learner, "{}", self.policy);
        let mut again = LearnerHarness::before(&self.harness.journal);
        let entries = self.harness.journal.iter();
        entries.for_each(|entry| drop(again.apply(entry.clone())));
        assert!(again.learner == *learner, "{}: replayed", self.policy);
    }
}

/// Every policy, with its decisions.
fn all() -> impl Iterator<Item = Decided> {
    ["live", "gated", "manual"].into_iter().map(|policy| {
        let decided = Decided::new(policy);
        // The approvals are promotions as well.
        let by_evidence =
            decided.n_verdicts(Judgement::Promoted) > 1 + usize::from(policy == "manual");
        assert_eq!(by_evidence, policy != "manual", "{policy}");
        assert_eq!(decided.n_verdicts(Judgement::Rewound) > 0, policy == "live");
        let kind = if policy == "live" { "rewound" } else { "worse" };
        assert_eq!(decided.incidents()[0].0, kind, "{policy}");
        decided
    })
}

#[test]
fn p6_a_retraction_derives_every_decision_again() {
    for mut decided in all() {
        let policy = decided.policy;
        let (prod, before) = (decided.prod(), decided.harness.learner.champion_digest());
        let is_first =
            |event: &Event| matches!(event, Event::Feedback(one) if one.source == "batch");
        let mut entries = decided.harness.journal.iter();
        let first = entries.find(|one| is_first(&one.event)).expect("it sends");
        let step = decided.order(Order::Retract(Retraction {
            selector: Selector::Source("batch".to_owned()),
            first_position: first.position,
            disposal: Disposal::Keep,
        }));
        let learner = &decided.harness.learner;
        // The champion is that of never having seen it, and neither the one of before.
        let twin = twin(&decided.harness.journal);
        assert_eq!(
            learner.champion_digest(),
            twin.learner.champion_digest(),
            "{policy}"
        );
        assert_eq!(
            learner.learned().digest(),
            twin.learner.learned().digest(),
            "{policy}"
        );
        assert_ne!(learner.champion_digest(), before, "{policy}");
        // The approvals were of other weights: the certificate says so, and under manual version 1 serves.
        let change = step.champion.expect("it brings another history");
        assert!(
            !change.void.is_empty() && change.before.version > 1,
            "{policy}: {change:?}"
        );
        let is_first_version = learner.champion_digest() == decided.harness.digest_of(1);
        assert_eq!(is_first_version, policy == "manual", "{policy}");
        assert_eq!(change.after.version, learner.champion().expect("a gate").0);
        // The alias names the first version without it.
        let moved = &step.moved_aliases[..];
        let [moved] = moved else {
            panic!("{policy}: {moved:?}")
        };
        assert_eq!(
            (moved.before, moved.after),
            (prod, decided.prod()),
            "{policy}"
        );
        assert_eq!(learner.tainted().refusal(moved.after), None, "{policy}");
        decided.check_replay();
    }
}

#[test]
fn p5_a_restore_makes_its_version_the_champion_and_leaves_the_rest() {
    for mut decided in all() {
        let policy = decided.policy;
        let (prod, incidents) = (decided.prod(), decided.incidents());
        let step = decided.order(Order::Restore { version: 1 });
        assert_eq!((step.refused, step.champion), (None, None), "{policy}");
        assert!(step.moved_aliases.is_empty());
        let learner = &decided.harness.learner;
        let made = step.version.expect("a version").version;
        assert_eq!(
            learner.champion().map(|(version, _)| version),
            Some(made),
            "{policy}"
        );
        assert_eq!(
            learner.champion_digest(),
            decided.harness.digest_of(1),
            "{policy}"
        );
        assert_eq!(learner.contender(), None, "{policy}");
        assert_eq!(
            (decided.prod(), decided.incidents()),
            (prod, incidents),
            "{policy}"
        );
        decided.check_replay();
    }
}

#[test]
fn a_label_that_supersedes_another_leaves_what_was_decided() {
    for mut decided in all() {
        let policy = decided.policy;
        let before = (
            decided.prod(),
            decided.incidents(),
            decided.harness.learner.champion(),
        );
        let champion = decided.harness.learner.champion_digest();
        let ((id, given_label), learned) =
            (decided.early, decided.harness.learner.learned().digest());
        let other = if given_label == "a" { "b" } else { "a" };
        let step = decided.harness.append(Event::Feedback(Feedback {
            source: "people".to_owned(),
            ..label(id, "newer", other)
        }));
        assert!(step.moved_aliases.is_empty() && step.champion.is_none());
        let learner = &decided.harness.learner;
        // Under live the row was undone with the rewind, where the champion had not learned it.
        assert!(
            learner.learned().digest() != learned || policy == "live",
            "{policy}"
        );
        assert_eq!(learner.champion_digest(), champion, "{policy}");
        let after = (
            decided.prod(),
            decided.incidents(),
            decided.harness.learner.champion(),
        );
        assert_eq!(after, before, "{policy}");
        decided.check_replay();
    }
}

/// A bandit whose policy gives evidence, and a classifier, each of which looks for drift.
fn watched(policy: &str) -> [(String, [Signal; 2]); 2] {
    let classifier = described(policy, GOOD)
        .replace("action = \"off\"", "action = \"report\"")
        .replace("[memory]", "examples_per_update = 1\n[memory]");
    let bandit = classifier
        .replace("classification", "bandit")
        .replace("classes", "actions")
        + "[policy]\nkind = \"epsilon\"\nfloor = 0.1\n[feedback]\naggregate = \"last\"\n";
    let labels = ["a", "b"].map(|name| Signal::Label(name.to_owned()));
    let rewards = [0.25, 0.75].map(Signal::Reward);
    [(classifier, labels), (bandit, rewards)]
}

#[test]
fn p5_a_second_label_behind_a_restore_is_no_further_evidence() {
    for policy in ["live", "gated", "manual"] {
        for (toml, [first, second]) in watched(policy) {
            let mut harness = LearnerHarness::new(&toml);
            let mut all = rows(600, 0.3);
            let mut teach = |harness: &mut LearnerHarness| {
                let (batch, truth) = all.next().expect("a row");
                let id = harness.predict(batch).ids[0];
                harness.submit(
                    id,
                    match first {
                        Signal::Reward(_) => Signal::Reward(f64::from(u8::from(truth == "a"))),
                        _ => Signal::Label(truth.to_owned()),
                    },
                );
            };
            (0..50).for_each(|_| teach(&mut harness));
            let (batch, _) = rows(1, 0.9).next().expect("a row");
            let id = harness.predict(batch).ids[0];
            harness.submit(id, first.clone());
            let order = Order::Restore { version: 1 };
            let (actor, note) = Default::default();
            let step = harness.append(Event::Command(Command { order, actor, note }));
            assert_eq!(step.refused, None);
            while harness.learner.contender().is_none() {
                teach(&mut harness);
            }
            (0..5).for_each(|_| teach(&mut harness));
            let twin = harness.clone();
            let fate = harness.submit(id, second).fate;
            let (harness, twin) = (&harness.learner, &twin.learner);
            assert_eq!(fate, Some(Fate::Applied), "{policy}");
            assert_ne!(harness.learned().digest(), twin.learned().digest());
            assert!(twin.promotion_evidence().is_some() && twin.n_scored() > 100);
            let evidence = |one: &Learner| (one.promotion_evidence(), one.decline_evidence());
            assert_eq!(evidence(harness), evidence(twin), "{policy}");
            assert_eq!(harness.n_scored(), twin.n_scored(), "{policy}");
            assert!(twin.detectors().is_some() && harness.detectors() == twin.detectors());
        }
    }
}
