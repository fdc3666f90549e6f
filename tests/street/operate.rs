//! What an operator sees and does: metrics, traces, a supervisor, upgrades, the doctor, bundles.

use std::{
    os::unix::net::UnixDatagram,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    harness::{Reach, Shop, Street, converged, get, soon, until},
    trade::{anywhere, hand_out, publish, redemption},
};

/// A collector that keeps what it is told.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let told = request.into_inner().resource_spans;
        let spans = told.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        let serve = Server::builder().add_service(service);
        tokio::spawn(serve.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, endpoint)
    }

    fn named(&self, name: &str) -> Option<Span> {
        self.0.lock().unwrap().iter().find(|span| span.name == name).cloned()
    }
}

fn traced(shop: &Shop, endpoint: &str) -> Command {
    let mut command = shop.serve_command();
    command.env("HUTONG_TRACING__ENDPOINT", endpoint);
    command
}

/// The noodle bar hands out, the fruit shop redeems. Answers with the redemption's record.
async fn redeem(noodles: &Shop, fruit: &Shop) -> String {
    let terms = "promotion create --title fruit --distributor noodles=10 --redeemer fruit --earn-spend-min 20.00 \
                 --amount-off 3.00 --bounty 1.00 --budget 40.00 --runs-for 30d";
    fruit.cli(&terms.split_whitespace().collect::<Vec<_>>());
    converged(&[noodles, fruit]).await;
    let sale = noodles.cli(&["sale", "report", "--amount", "28.00"]);
    let code = sale["vouchers"][0]["qr_text"].as_str().expect("a voucher").to_owned();
    let redeemed = fruit.cli(&["voucher", "redeem", &code, "--purchase", "15.00"]);
    converged(&[noodles, fruit]).await;
    redeemed["redemption_id"].as_str().expect("an id").to_owned()
}

