//! Scopes: the rights of callers, and those that each method and path needs.
//!
//! Invariant: a method that no rule names is refused to every caller.

use serde::Deserialize;

/// A right that a credential gives, for the models that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Asks for predictions, and for the models that predict.
    Predict,
    /// Sends feedback, and asks for its fate.
    Feedback,
    /// Releases and discards feedback that waits in quarantine; the sender's labels supersede those of others.
    Review,
    /// Gives orders: checkpoint, restore, retract, retrain, promote, freeze, limits, aliases, incidents.
    Operate,
    /// Reads rows that others sent: audits, and feedback by its id.
    Read,
    /// Reads versions, status, incidents, metrics and the descriptors of the services.
    Observe,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 6] = [
        Scope::Predict,
        Scope::Feedback,
        Scope::Review,
        Scope::Operate,
        Scope::Read,
        Scope::Observe,
    ];

    /// Its name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Predict => "predict",
            Scope::Feedback => "feedback",
            Scope::Review => "review",
            Scope::Operate => "operate",
            Scope::Read => "read",
            Scope::Observe => "observe",
        }
    }
}

/// The need of a method or a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Needs {
    /// Nothing: it shows only that the server runs.
    Nothing,
    /// A credential, whatever its scopes.
    Credential,
    /// One of these scopes.
    OneOf(&'static [Scope]),
}

use Needs::{Credential, Nothing, OneOf};
use Scope::{Feedback, Observe, Operate, Predict, Read, Review};

/// The services, each with the scopes that its methods need.
const SERVICES: [(&str, &[(&str, Needs)]); 6] = [
    (
        "inference.GRPCInferenceService",
        &[
            ("ServerLive", Credential),
            ("ServerReady", Credential),
            ("ServerMetadata", Credential),
            ("ModelReady", OneOf(&[Predict, Observe])),
            ("ModelMetadata", OneOf(&[Predict, Feedback, Observe])),
            ("ModelInfer", OneOf(&[Predict])),
        ],
    ),
    (
        "perennial.v1.Learning",
        &[
            ("StreamFeedback", OneOf(&[Feedback])),
            ("SubmitFeedback", OneOf(&[Feedback])),
        ],
    ),
    (
        "perennial.v1.Registry",
        &[
            ("ListVersions", OneOf(&[Observe, Operate])),
            ("GetVersion", OneOf(&[Observe, Operate])),
            ("Status", OneOf(&[Observe, Operate])),
            ("ListIncidents", OneOf(&[Observe, Operate])),
            ("Watch", OneOf(&[Observe, Operate])),
            ("Checkpoint", OneOf(&[Operate])),
            ("Restore", OneOf(&[Operate])),
            ("Retract", OneOf(&[Operate, Feedback])),
            ("Retrain", OneOf(&[Operate])),
            ("Promote", OneOf(&[Operate])),
            ("Freeze", OneOf(&[Operate])),
            ("Resume", OneOf(&[Operate])),
            ("SetAlias", OneOf(&[Operate])),
            ("UpdateIncident", OneOf(&[Operate])),
            ("SetLimits", OneOf(&[Operate])),
            ("ListQuarantine", OneOf(&[Review])),
            ("Release", OneOf(&[Review])),
            ("Discard", OneOf(&[Review])),
            ("Audit", OneOf(&[Read])),
            ("Fate", OneOf(&[Feedback, Read])),
        ],
    ),
    (
        "grpc.health.v1.Health",
        &[("Check", Nothing), ("Watch", Nothing)],
    ),
    (
        "grpc.reflection.v1.ServerReflection",
        &[("ServerReflectionInfo", OneOf(&[Observe]))],
    ),
    (
        "grpc.reflection.v1alpha.ServerReflection",
        &[("ServerReflectionInfo", OneOf(&[Observe]))],
    ),
];

/// The paths over HTTP.
const PATHS: [(&str, Needs); 3] = [
    ("/v2/health/live", Nothing),
    ("/v2/health/ready", Nothing),
    ("/metrics", OneOf(&[Observe])),
];

/// A method of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Method {
    service: usize,
    method: usize,
}

