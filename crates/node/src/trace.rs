//! Traces over OTLP: what became of a record, on every node that has it.
//!
//! Nodes agree on a record's trace without a word: trace and root span are hashes of the record's id, so nothing is
//! added to what is signed or sent. The author's node tells the root span (a till's command, from the queue until its
//! answer was durable), every other node one below it (from the arrival of the record until it was durable there).
//!
//! A redemption whose right is elsewhere takes three records: the question, the home's answer, the redemption. To the
//! shops that can read them they are one trace (`right`): answer and redemption stand below the question.
//!
//! Spans wait in a bounded queue; what does not fit, or what the collector does not take, is dropped and counted. A
//! till never waits for a collector.

mod right;

use std::{sync::Arc, time::Duration};

use hutong_record::{RecordId, ShopId, UnixMillis};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Link, SpanKind},
        status::StatusCode,
    },
};
pub use right::{Place, Rights, Story};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::metrics::Metrics;

/// Spans that wait to be sent: some seconds of a busy shop.
const SPANS_MAX: usize = 4_096;
/// Spans of one message.
const BATCH_MAX: usize = 512;
/// A batch is not waited for longer.
const BATCH_WAIT: Duration = Duration::from_millis(500);
/// A collector that takes longer loses the batch.
const SEND_TIME: Duration = Duration::from_secs(5);
/// Of what is still waiting when the node stops.
const LAST_BATCHES_MAX: usize = 4;
/// Whatever does not hash alike is another trace.
const TRACE_CONTEXT: &str = "hutong 2026 v1 trace";

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A command of this shop was carried out, and this record tells it.
    Wrote {
        /// The command's name.
        command: &'static str,
    },
    /// A record of another shop was taken in.
    TookIn {
        /// The record's kind, as the protos name it.
        kind: &'static str,
    },
}

/// Something that happened to a record on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Which record.
    pub record: RecordId,
    /// Its author.
    pub author: ShopId,
    /// What.
    pub step: Step,
    /// From when.
    pub begun: UnixMillis,
    /// Until when.
    pub ended: UnixMillis,
    /// Where it belongs, if it does not stand alone.
    pub place: Option<Place>,
}

impl Told {
    /// What the trace's id and its being sampled come from.
    fn trace_hash(&self) -> [u8; 32] {
        self.place.map_or_else(|| trace_hash(&self.record), |place| place.story.0)
    }
}

/// Where spans are left.
#[derive(Debug, Clone)]
pub struct Spans {
    queue: mpsc::Sender<Told>,
    metrics: Arc<Metrics>,
    sampled_max: u64,
}

impl Spans {
    /// Leaves a span, or drops it where the queue is full.
    pub fn tell(&self, told: Told) {
        if self.is_sampled(&told) && self.queue.try_send(told).is_err() {
            self.metrics.spans_dropped.inc();
        }
    }

    /// Decided by the trace, so that of one trace all nodes with the same share tell, or none.
    fn is_sampled(&self, told: &Told) -> bool {
        let hash = told.trace_hash();
        let mut number = [0; 8];
        number.copy_from_slice(&hash[24..]);
        u64::from_be_bytes(number) <= self.sampled_max
    }
}

fn trace_hash(record: &RecordId) -> [u8; 32] {
    blake3::derive_key(TRACE_CONTEXT, record.as_bytes())
}

fn trace_id(hash: &[u8; 32]) -> Vec<u8> {
    hash[..16].to_vec()
}

/// The span that the record's author tells.
pub fn root_span_id(record: &RecordId) -> [u8; 8] {
    let mut id = [0; 8];
    id.copy_from_slice(&trace_hash(record)[16..24]);
    id
}

