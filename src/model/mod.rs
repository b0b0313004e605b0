//! The function we serve: from validated rows to answers. It knows shapes, not requests.
//!
//! Promise: a [`Model`] never changes. Equal models give equal answers for equal batches, bit
//! for bit within one numeric profile, on any thread.
//!
//! In reading order: [`Spec`] (the description), `Encoder` (values to features), [`Network`] and
//! `Portfolio` (features to outputs), [`Model`] (all of it), [`Target`] (the label, value or
//! reward), [`weights`] (named tensors, the form of saved state). The folders: `linear_algebra`,
//! `encoders`, `predictors`.
//!
//! ```
//! use perennial::model::{Estimates, Spec};
//!
//! let toml = "task = 'bandit'\nactions = ['left', 'right']\n\
//!             [[input]]\nname = 'x'\nkind = 'number'\n[policy]\nkind = 'greedy'";
//! let estimates = Estimates { scores: &[0.2, 0.7], deviations: &[], n_examples: 9 };
//! assert_eq!(Spec::parse(toml)?.policy.distribution(estimates), [0.0, 1.0]);
//!
//! let error = Spec::parse(&toml.replace("greedy", "clever")).unwrap_err().to_string();
//! assert!(error.starts_with("policy.kind"), "{error}");
//! # Ok::<(), perennial::model::SpecError>(())
//! ```

mod answer;
mod encoders;
mod linear_algebra;
mod loss;
mod policy;
mod predictors;
mod spec;
pub mod weights;

pub use crate::device::{Device, Error as DeviceError, profile};
pub use crate::onnx::Error as EncoderError;
pub use answer::{Choice, Model};
pub(crate) use answer::{Function, OutputForm, answered_class, finish};
pub(crate) use encoders::features::{
    Conversion, Encoder, Reach, Rescale, Scale, floats, n_buckets,
};
pub use encoders::features::{Encoded, Filters, RawRow, Scales, StoredRow};
pub use encoders::past::Past;
pub(crate) use encoders::past::{PERIODS, RECENT};
pub(crate) use encoders::text::TokenReader;
pub use encoders::text::{Adapters, TextEncoder};
pub(crate) use encoders::text::{EncoderFiles, EncoderWeights};
pub(crate) use encoders::vector::VectorEncoder;
pub use linear_algebra::matrix;
pub(crate) use linear_algebra::median::median;
pub(crate) use linear_algebra::sparse::SparseTable;
pub use loss::{Target, argmax, softmax};
pub use policy::Estimates;
pub(crate) use predictors::forest::{Forest, Split, Test, Tree, load_tests, save_tests};
pub(crate) use predictors::neighbours::{BaseRates, Nearest, RememberedRow, Voters};
pub use predictors::neighbours::{NeighbourWindow, Neighbours};
pub(crate) use predictors::network::layers::WEIGHT_MAX;
pub use predictors::network::layers::{Layer, Parameters};
pub use predictors::network::weight_check::TensorMatch;
pub(crate) use predictors::network::weight_check::{weight_check, widths};
pub use predictors::network::{Network, Rule, Training};
pub(crate) use predictors::portfolio::{
    KeptAnswers, Member, MemberOutputs, NoChange, Plan, Pool, Portfolio, Range, RetainedAnswer,
    log, logistic_share,
};
pub(crate) use predictors::ridge::{
    LogRidge, Posterior, RandomFeatureSettings, RandomFeatures, Ridge, RidgeWeights,
};
pub(crate) use predictors::series::{REGRESSIONS, Ring, Series};
pub use spec::keys;
pub(crate) use spec::{
    Aggregate, Analytic, Gradient, Input, JournalLimits, NamedEncoder, NamedFiles, Neighbourhood,
    Optimizer, Rewards, Strategy,
};
pub use spec::{
    Budget, Costs, Datatype, DriftAction, DriftSettings, Error as SpecError, ImplicitSignal,
    InputKind, Keep, LearnerKind, LowRank, MonitorSettings, OrderedLimits, PinnedFile, Publish,
    PublishPolicy, QuarantineSettings, REVISION, RowFormat, SeriesSettings, Spec, Task, TimeFormat,
    Times, encoding_named, rfc_3339_of,
};
