//! The table of keys.
//!
//! Invariant: a key stands once, with the other keys of its table; a default that was measured has
//! its numbers above it.
//!
//! The parser takes a default from here by the name of its key. A default that depends on other
//! keys, or on the revision of the rules, stands here in words and is computed where its table is
//! read, in `src/model/spec/parse.rs` and `src/model/spec/parse/`. A description in a journal leaves
//! a default out, so a changed one would change the state of old entries: where learning reads it,
//! it stays as it was under every older revision, as that of `journal.ids_max` does.

use super::drift;
use super::journal;
use super::key::{AllowedValues, Key};
use super::monitor;
use super::publish;
use super::quarantine;
use super::retrain;
use super::rows;
use super::sources;

use crate::model::spec::revision::REVISION;

/// Classes or actions at most.
pub(in crate::model::spec) const NAMES_MAX: u64 = 100_000;
/// Values of a vector, or of an encoder's output, at most.
const LENGTH_MAX: u64 = 65_536;

/// Every key that an author may write, in the order of the tables.
pub const KEYS: &[Key] = &joined();

/// The parts of the table, each in the order of its keys.
const PARTS: [&[Key]; 9] = [
    MODEL,
    sources::KEYS,
    quarantine::KEYS,
    publish::KEYS,
    drift::KEYS,
    retrain::KEYS,
    monitor::KEYS,
    journal::KEYS,
    rows::KEYS,
];
const N_KEYS: usize = MODEL.len()
    + sources::KEYS.len()
    + quarantine::KEYS.len()
    + publish::KEYS.len()
    + drift::KEYS.len()
    + retrain::KEYS.len()
    + monitor::KEYS.len()
    + journal::KEYS.len()
    + rows::KEYS.len();

const fn joined() -> [Key; N_KEYS] {
    let mut keys = [MODEL[0]; N_KEYS];
    let (mut part, mut at, mut place) = (0, 0, 0);
    while place < N_KEYS {
        if at == PARTS[part].len() {
            (part, at) = (part + 1, 0);
        }
        keys[place] = PARTS[part][at];
        (at, place) = (at + 1, place + 1);
    }
    keys
}