/// Begins to send spans to a collector, `http://host:port` of OTLP over gRPC; `percent` of all records are traced. It is
/// connected when there is something to send.
///
/// # Errors
/// The endpoint is none.
pub fn start(
    endpoint: &str,
    percent: u8,
    me: ShopId,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<Spans, tonic::transport::Error> {
    let channel = Endpoint::from_shared(endpoint.to_owned())?
        .connect_timeout(SEND_TIME)
        .timeout(SEND_TIME)
        .connect_lazy();
    let (queue, waiting) = mpsc::channel(SPANS_MAX);
    let sender = Sender { client: TraceServiceClient::new(channel), me, metrics: metrics.clone() };
    tokio::spawn(sender.run(waiting, stop));
    let sampled_max =
        u64::MAX / 100 * u64::from(percent.min(100)) + if percent >= 100 { u64::MAX % 100 } else { 0 };
    Ok(Spans { queue, metrics, sampled_max })
}

struct Sender {
    client: TraceServiceClient<Channel>,
    me: ShopId,
    metrics: Arc<Metrics>,
}

impl Sender {
    async fn run(mut self, mut waiting: mpsc::Receiver<Told>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                count = waiting.recv_many(&mut batch, BATCH_MAX) => if count == 0 { break },
            }
            // More may be about to come; a stop does not wait for it.
            let more = async {
                loop {
                    let room = BATCH_MAX.saturating_sub(batch.len());
                    if room == 0 || waiting.recv_many(&mut batch, room).await == 0 {
                        return;
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tokio::time::timeout(BATCH_WAIT, more) => {}
            }
            self.send(&mut batch).await;
        }
        for _ in 0..LAST_BATCHES_MAX {
            while batch.len() < BATCH_MAX {
                match waiting.try_recv() {
                    Ok(told) => batch.push(told),
                    Err(_) => break,
                }
            }
            if batch.is_empty() {
                return;
            }
            self.send(&mut batch).await;
        }
    }

    async fn send(&mut self, batch: &mut Vec<Told>) {
        let count = batch.len() as u64;
        let request = export(self.me, batch.drain(..));
        if let Err(status) = self.client.export(request).await {
            self.metrics.spans_dropped.inc_by(count);
            tracing::debug!(code = ?status.code(), count, "spans were not taken");
        }
    }
}

fn export(me: ShopId, told: impl Iterator<Item = Told>) -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: vec![
            text("service.name", "hutong"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &me.short()),
        ],
        ..Default::default()
    };
    let scope = InstrumentationScope { name: "hutong".to_owned(), ..Default::default() };
    let spans = told.map(|told| span(me, &told)).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }],
    }
}

fn span(me: ShopId, told: &Told) -> Span {
    let root = root_span_id(&told.record).to_vec();
    let (name, span_id, parent_span_id, kind) = match told.step {
        Step::Wrote { command } => {
            let after = told.place.and_then(|place| place.after);
            let above = after.map(|request| root_span_id(&request).to_vec()).unwrap_or_default();
            (command.to_owned(), root, above, SpanKind::Producer)
        }
        Step::TookIn { kind } => {
            let kind = kind.strip_prefix("KIND_").unwrap_or(kind).to_ascii_lowercase();
            (format!("take in {kind}"), span_id_at(me, &told.record), root, SpanKind::Consumer)
        }
    };
    Span {
        trace_id: trace_id(&told.trace_hash()),
        span_id,
        parent_span_id,
        name,
        kind: kind.into(),
        start_time_unix_nano: nanos(told.begun),
        end_time_unix_nano: nanos(told.ended.max(told.begun)),
        attributes: vec![
            text("hutong.record", &told.record.to_string()),
            text("hutong.author", &told.author.short()),
            text("hutong.shop", &me.short()),
        ],
        links: links(told),
        status: Some(Status { code: StatusCode::Ok.into(), message: String::new() }),
        ..Default::default()
    }
}

/// Where shops that cannot read a record of a story tell of it: in a trace of its own.
fn links(told: &Told) -> Vec<Link> {
    let alone = |_: Place| Link {
        trace_id: trace_id(&trace_hash(&told.record)),
        span_id: root_span_id(&told.record).to_vec(),
        ..Default::default()
    };
    told.place.map(alone).into_iter().collect()
}

/// The span of one node about another's record: a record is taken in once.
fn span_id_at(me: ShopId, record: &RecordId) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key(TRACE_CONTEXT);
    hasher.update(record.as_bytes()).update(me.as_bytes());
    hasher.finalize().as_bytes()[..8].to_vec()
}

