//! The list of descriptions that every learner is held to: kinds, networks, optimizers, strategies,
//! policies and tasks.
//!
//! Invariant: one list, and every combination that a description can ask for is on it.

pub(crate) const SEED: u64 = 17;
pub(crate) const LONG_TERM: usize = 24;
pub(crate) const SHORT_TERM: usize = 8;
pub(crate) const TASKS: [&str; 3] = ["classification", "regression", "bandit"];

pub(crate) const STRATEGIES: [&str; 5] = ["none", "er", "er-ace", "der++", "cls-er"];
pub(crate) const POLICIES: [&str; 6] = [
    "greedy", "epsilon", "softmax", "squarecb", "thompson", "linucb",
];

/// A description, and its name in failures.
#[derive(Clone)]
pub(crate) struct Case {
    pub name: String,
    pub task: &'static str,
    pub toml: String,
    /// The most that it may remember.
    pub remembered_max: usize,
}

pub(crate) fn case(task: &'static str, learner: &str, seed: u64, remembered_max: usize) -> Case {
    let names = match task {
        "classification" => "classes = [\"a\", \"b\"]\n",
        "bandit" => "actions = [\"a\", \"b\"]\n",
        _ => "",
    };
    let inputs = "[[input]]\nname = \"x\"\nkind = \"number\"\n\
        [[input]]\nname = \"y\"\nkind = \"number\"\nmissing = \"mean\"\n\
        [[input]]\nname = \"c\"\nkind = \"category\"\n";
    let toml = format!(
        "task = \"{task}\"\n{names}seed = {seed}\n{inputs}{learner}[versions]\nevery_examples = 100\n"
    );
    Case {
        name: format!("seed {seed}, {task}, {}", learner.replace('\n', " ")),
        task,
        toml,
        remembered_max,
    }
}

pub(crate) fn gradient(network: &str, optimizer: &str, strategy: &str) -> String {
    let hidden = match network {
        "mlp" => "hidden = [8]\n",
        _ => "",
    };
    let rate = match optimizer {
        "sgd" => 0.05,
        _ => 0.01,
    };
    format!(
        "[network]\nkind = \"{network}\"\n{hidden}[learner]\nkind = \"gradient\"\n\
         optimizer = \"{optimizer}\"\nlearning_rate = {rate}\nexamples_per_update = 2\n\
         [memory]\nstrategy = \"{strategy}\"\nshort_term = {SHORT_TERM}\n\
         long_term = {LONG_TERM}\nreplay = 4\n"
    )
}

pub(crate) fn remembered_max(strategy: &str) -> usize {
    match strategy {
        "none" => 0,
        _ => LONG_TERM + SHORT_TERM,
    }
}

/// The kinds with default settings, `gradient` with each strategy, and the most they remember.
pub(crate) fn learners() -> Vec<(String, usize)> {
    let mut learners = vec![(String::new(), 1200)];
    let neighbours = "[learner]\nkind = \"neighbours\"\nexamples = 600\nnearest = 7\n";
    learners.push((neighbours.to_owned(), 600));
    learners.push(("[learner]\nkind = \"analytic\"\n".to_owned(), 0));
    for strategy in STRATEGIES {
        let learner = gradient("linear", "sgd", strategy);
        learners.push((learner, remembered_max(strategy)));
    }
    learners
}

/// Every learner with every policy that it can have.
pub(crate) fn policies(seed: u64) -> Vec<(&'static str, Case)> {
    let mut cases = Vec::new();
    for (learner, remembered_max) in learners() {
        for policy in POLICIES {
            let needs_posterior = matches!(policy, "thompson" | "linucb");
            if !needs_posterior || learner.contains("analytic") {
                let settings = format!("[policy]\nkind = \"{policy}\"\n{learner}");
                cases.push((policy, case("bandit", &settings, seed, remembered_max)));
            }
        }
    }
    cases
}

/// Every combination, with this seed.
pub(crate) fn cases(seed: u64) -> Vec<Case> {
    let policies = policies(seed).into_iter().map(|(_, case)| case);
    let mut cases: Vec<Case> = policies.collect();
    for task in TASKS {
        cases.push(case(task, "", seed, 1200));
        let neighbours = "[learner]\nkind = \"neighbours\"\nexamples = 600\nnearest = 7\n";
        cases.push(case(task, neighbours, seed, 600));
        for settings in [
            "",
            "features = 20\nforgetting = 0.99\nexamples_per_update = 2\n",
        ] {
            let learner = format!("[learner]\nkind = \"analytic\"\n{settings}");
            cases.push(case(task, &learner, seed, 0));
        }
        for network in ["linear", "mlp"] {
            for optimizer in ["sgd", "adamw"] {
                for strategy in STRATEGIES {
                    let learner = gradient(network, optimizer, strategy);
                    cases.push(case(task, &learner, seed, remembered_max(strategy)));
                }
            }
        }
    }
    cases
}
