//! The services over gRPC, and the way of a call to its own.
//!
//! Invariant: a call comes to the same method whichever way it goes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::http::{Request, Response};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use super::access::{Caller, Method};
use super::bodies::RequestBody;
use super::context::ServerContext;
use super::inference_service::InferenceService;
use super::learning_service::LearningService;
use super::prediction_call;
use super::registry_service::RegistryService;
use crate::proto::DESCRIPTORS;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::proto::perennial::v1::learning_server::LearningServer;
use crate::proto::perennial::v1::registry_server::RegistryServer;

/// The answer to a call.
pub(super) type ServiceAnswer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// All services of the server.
#[derive(Clone)]
pub(super) struct Services {
    /// Calls for predictions come to it at once: finding a route costs as much as reading the message.
    inference: InferenceService,
    routes: Routes,
}

impl Services {
    /// Compressed messages are inflated before the services.
    pub(super) fn new<H>(context: &Arc<ServerContext>, health: H) -> Services
    where
        H: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        H::Future: Send + 'static,
    {
        let bytes_max = context.config.message_bytes_max;
        let inference = InferenceService(context.clone());
        let generated =
            GrpcInferenceServiceServer::new(inference.clone()).max_decoding_message_size(bytes_max);
        let learning = LearningServer::new(LearningService(context.clone()))
            .max_decoding_message_size(bytes_max);
        let registry = RegistryServer::new(RegistryService(context.clone()));
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let whole = "the descriptors were compiled with this program";
        let routes = Routes::new(generated)
            .add_service(learning)
            .add_service(registry)
            .add_service(reflection().build_v1().expect(whole))
            .add_service(reflection().build_v1alpha().expect(whole))
            .add_service(health)
            .prepare();
        Services { inference, routes }
    }

    pub(super) fn call(
        &self,
        method: Method,
        caller: Caller,
        mut request: Request<RequestBody<Incoming>>,
    ) -> ServiceAnswer {
        if method.is_prediction() && prediction_call::takes(request.headers()) {
            let service = self.inference.clone();
            let (head, body) = request.into_parts();
            return Box::pin(prediction_call::answer(service, caller, head, body));
        }
        request.extensions_mut().insert(caller);
        Box::pin(self.routes.clone().call(request.map(Body::new)))
    }
}
