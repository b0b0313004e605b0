//! A client that leaves deadlines to the server.
//!
//! Invariant: a call ends with the server's answer; tonic's own client ends one by itself once
//! its deadline has passed.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use perennial::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use perennial::proto::perennial::v1::learning_client::LearningClient;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Uri};

/// A connection to a server; a clone shares it.
#[derive(Clone)]
pub(super) struct CallsClient {
    sender: SendRequest<Body>,
    origin: Uri,
}

impl CallsClient {
    pub(super) async fn connect(server: SocketAddr) -> CallsClient {
        let stream = TcpStream::connect(server).await.expect("it listens");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        let origin = format!("http://{server}").parse().expect("a URL");
        CallsClient { sender, origin }
    }

    pub(super) fn inference(&self) -> GrpcInferenceServiceClient<CallsClient> {
        GrpcInferenceServiceClient::with_origin(self.clone(), self.origin.clone())
    }

    pub(super) fn learning(&self) -> LearningClient<CallsClient> {
        LearningClient::with_origin(self.clone(), self.origin.clone())
    }
}

impl tower::Service<Request<Body>> for CallsClient {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}
