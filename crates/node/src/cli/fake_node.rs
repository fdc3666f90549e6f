//! The command line against a node that answers from a script, over real gRPC.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use clap::Parser as _;
use hutong_client::proto::{
    self,
    node_service_server::{NodeService, NodeServiceServer},
    sale_service_server::{SaleService, SaleServiceServer},
};
use tonic::{Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Answer, Cli, answer, problem};
use crate::data_folder::DataFolder;

/// Answers `UNAVAILABLE` to the first sale, as a node does that is just starting.
#[derive(Default)]
struct FakeNode {
    attempts: AtomicU32,
    sales: Mutex<Vec<proto::ReportSaleRequest>>,
}

fn check_caller<T>(request: &Request<T>, token: &str) -> Result<(), Status> {
    let header =
        |name| request.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header("authorization") != format!("Bearer {token}") {
        return Err(Status::unauthenticated("no token"));
    }
    assert!(!header("grpc-timeout").is_empty(), "every call has a deadline");
    assert_eq!(header("accept-language"), "zh-CN");
    Ok(())
}

struct Nodes(String);

#[tonic::async_trait]
impl NodeService for Nodes {
    async fn get_status(
        &self,
        request: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        check_caller(&request, &self.0)?;
        Ok(Response::new(proto::GetStatusResponse { version: "9.9.9".to_owned(), ..Default::default() }))
    }

    type ExportBundleStream = futures::stream::Empty<Result<proto::ExportBundleResponse, Status>>;
    type ImportBundleStream = futures::stream::Empty<Result<proto::ImportBundleResponse, Status>>;

    async fn export_bundle(
        &self,
        _request: Request<proto::ExportBundleRequest>,
    ) -> Result<Response<Self::ExportBundleStream>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn import_bundle(
        &self,
        _request: Request<tonic::Streaming<proto::ImportBundleRequest>>,
    ) -> Result<Response<Self::ImportBundleStream>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn rotate_key(
        &self,
        _request: Request<proto::RotateKeyRequest>,
    ) -> Result<Response<proto::RotateKeyResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn plan_override(
        &self,
        _request: Request<proto::PlanOverrideRequest>,
    ) -> Result<Response<proto::PlanOverrideResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn override_key(
        &self,
        _request: Request<proto::OverrideKeyRequest>,
    ) -> Result<Response<proto::OverrideKeyResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn declare_nothing_lost(
        &self,
        _request: Request<proto::DeclareNothingLostRequest>,
    ) -> Result<Response<proto::DeclareNothingLostResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn scrub_journal(
        &self,
        _request: Request<proto::ScrubJournalRequest>,
    ) -> Result<Response<proto::ScrubJournalResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn set_federation(
        &self,
        request: Request<proto::SetFederationRequest>,
    ) -> Result<Response<proto::SetFederationResponse>, Status> {
        check_caller(&request, &self.0)?;
        let mut details = ErrorDetails::new();
        details.set_error_info("NOT_NOW", "hutong", [("until".to_owned(), "later".to_owned())]);
        details.set_localized_message("zh-CN", "现在不行");
        Err(Status::with_error_details(tonic::Code::FailedPrecondition, "not now", details))
    }
}

#[tonic::async_trait]
impl SaleService for FakeNode {
    async fn report_sale(
        &self,
        request: Request<proto::ReportSaleRequest>,
    ) -> Result<Response<proto::ReportSaleResponse>, Status> {
        self.sales.lock().unwrap().push(request.into_inner());
        if self.attempts.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Status::unavailable("starting"));
        }
        let vouchers = vec![proto::Voucher { id: "v1".to_owned(), ..Default::default() }];
        Ok(Response::new(proto::ReportSaleResponse { sale_id: "ab".repeat(32), vouchers }))
    }
}

/// Starts the node and sets a data folder up that points to it.
async fn start() -> (tempfile::TempDir, Arc<FakeNode>) {
    let temporary = tempfile::tempdir().unwrap();
    let data = DataFolder::new(temporary.path());
    run(&data, &["init", "--name", "a"]).await.unwrap();
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    data.write_merchant_address(listener.local_addr().unwrap()).unwrap();
    let node = Arc::new(FakeNode::default());
    let token = data.read_token().unwrap().to_string();
    let server = Server::builder()
        .add_service(NodeServiceServer::new(Nodes(token)))
        .add_service(SaleServiceServer::from_arc(node.clone()))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    tokio::spawn(server);
    (temporary, node)
}

async fn run(data: &DataFolder, arguments: &[&str]) -> anyhow::Result<Answer> {
    let data = data.path().to_str().unwrap();
    let arguments = [&["hutong", "--lang", "zh", "--data", data], arguments].concat();
    Box::pin(answer(Cli::try_parse_from(arguments).unwrap())).await
}

#[tokio::test]
async fn calls_carry_the_token_and_refusals_keep_their_reason() {
    let (temporary, _node) = start().await;
    let data = DataFolder::new(temporary.path());
    let status = run(&data, &["status"]).await.unwrap();
    assert_eq!(status.json()["version"], "9.9.9");
    let refused = run(&data, &["federation", "pause"]).await.unwrap_err();
    let told = problem::json(&refused);
    assert_eq!(
        (told["error"]["reason"].as_str(), told["error"]["message"].as_str()),
        (Some("NOT_NOW"), Some("现在不行"))
    );
    assert_eq!(told["error"]["metadata"]["until"], "later");
    assert_eq!(problem::text(&refused), "现在不行 [NOT_NOW]");

    std::fs::remove_file(data.token_file()).unwrap();
    data.create_token().unwrap();
    let stranger = run(&data, &["status"]).await.unwrap_err();
    assert_eq!(problem::json(&stranger)["error"]["code"], "Unauthenticated");
}

#[tokio::test]
async fn a_sale_is_repeated_under_one_request_id_while_the_node_starts() {
    let (temporary, node) = start().await;
    let data = DataFolder::new(temporary.path());
    let sold = run(&data, &["sale", "report", "--amount", "12.50CNY", "--alliance", &"ab".repeat(32)])
        .await
        .unwrap();
    let sales = node.sales.lock().unwrap();
    assert_eq!(sales.len(), 2);
    assert_eq!(sales[0], sales[1]);
    assert_eq!(sales[0].amount, Some(proto::Money { currency_code: "CNY".to_owned(), minor: 1_250 }));
    assert_eq!(sold.json()["request_id"], sales[0].request_id);
    assert_eq!(sold.json()["vouchers"][0]["id"], "v1");
}