fn nanos(at: UnixMillis) -> u64 {
    u64::try_from(at.ms()).unwrap_or_default().saturating_mul(1_000_000)
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Exposition;

    fn told(record: u8, step: Step) -> Told {
        let at = |ms| UnixMillis::new(ms).unwrap();
        let record = RecordId::new([record; 32]);
        let author = ShopId::new([1; 32]);
        Told { record, author, step, begun: at(1_000), ended: at(1_005), place: None }
    }

    #[test]
    fn nodes_agree_on_a_record_s_trace_and_stand_below_its_author() {
        let (author, other) = (ShopId::new([1; 32]), ShopId::new([2; 32]));
        let wrote = span(author, &told(7, Step::Wrote { command: "redeem" }));
        let took = span(other, &told(7, Step::TookIn { kind: "KIND_RECEIPT" }));
        assert_eq!(wrote.trace_id, took.trace_id);
        assert_eq!((wrote.trace_id.len(), wrote.span_id.len(), took.span_id.len()), (16, 8, 8));
        assert_eq!((wrote.parent_span_id.as_slice(), &took.parent_span_id), (&[][..], &wrote.span_id));
        assert_ne!(took.span_id, wrote.span_id);
        assert_eq!(
            (took.name.as_str(), took.end_time_unix_nano - took.start_time_unix_nano),
            ("take in receipt", 5_000_000)
        );
        let another = span(author, &told(8, Step::Wrote { command: "redeem" }));
        assert_ne!(another.trace_id, wrote.trace_id);
        assert!(wrote.links.is_empty());
    }

    #[test]
    fn records_of_one_story_are_one_trace_below_its_question() {
        let (asker, home) = (ShopId::new([1; 32]), ShopId::new([2; 32]));
        let story = Story([9; 32]);
        let at = |record, step, after| Told { place: Some(Place { story, after }), ..told(record, step) };
        let question = RecordId::new([7; 32]);
        let asked = span(asker, &at(7, Step::Wrote { command: "ask_right" }, None));
        let answered = span(home, &at(8, Step::Wrote { command: "answer_right" }, Some(question)));
        let heard = span(asker, &at(8, Step::TookIn { kind: "KIND_VOUCHER_TRANSFER" }, Some(question)));
        let redeemed = span(asker, &at(9, Step::Wrote { command: "redeem" }, Some(question)));
        assert!([&answered, &heard, &redeemed].iter().all(|span| span.trace_id == asked.trace_id));
        assert!(asked.parent_span_id.is_empty());
        assert_eq!((&answered.parent_span_id, &redeemed.parent_span_id), (&asked.span_id, &asked.span_id));
        assert_eq!(heard.parent_span_id, answered.span_id);
        // Whoever cannot read the redemption tells of it in its own trace, which the redeemer's span names.
        let stranger = span(home, &told(9, Step::TookIn { kind: "KIND_REDEMPTION" }));
        assert_eq!(redeemed.links[0].trace_id, stranger.trace_id);
        assert_eq!(redeemed.links[0].span_id, stranger.parent_span_id);
    }

    #[tokio::test]
    async fn what_no_collector_takes_is_counted_and_nobody_waits() {
        let exposition = Exposition::default();
        let (metrics, stop) = (exposition.metrics.clone(), CancellationToken::new());
        // Nobody listens there.
        let me = ShopId::new([1; 32]);
        let spans = start("http://127.0.0.1:1", 100, me, metrics.clone(), stop).unwrap();
        for _ in 0..2 * SPANS_MAX {
            spans.tell(told(7, Step::Wrote { command: "redeem" }));
        }
        assert!(metrics.spans_dropped.get() >= 1);
        assert!(start("not an address", 100, me, metrics, CancellationToken::new()).is_err());
    }

    #[tokio::test]
    async fn a_share_of_nothing_tells_nothing_and_a_whole_one_all() {
        let exposition = Exposition::default();
        let start = |percent| {
            let (me, metrics) = (ShopId::new([1; 32]), exposition.metrics.clone());
            start("http://127.0.0.1:1", percent, me, metrics, CancellationToken::new()).unwrap()
        };
        let sampled = |spans: &Spans| {
            (0..=255).filter(|n| spans.is_sampled(&told(*n, Step::Wrote { command: "" }))).count()
        };
        assert_eq!((sampled(&start(0)), sampled(&start(100))), (0, 256));
        assert!((80..=176).contains(&sampled(&start(50))));
    }
}
