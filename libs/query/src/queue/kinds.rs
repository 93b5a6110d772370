//! The queue as the two services whose calls are jobs.

use std::sync::Arc;

use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_proto::tactus::v1::{self as messages, JobAnswer};
use tactus_rpc::jobs::{ANSWER_SCOPE, JobKind};
use tonic::{Request, Response, Status};

use super::JobQueue;

impl JobQueue {
    async fn call<K: JobKind>(&self, request: Request<K>) -> Result<Response<K::Answer>, Status> {
        let (answer, memory) = self.run(request.into_inner().job()).await?;
        let JobAnswer { scope, result, .. } = answer;
        let answer = result.and_then(K::answer);
        let answer = answer.ok_or_else(|| Status::internal("a querier answered another job"))?;
        let mut response = Response::new(answer);
        // Whoever does not keep it counts the memory of what it makes of the answer.
        if let Some(memory) = memory {
            response.extensions_mut().insert(Arc::new(memory));
        }
        if !scope.is_empty()
            && let Ok(scope) = scope.parse()
        {
            response.metadata_mut().insert(ANSWER_SCOPE, scope);
        }
        Ok(response)
    }
}

macro_rules! queued {
    ($($service:ident: $trait:ident {
        $($other:ident($other_request:ident) -> $other_answer:ident)*
    } {
        $($kind:ident: $method:ident($request:ident) -> $answer:ident, $route:literal, $tenant:expr;)*
    })*) => { $(
        #[tonic::async_trait]
        impl $trait for JobQueue {
            $(async fn $method(
                &self,
                request: Request<messages::$request>,
            ) -> Result<Response<messages::$answer>, Status> {
                self.call(request).await
            })*

            $(async fn $other(
                &self,
                _: Request<messages::$other_request>,
            ) -> Result<Response<messages::$other_answer>, Status> {
                Err(Status::unimplemented("a queue of queries takes no spans"))
            })*
        }
    )* };
}

tactus_rpc::for_all_jobs!(queued);