/// The keys that a server reads.
const MODEL: &[Key] = &[
    Key {
        name: "task",
        values: AllowedValues::Words(&["classification", "regression", "bandit"]),
        default: "",
        unit: "",
        meaning: "The prediction: a class, a number, or an action that is learned from its rewards.",
    },
    Key {
        name: "classes",
        values: AllowedValues::List("1 to 100000 names in quotes, none twice"),
        default: "",
        unit: "",
        meaning: "For a classification: its classes, in the order of the probabilities.",
    },
    Key {
        name: "actions",
        values: AllowedValues::List("1 to 100000 names in quotes, none twice"),
        default: "",
        unit: "",
        meaning: "For a bandit: its actions, in the order of the scores.",
    },
    Key {
        name: "classes_max",
        values: AllowedValues::Count(1, NAMES_MAX),
        default: "the number of classes",
        unit: "classes",
        meaning: "For a classification: room for new classes. A label that is not among `classes` \
                  takes the next free place.",
    },
    Key {
        name: "seed",
        values: AllowedValues::Count(0, i64::MAX as u64),
        default: "0",
        unit: "",
        meaning: "The seed of all randomness of the model.",
    },
    Key {
        name: "input.name",
        values: AllowedValues::Text("1 to 200 bytes, no name twice"),
        default: "",
        unit: "",
        meaning: "The name of the input: of its tensor in requests, and of its column in files.",
    },
    Key {
        name: "input.kind",
        values: AllowedValues::Words(&["number", "time", "category", "text", "vector"]),
        default: "",
        unit: "",
        meaning: "A number is standardised online; of a time the hour, the weekday, the month and the \
                  time elapsed are inputs; a category and the words of a text are hashed; a vector is \
                  a list of 32-bit floats.",
    },
    Key {
        name: "input.missing",
        values: AllowedValues::Words(&["mean", "empty"]),
        default: "not set: a gap is refused",
        unit: "",
        meaning: "\"mean\" for a number or a time: a gap counts as the running mean, with an indicator \
                  beside it. \"empty\" for a category or a text: a row may be without it, and has the \
                  empty text then.",
    },
    Key {
        name: "input.format",
        values: AllowedValues::Text(
            "a format of %Y %y %m %b %q %d %j %G %V %u %a %H %I %p %M %S %z %s %Q, as %d/%m/%Y %H:%M",
        ),
        default: "not set: RFC 3339",
        unit: "",
        meaning: "For a time: how it is written in requests and in files, beside RFC 3339, of which the \
                  offset, the time of day and the day may be left out. A time of day at the end of the format \
                  may be left out too, and so may its seconds.",
    },
    Key {
        name: "input.zone",
        values: AllowedValues::Text("an offset, as in \"+02:00\", or \"UTC\""),
        default: "UTC",
        unit: "",
        meaning: "For a time: the zone whose hours, days and months count, and that of times without \
                  an offset.",
    },
    Key {
        name: "input.origin",
        values: AllowedValues::Text("a time in RFC 3339"),
        default: "1970-01-01T00:00:00Z",
        unit: "",
        meaning: "For a time: where the time elapsed begins.",
    },
    Key {
        name: "input.length",
        values: AllowedValues::Count(1, LENGTH_MAX),
        default: "",
        unit: "values",
        meaning: "For a vector: the number of its values.",
    },
    // Split-MNIST, `analytic` with 2,000 features: 0.966 without a shape.
    Key {
        name: "input.shape",
        values: AllowedValues::List(
            "[height, width] or [height, width, channels], of at least 1 each",
        ),
        default: "not set: a vector is no image",
        unit: "values",
        meaning: "For a vector without an encoder that is an image, row by row with the channels of a \
                  pixel together: seeded random filters stand before the random features of ridge \
                  regressions and before networks, under rules.revision = 3.",
    },
    Key {
        name: "input.standardise",
        values: AllowedValues::Bool,
        default: "true",
        unit: "",
        meaning: "For a vector without an encoder: whether its values are standardised online, as a \
                  whole.",
    },
    Key {
        name: "input.encoder",
        values: AllowedValues::Text("a path of 1 to 1024 bytes"),
        default: "not set",
        unit: "",
        meaning: "A pretrained encoder, by its path from the folder of the model: for a text the \
                  folder of a BERT, for a vector the file of an ONNX network.",
    },
    Key {
        name: "input.adapters",
        values: AllowedValues::Table(
            "a table of rank, layers and learning_rate, as in { rank = 8 }",
        ),
        default: "not set: the encoder does not learn",
        unit: "",
        meaning: "For a text with an encoder: low-rank adapters of its last layers, which learn.",
    },
    Key {
        name: "input.adapters.rank",
        values: AllowedValues::Count(1, 64),
        default: "8",
        unit: "",
        meaning: "The rank of the adapters.",
    },
    Key {
        name: "input.adapters.layers",
        values: AllowedValues::Count(1, 64),
        default: "2",
        unit: "layers",
        meaning: "The number of last layers with adapters.",
    },
    Key {
        name: "input.adapters.learning_rate",
        values: AllowedValues::Above(0.0, 1.0),
        default: "0.0003",
        unit: "",
        meaning: "The step size of the adapters.",
    },
    Key {
        name: "network.kind",
        values: AllowedValues::Words(&["linear", "mlp"]),
        default: "linear, without a [network]",
        unit: "",
        meaning: "For learner.kind = \"gradient\": a linear network, or a perceptron with hidden \
                  layers.",
    },
    Key {
        name: "network.hidden",
        values: AllowedValues::List("1 to 8 widths of 1 to 8192, as in [256, 256]"),
        default: "",
        unit: "units",
        meaning: "For network.kind = \"mlp\": the widths of the hidden layers.",
    },
    Key {
        name: "network.weights",
        values: AllowedValues::Text("a path of 1 to 1024 bytes"),
        default: "not set: drawn by the seed",
        unit: "",
        meaning: "A safetensors file of trained weights to start with, by its path from the folder \
                  of the model; `perennial import` checks it.",
    },
    Key {
        name: "learner.kind",
        values: AllowedValues::Words(&["auto", "gradient", "analytic", "neighbours"]),
        default: "auto",
        unit: "",
        meaning: "A portfolio of models mixed by their own losses; one network with replay; ridge \
                  regression on random features; or the nearest of the newest examples.",
    },
    Key {
        name: "learner.keep",
        values: AllowedValues::Words(&["recent", "balanced", "everything"]),
        default: "balanced",
        unit: "",
        meaning: "For learner.kind = \"auto\" and a classification, under rules.revision = 3: whether \
                  the newest rows alone decide how the members are mixed, or the rows of a retention \
                  set as well, or whether the answer is the one that keeps best.",
    },
    Key {
        name: "learner.balanced",
        values: AllowedValues::Bool,
        default: "false",
        unit: "",
        meaning: "For a classification, under rules.revision = 3: whether missing a class costs the \
                  more, the rarer the class is. The answered label may then be another than the \
                  likeliest one; probabilities stay as they are.",
    },
    Key {
        name: "learner.costs",
        values: AllowedValues::Table(
            "a table of costs larger than 0 by class, as in { fraud = 20 }",
        ),
        default: "not set: the likeliest class is answered",
        unit: "",
        meaning: "For a classification: the cost of missing each class; 1 for a class that is not \
                  named. The label answered is the class whose probability times cost is the largest.",
    },
    Key {
        name: "learner.optimizer",
        values: AllowedValues::Words(&["sgd", "adamw"]),
        default: "sgd",
        unit: "",
        meaning: "For learner.kind = \"gradient\": the rule that turns gradients into steps.",
    },
    Key {
        name: "learner.learning_rate",
        values: AllowedValues::Above(0.0, 10.0),
        default: "0.05 for sgd, 0.001 for adamw",
        unit: "",
        meaning: "For learner.kind = \"gradient\": the step size.",
    },
    Key {
        name: "learner.examples_per_update",
        values: AllowedValues::Count(1, 4096),
        default: "1; for \"analytic\" by the number of features",
        unit: "examples",
        meaning: "For learner.kind = \"gradient\" or \"analytic\": new examples in one update.",
    },
    // On stationary streams more is better, up to a point; under drift, fewer are (the first 15,000
    // rows with 500, 2,000, 5,000 and 15,000: weather 0.766, 0.776, 0.778, 0.779; elec2 0.892,
    // 0.881, 0.877, 0.877), and a look-up visits each.
    Key {
        name: "learner.examples",
        values: AllowedValues::Count(1, 1_000_000),
        default: "5000",
        unit: "examples",
        meaning: "For learner.kind = \"neighbours\": examples in memory; the oldest is replaced.",
    },
    // The same rows with 3, 10 and 30: elec2 0.874, 0.877, 0.873; weather 0.754, 0.777, 0.785.
    Key {
        name: "learner.nearest",
        values: AllowedValues::Count(1, 1000),
        default: "10",
        unit: "examples",
        meaning: "For learner.kind = \"neighbours\": the nearest examples, which vote.",
    },
    // The work grows with its square, and on narrow streams more gains little (the first 6,000 rows
    // with 100, 500 and 1,000: elec2 0.849, 0.853, 0.857; weather 0.805, 0.801, 0.803; CPU time 1
    // to 6 to 16). Images need thousands.
    Key {
        name: "learner.features",
        values: AllowedValues::Count(0, 16_384),
        default: "500",
        unit: "features",
        meaning: "For learner.kind = \"analytic\": random ReLU features beside the inputs.",
    },
    Key {
        name: "learner.forgetting",
        values: AllowedValues::Above(0.9, 1.0),
        default: "1",
        unit: "",
        meaning: "For learner.kind = \"analytic\": the factor on the weight of an example with each \
                  later one.",
    },
    Key {
        name: "learner.ridge",
        values: AllowedValues::Above(0.0, 1e9),
        default: "1",
        unit: "",
        meaning: "For learner.kind = \"analytic\": the weight of the penalty on squared weights.",
    },
    Key {
        name: "memory.strategy",
        values: AllowedValues::Words(&["none", "er", "er-ace", "der++", "cls-er"]),
        default: "er",
        unit: "",
        meaning: "For learner.kind = \"gradient\": the way in which remembered examples enter an \
                  update.",
    },
    // On the first 15,000 rows of elec2 and weather, an MLP of 64, 0 to 2,000 recent examples differ
    // by 0.003 at most, and so do 8 to 128 replayed ones, of which 128 take six times as long as 8.
    // The long-term memory matters: weather 0.796 with 500 and 0.803 with 5,000, Split-MNIST under
    // `er` 0.85 with 500 and 0.95 with 5,120.
    Key {
        name: "memory.short_term",
        values: AllowedValues::Count(0, 1_000_000),
        default: "500",
        unit: "examples",
        meaning: "For learner.kind = \"gradient\": room for recent examples.",
    },
    Key {
        name: "memory.long_term",
        values: AllowedValues::Count(1, 1_000_000),
        default: "5000",
        unit: "examples",
        meaning: "For learner.kind = \"gradient\": room in the class-balanced reservoir.",
    },
    Key {
        name: "memory.replay",
        values: AllowedValues::Count(1, 4096),
        default: "32",
        unit: "examples",
        meaning: "For learner.kind = \"gradient\": remembered examples in each update.",
    },
    Key {
        name: "policy.kind",
        values: AllowedValues::Words(&[
            "greedy", "epsilon", "softmax", "squarecb", "thompson", "linucb",
        ]),
        default: "squarecb",
        unit: "",
        meaning: "For a bandit: the rule that chooses actions. \"thompson\" and \"linucb\" need \
                  learner.kind = \"analytic\".",
    },
    // The first 8,000 rows as actions with 0.01, 0.05 and 0.2, mean reward: intrusion 0.914, 0.933,
    // 0.772; weather 0.806, 0.793, 0.751.
    Key {
        name: "policy.epsilon",
        values: AllowedValues::Between(0.0, 1.0),
        default: "0.05",
        unit: "",
        meaning: "For policy.kind = \"epsilon\": the share of answers with a random action.",
    },
    // The same with 0.03, 0.1 and 0.3: intrusion 0.984 each time; weather 0.810, 0.806, 0.797.
    Key {
        name: "policy.temperature",
        values: AllowedValues::Above(0.0, 1e6),
        default: "0.1",
        unit: "",
        meaning: "For policy.kind = \"softmax\": the temperature of the scores.",
    },
    Key {
        name: "policy.scale",
        values: AllowedValues::Above(0.0, 1e6),
        default: "30 for squarecb, 1 for thompson",
        unit: "",
        meaning: "For policy.kind = \"squarecb\": the speed at which exploration narrows; for \
                  \"thompson\": the scale of the posterior.",
    },
    Key {
        name: "policy.width",
        values: AllowedValues::Above(0.0, 1e6),
        default: "1",
        unit: "",
        meaning: "For policy.kind = \"linucb\": the width of the confidence bound.",
    },
    Key {
        name: "policy.floor",
        values: AllowedValues::Between(0.0, 0.5),
        default: "0",
        unit: "",
        meaning: "For a bandit: the least probability of every action, whatever the policy; at most 1 \
                  over the number of actions. The rest is divided as by the policy alone.",
    },
    Key {
        name: "backend.device",
        values: AllowedValues::Text("\"cpu\", \"cuda:0\" to \"cuda:63\", or \"candle\""),
        default: "cpu",
        unit: "",
        meaning: "The device of encoders and served networks; \"candle\" is its CPU backend.",
    },
    Key {
        name: "output.datatype",
        values: AllowedValues::Words(&["FP32", "FP64"]),
        default: "FP64; FP32 under rules.revision = 1 and 2",
        unit: "",
        meaning: "For a regression: the datatype of its answers. 32 bits hold seven digits: at 1.7e9 \
                  they step by 128.",
    },
    Key {
        name: "series.key",
        values: AllowedValues::Text("the name of an input that is a category or a number"),
        default: "no key",
        unit: "",
        meaning: "For a regression by learner.kind = \"auto\": the input whose values tell series \
                  apart, such as a store. The past of a row's target is that of its own series.",
    },
    Key {
        name: "series.keys_max",
        values: AllowedValues::Count(1, 65_536),
        default: "1024",
        unit: "series",
        meaning: "Series that are remembered. Beyond, the one that learned last longest ago goes.",
    },
    Key {
        name: "feedback.window_s",
        values: AllowedValues::Count(1, 31_536_000),
        default: "3600",
        unit: "seconds",
        meaning: "The time for which a prediction waits for its rewards. Labels are joined also \
                  after it.",
    },
    Key {
        name: "feedback.waiting_max",
        values: AllowedValues::Count(1, 10_000_000),
        default: "1000000",
        unit: "predictions",
        meaning: "Predictions that wait for feedback; at more, the oldest expires.",
    },
    Key {
        name: "feedback.weight_max",
        values: AllowedValues::Between(1.0, 1000.0),
        default: "10, or sources.budget where that is less",
        unit: "",
        meaning: "The largest weight that an event may have, under rules.revision = 3: an example of \
                  weight 2 counts about as two of weight 1.",
    },
    Key {
        name: "feedback.aggregate",
        values: AllowedValues::Words(&["first", "sum", "max", "last"]),
        default: "first",
        unit: "",
        meaning: "For a bandit: the aggregation of several rewards of one prediction.",
    },
    Key {
        name: "feedback.default_reward",
        values: AllowedValues::Finite("from reward_min to reward_max"),
        default: "not set: nothing is learned",
        unit: "",
        meaning: "For a bandit: the reward of a prediction whose window closes without one.",
    },
    // No honest reward is so large, and a few larger ones would outweigh all others for good.
    Key {
        name: "feedback.reward_min",
        values: AllowedValues::Finite("of at most 1e15 either way, below reward_max"),
        default: "-1000000",
        unit: "",
        meaning: "For a bandit: the smallest reward that is accepted.",
    },
    Key {
        name: "feedback.reward_max",
        values: AllowedValues::Finite("of at most 1e15 either way, above reward_min"),
        default: "1000000",
        unit: "",
        meaning: "For a bandit: the largest reward that is accepted.",
    },
    Key {
        name: "feedback.signals.NAME",
        values: AllowedValues::Table(
            "a table of reward, scale, min, max, value_min and value_max, as in { reward = 1.0 }",
        ),
        default: "no signals",
        unit: "",
        meaning: "For a bandit: an implicit signal, at most 62 of them. Its value counts as the \
                  reward `reward * clamp(value / scale, min, max)`.",
    },
    Key {
        name: "feedback.signals.NAME.reward",
        values: AllowedValues::Finite(""),
        default: "1",
        unit: "",
        meaning: "The reward of a full signal.",
    },
    Key {
        name: "feedback.signals.NAME.scale",
        values: AllowedValues::Above(0.0, f64::MAX),
        default: "1",
        unit: "",
        meaning: "The value of a full signal.",
    },
    Key {
        name: "feedback.signals.NAME.min",
        values: AllowedValues::Finite("at most max"),
        default: "0",
        unit: "",
        meaning: "The smallest share of a full signal that counts.",
    },
    Key {
        name: "feedback.signals.NAME.max",
        values: AllowedValues::Finite("at least min"),
        default: "1",
        unit: "",
        meaning: "The largest share of a full signal that counts.",
    },
    Key {
        name: "feedback.signals.NAME.value_min",
        values: AllowedValues::Finite("below value_max"),
        default: "-1000000 times scale",
        unit: "",
        meaning: "The smallest value that is accepted.",
    },
    Key {
        name: "feedback.signals.NAME.value_max",
        values: AllowedValues::Finite("above value_min"),
        default: "1000000 times scale",
        unit: "",
        meaning: "The largest value that is accepted.",
    },
    Key {
        name: "versions.every_examples",
        values: AllowedValues::Count(1, 1_000_000_000),
        default: "10000",
        unit: "examples",
        meaning: "The cadence of versions: one after each so many learned examples.",
    },
    Key {
        name: "versions.keep",
        values: AllowedValues::Count(1, 10_000),
        default: "10",
        unit: "versions",
        meaning: "Versions of the cadence that are kept; the oldest are deleted.",
    },
    Key {
        name: "rules.revision",
        values: AllowedValues::Count(1, REVISION as u64),
        default: "the newest",
        unit: "",
        meaning: "The revision of the learning rules. Under each, a journal leads to the same state \
                  as under the program that wrote it.",
    },
];