/// The value of a series; `labels` as exposed, or empty.
fn value(metrics: &str, name: &str, labels: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        (rest.starts_with('{') || rest.starts_with(' ')) && rest.contains(labels)
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redemption_shows_in_metrics_and_is_one_trace_over_two_nodes() {
    let (collector, endpoint) = Collector::start().await;
    let street = Street::new();
    let (mut noodles, mut fruit) = (street.init("noodles", Reach::Open), street.init("fruit", Reach::Open));
    noodles.serve_as(traced(&noodles, &endpoint)).await;
    fruit.serve_as(traced(&fruit, &endpoint)).await;
    noodles.found("street");
    noodles.admit(&fruit).await;
    let redemption = redeem(&noodles, &fruit).await;

    let wrote = until("the redeemer tells its span", async || collector.named("redeem")).await;
    let attribute = |span: &Span| format!("{:?}", span.attributes).contains(&redemption);
    assert!(attribute(&wrote), "{wrote:?}");
    let took = until("the other node tells its span", async || {
        let spans = collector.0.lock().unwrap();
        let other =
            spans.iter().find(|span| span.trace_id == wrote.trace_id && span.span_id != wrote.span_id);
        other.cloned()
    })
    .await;
    assert_eq!((took.parent_span_id.clone(), took.trace_id.len()), (wrote.span_id, 16));
    assert!(took.name.starts_with("take in ") && attribute(&took), "{took:?}");
    assert!(wrote.parent_span_id.is_empty() && wrote.end_time_unix_nano >= wrote.start_time_unix_nano);

    let metrics = fruit.metrics().await;
    let done = "command=\"redeem\",outcome=\"done\"";
    assert_eq!(value(&metrics, "hutong_commands_total", done), Some(1.0), "{metrics}");
    assert_eq!(value(&metrics, "hutong_vouchers_redeemed", ""), Some(1.0));
    assert_eq!(value(&metrics, "hutong_signing", ""), Some(1.0));
    assert_eq!(value(&metrics, "hutong_links", ""), Some(1.0));
    assert_eq!(value(&metrics, "hutong_members", "standing=\"member\""), Some(2.0));
    assert_eq!(value(&metrics, "hutong_fold_lag_records", ""), Some(0.0));
    assert_eq!(value(&metrics, "hutong_trace_spans_dropped_total", ""), Some(0.0));
    assert!(value(&metrics, "hutong_journal_sync_seconds_count", "").unwrap() > 0.0);
    assert!(value(&metrics, "hutong_sync_records_total", "direction=\"in\"").unwrap() > 0.0);
    let call = "method=\"VoucherService/RedeemVoucher\",code=\"OK\"";
    assert_eq!(value(&metrics, "hutong_grpc_requests_total", call), Some(1.0));
    assert_eq!(value(&noodles.metrics().await, "hutong_vouchers_open", ""), Some(0.0));

    let offset_ms = fruit.link_to(&noodles).await.clock_offset_ms.expect("a fresh record told it");
    assert!(offset_ms.abs() < 60_000, "one machine has one clock: {offset_ms}");
    let (status, doctor) = (fruit.cli(&["status"]), fruit.cli(&["doctor"]));
    let link = &status["alliances"][0]["links"][0];
    assert_eq!((link["stale_since_time"].is_null(), link["standing"].as_str()), (true, Some("member")));
    assert_eq!(link["program_version"], env!("CARGO_PKG_VERSION"));
    let names: Vec<_> = doctor["checks"].as_array().unwrap().iter().map(|c| c["check"].clone()).collect();
    assert!(names.len() >= 25 && names.contains(&"stale-members".into()), "{names:?}");
    noodles.stop().await;
    until("the member is stale", async || fruit.link_to(&noodles).await.stale_since_time.map(drop)).await;
}

/// The right to an anywhere voucher is its home's: question, answer and redemption are one trace, told by both nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redemption_that_asks_the_home_is_one_trace_over_both_nodes() {
    let (collector, endpoint) = Collector::start().await;
    let street = Street::new();
    let (mut home, mut corner) = (street.init("home", Reach::Open), street.init("corner", Reach::Open));
    home.serve_as(traced(&home, &endpoint)).await;
    corner.serve_as(traced(&corner, &endpoint)).await;
    home.found("street");
    home.admit(&corner).await;
    let promotion = publish(&home, anywhere(&home, &[&corner], 10)).await;
    converged(&[&home, &corner]).await;
    let voucher = hand_out(&home.client().await, &promotion).await;
    converged(&[&home, &corner]).await;
    corner.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.expect("redeemed");

    let asked = until("the question is told", async || collector.named("ask_right")).await;
    let answered = until("the answer is told", async || collector.named("answer_right")).await;
    let redeemed = until("the redemption is told", async || collector.named("redeem")).await;
    let heard =
        until("the home tells of the redemption", async || collector.named("take in redemption")).await;
    let question = until("the home tells of the question", async || collector.named("take in right_request"));
    let question = question.await;
    for span in [&answered, &redeemed, &heard, &question] {
        assert_eq!(span.trace_id, asked.trace_id, "{span:?}");
    }
    assert_eq!((asked.trace_id.len(), asked.parent_span_id.len()), (16, 0));
    assert_eq!((&answered.parent_span_id, &redeemed.parent_span_id), (&asked.span_id, &asked.span_id));
    assert_eq!((&heard.parent_span_id, &question.parent_span_id), (&redeemed.span_id, &asked.span_id));
    let teller = |span: &Span| {
        let shop = span.attributes.iter().find(|attribute| attribute.key == "hutong.shop");
        format!("{:?}", shop.expect("a shop").value)
    };
    assert_eq!((teller(&answered), teller(&redeemed)), (teller(&heard), teller(&asked)));
    assert_ne!(teller(&answered), teller(&asked), "both nodes tell");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_for_metrics_wrongly_is_told_and_the_shop_trades_without_them() {
    let street = Street::new();
    let mut shop = street.shop("noodles").await;
    let address = std::fs::read_to_string(shop.folder().join("metrics.addr")).unwrap();
    assert_eq!(get(address.trim(), "/health").await, (200, "ok\n".to_owned()));
    assert_eq!(get(address.trim(), "/").await.0, 404);
    assert_eq!(get(address.trim(), "/metrics/../../shop.key").await.0, 404);
    assert!(shop.metrics().await.ends_with("# EOF\n"));
    shop.stop().await;
    assert!(!shop.folder().join("metrics.addr").exists());

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (key, setting) in [
        ("HUTONG_METRICS__LISTEN", taken.local_addr().unwrap().to_string()),
        ("HUTONG_METRICS__ENABLED", "false".to_owned()),
    ] {
        let mut command = shop.serve_command();
        command.env(key, setting);
        shop.serve_as(command).await;
        assert!(!shop.folder().join("metrics.addr").exists(), "{key}");
        assert_eq!(shop.cli(&["status"])["shop_id"], shop.id());
        shop.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_hears_that_the_node_serves_lives_and_stops() {
    let street = Street::new();
    let mut shop = street.init("noodles", Reach::Open);
    let path = street.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let hears = async |word: &str| {
        until(word, async || {
            let mut bytes = [0; 4_096];
            let length = socket.recv(&mut bytes).ok()?;
            String::from_utf8_lossy(&bytes[..length]).contains(word).then_some(())
        })
        .await;
    };
    let mut command = shop.serve_command();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    shop.serve_as(command).await;
    hears("READY=1").await;
    hears("WATCHDOG=1").await;
    hears("WATCHDOG=1").await;
    let ((), ()) = tokio::join!(shop.stop(), hears("STOPPING=1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_program_s_folder_is_refused_and_an_older_one_s_is_copied_first() {
    let street = Street::new();
    let mut shop = street.shop("noodles").await;
    shop.found("street");
    shop.cli(&["sale", "report", "--amount", "38.00"]);
    shop.stop().await;
    let mark = shop.folder().join("format");
    let own = std::fs::read_to_string(&mark).unwrap();
    std::fs::write(&mark, "hutong data v1\nformat 99\nviews 99\nprogram 9.9.9\n").unwrap();
    let told = shop.refuses_to_serve().await;
    assert!(told.contains("newer program, hutong 9.9.9") && told.contains("before-upgrade"), "{told}");
    assert_eq!(shop.cli_fails_doctor("folder-format"), "fail");

    std::fs::write(&mark, "hutong data v1\nformat 1\nviews 1\nprogram 0.0.1\n").unwrap();
    shop.serve().await;
    assert_eq!(shop.cli(&["report", "summary"])["sales"], 1);
    assert_eq!(std::fs::read_to_string(&mark).unwrap(), own);
    let copy = shop.folder().join("before-upgrade/0.0.1-format1-views1");
    let kept = std::fs::read(copy.join("shop.key")).unwrap();
    assert_eq!(kept, std::fs::read(shop.folder().join("shop.key")).unwrap());
    assert!(copy.join("alliances").exists());
}

impl Shop {
    /// The status of one of the doctor's checks, where the doctor as a whole finds fault.
    fn cli_fails_doctor(&self, name: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hutong"));
        let output =
            command.args(["--json", "--lang", "en", "--data"]).arg(self.folder()).arg("doctor").output();
        let output = output.expect("it runs");
        assert!(!output.status.success());
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let checks = told["checks"].as_array().expect("checks");
        let check = checks.iter().find(|check| check["check"] == name).expect("the check");
        check["status"].as_str().expect("a status").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_and_a_checked_phrase_and_a_backup_are_made_beside_a_running_node() {
    let street = Street::new();
    let shop = street.shop("noodles").await;
    let path = |name: &str| street.path().join(name).to_str().unwrap().to_owned();
    let bundle = path("bundle.tar");
    let made = shop.cli(&["support-bundle", "--output", &bundle, "--log", &path("noodles/node.log")]);
    assert!(made["files"].as_array().unwrap().contains(&"metrics.txt".into()), "{made}");
    let bytes = std::fs::read(&bundle).unwrap();
    let holds = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    assert!(!holds(shop.token().trim()) && !holds(shop.phrase()) && !holds(&shop.id()));
    assert_eq!(shop.refused(&["support-bundle", "--output", &bundle]), "FAILED");

    std::fs::write(path("words"), shop.phrase()).unwrap();
    shop.cli(&["check-phrase", "--phrase-file", &path("words")]);
    std::fs::write(path("secret"), "correct horse battery\n").unwrap();
    shop.cli(&["backup", "--output", &path("b.age"), "--passphrase-file", &path("secret")]);
    let doctor = shop.cli(&["doctor"]);
    for name in ["phrase", "backup"] {
        let checks = doctor["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["check"] == name).unwrap();
        assert_eq!(check["status"], "ok", "{check}");
    }
    let age = value(&shop.metrics().await, "hutong_backup_age_seconds", "").unwrap();
    assert!((0.0..Duration::from_secs(600).as_secs_f64()).contains(&age), "{age}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collectors_that_say_nothing_do_not_keep_others_out_for_long() {
    let street = Street::new();
    let shop = street.shop("noodles").await;
    let address = std::fs::read_to_string(shop.folder().join("metrics.addr")).unwrap();
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(tokio::net::TcpStream::connect(address.trim()).await.unwrap());
    }
    soon("an answer", get(address.trim(), "/metrics")).await;
    drop(silent);
}