/// The largest number of methods of one service.
const METHODS_MAX: usize = {
    let (mut max, mut service) = (0, 0);
    while service < SERVICES.len() {
        let n = SERVICES[service].1.len();
        max = if n > max { n } else { max };
        service += 1;
    }
    max
};

impl Method {
    /// The places for counts, as many as there may be methods.
    pub(in crate::server) const PLACES: usize = SERVICES.len() * METHODS_MAX;

    /// The method of a path, if there is one.
    pub(in crate::server) fn find(path: &str) -> Option<Method> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = SERVICES.iter().position(|(known, _)| *known == service)?;
        let (_, methods) = SERVICES[service];
        let method = methods.iter().position(|(known, _)| *known == method)?;
        Some(Method { service, method })
    }

    /// Its needs.
    pub(in crate::server) fn needs(self) -> Needs {
        SERVICES[self.service].1[self.method].1
    }

    /// True if it takes any number of messages over any time.
    pub(in crate::server) fn takes_a_stream(self) -> bool {
        let (_, method) = self.names();
        matches!(method, "StreamFeedback" | "ServerReflectionInfo")
    }

    /// True if it answers by any number of messages over any time.
    pub(in crate::server) fn gives_a_stream(self) -> bool {
        self.takes_a_stream() || self.names().1 == "Watch"
    }

    /// True if it tells of the services.
    pub(in crate::server) fn is_reflection(self) -> bool {
        self.names().1 == "ServerReflectionInfo"
    }

    /// True if it asks for predictions.
    pub(in crate::server) fn is_prediction(self) -> bool {
        self.names() == ("inference.GRPCInferenceService", "ModelInfer")
    }

    /// The names of its service and of itself.
    pub(in crate::server) fn names(self) -> (&'static str, &'static str) {
        let (service, methods) = SERVICES[self.service];
        (service, methods[self.method].0)
    }

    /// Its place among them.
    pub(in crate::server) fn place(self) -> usize {
        self.service * METHODS_MAX + self.method
    }

    /// Every place that a method has, with the names of service and method.
    pub(in crate::server) fn all() -> impl Iterator<Item = (usize, &'static str, &'static str)> {
        let services = SERVICES.iter().enumerate();
        services.flat_map(|(service, (name, methods))| {
            let methods = methods.iter().enumerate();
            methods.map(move |(method, (of_method, _))| {
                let place = Method { service, method }.place();
                (place, *name, *of_method)
            })
        })
    }
}

/// The needs of a path over HTTP; `None` where there is no such path.
pub(in crate::server) fn needs_of_path(path: &str) -> Option<Needs> {
    let (_, needs) = PATHS.iter().find(|(known, _)| *known == path)?;
    Some(*needs)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto::DESCRIPTORS;

    #[test]
    fn every_method_of_the_services_has_a_rule_and_nothing_else_has_one() {
        let mut served = vec![];
        for descriptors in [
            DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            let files = FileDescriptorSet::decode(descriptors).expect("descriptors");
            for file in files.file {
                for service in &file.service {
                    for method in &service.method {
                        let (package, service) = (file.package(), service.name());
                        served.push(format!("/{package}.{service}/{}", method.name()));
                    }
                }
            }
        }
        let without: Vec<&String> = served
            .iter()
            .filter(|p| Method::find(p).is_none())
            .collect();
        assert!(without.is_empty(), "no rule: {without:?}");
        for (service, methods) in SERVICES {
            for (method, _) in methods {
                let path = format!("/{service}/{method}");
                assert!(served.contains(&path), "{path} is not served");
            }
        }
    }

    #[test]
    fn a_path_that_is_only_like_one_has_no_rule() {
        for path in [
            "",
            "/",
            "/metrics/",
            "//metrics",
            "/perennial.v1.Registry",
            "/perennial.v1.Registry/",
            "/perennial.v1.Registry/restore",
            "/perennial.v1.Registry/Restore/",
            "/perennial.v1.registry/Restore",
        ] {
            assert_eq!(Method::find(path), None, "{path:?}");
            assert_eq!(needs_of_path(path), None, "{path:?}");
        }
    }
}
