//! What happens, as it happens: every record that this shop can read, in this node's order, from a token on.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use hutong_core::{event::Event, refusal::Refusal};
use hutong_record::{Record, proto::Kind};
use hutong_store::journal::{JournalError, Lsn};
use hutong_wire::{
    merchant::v1::{EventType, WatchRequest, WatchResponse, event_service_server::EventService},
    status, trade,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{MerchantPort, refused};
use crate::alliance::{Hosted, internal};

/// Events read ahead of a slow watcher; beyond, the reader waits, and nothing is lost.
const EVENTS_AHEAD_MAX: usize = 64;
const READ_RECORDS_MAX: usize = 256;
const READ_BYTES_MAX: usize = 1 << 20;

type Events = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for MerchantPort {
    type WatchStream = Events;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Events>, Status> {
        let language = status::language(request.metadata());
        let request = request.into_inner();
        let start = self.hosted(&request.alliance_id).and_then(|hosted| {
            let after = resume_after(&hosted, &request.resume_token)?;
            Ok((hosted, after))
        });
        let (hosted, after) = start.map_err(|refusal| refused(&refusal, language))?;
        let (events, stream) = mpsc::channel(EVENTS_AHEAD_MAX);
        let stop = self.node.stop().clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = follow(&hosted, after, &events) => if let Err(refusal) = ended {
                    let _ = events.send(Err(refused(&refusal, language))).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// A token is the place in this node's journal of the last event dealt with.
fn resume_after(hosted: &Hosted, token: &str) -> Result<Lsn, Refusal> {
    let head = hosted.reader().head();
    if token.is_empty() {
        return Ok(head);
    }
    match token.parse().map(Lsn) {
        Ok(after) if after <= head => Ok(after),
        _ => Err(Refusal::field("resume_token", "is not one of this node's")),
    }
}

/// Sends events until the watcher is gone.
async fn follow(
    hosted: &Arc<Hosted>,
    mut after: Lsn,
    events: &mpsc::Sender<Result<WatchResponse, Status>>,
) -> Result<(), Refusal> {
    let mut positions = hosted.positions();
    loop {
        let reachable = *positions.borrow_and_update();
        while after < reachable {
            let (from, hosted) = (after.next(), hosted.clone());
            let read = tokio::task::spawn_blocking(move || read(&hosted, from)).await;
            let (batch, last) = read.map_err(|e| internal(&e))?.map_err(|e| internal(&e))?;
            for event in batch {
                if events.send(Ok(event)).await.is_err() {
                    return Ok(());
                }
            }
            after = last;
        }
        tokio::select! {
            () = events.closed() => return Ok(()),
            changed = positions.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// The events from a place on, and the place of the last record read.
fn read(hosted: &Hosted, from: Lsn) -> Result<(Vec<WatchResponse>, Lsn), JournalError> {
    let records = match hosted.reader().read(from, READ_RECORDS_MAX, READ_BYTES_MAX) {
        Ok(records) => records,
        Err(JournalError::Damaged { resume, .. }) => {
            return Ok((Vec::new(), Lsn(resume.0.saturating_sub(1).max(from.0))));
        }
        Err(error) => return Err(error),
    };
    let last = records.last().map_or(from, |(lsn, _)| *lsn);
    let event = |(lsn, record): &(Lsn, Record)| {
        let message = hosted.open_payload(record)?;
        event(*lsn, record, &Event::of(record, &message))
    };
    Ok((records.iter().filter_map(event).collect(), last))
}

fn event(lsn: Lsn, record: &Record, event: &Event) -> Option<WatchResponse> {
    let kind = match event.kind {
        Kind::Charter | Kind::Vote | Kind::ForkProof => EventType::Membership,
        Kind::Profile => EventType::Profile,
        Kind::Promotion => EventType::PromotionCreated,
        Kind::PromotionEnd => EventType::PromotionEnded,
        Kind::Sale => EventType::Sale,
        Kind::VoucherIssue => EventType::VoucherIssued,
        Kind::Redemption => EventType::VoucherRedeemed,
        Kind::RedemptionVoid => EventType::RedemptionVoided,
        Kind::Refusal => EventType::Refused,
        Kind::Touch => EventType::Touch,
        Kind::QuotaMove => EventType::QuotaMoved,
        Kind::VoucherTransfer => EventType::VoucherTransferred,
        Kind::VoucherRevocation => EventType::VoucherRevoked,
        Kind::Reservation => EventType::VoucherReserved,
        Kind::RiskSettlement => EventType::RiskSettled,
        Kind::VoucherProof => EventType::OffenceProven,
        Kind::Statement => EventType::StatementSigned,
        Kind::ReceiptResponse => EventType::ReceiptAnswered,
        Kind::Payment => EventType::Payment,
        Kind::AgreedBalance => EventType::BalancePublished,
        Kind::Netting => EventType::Netting,
        Kind::SettlementSetting if event.exposure.is_some() => EventType::ExposureWarning,
        Kind::SettlementSetting => return None,
        Kind::RightRequest | Kind::RightDenial | Kind::Invitation | Kind::Resumption | Kind::Unspecified => {
            return None;
        }
    };
    Some(WatchResponse {
        resume_token: lsn.to_string(),
        r#type: kind.into(),
        record_id: record.id().to_string(),
        author_id: record.header().shop.to_string(),
        record_time: Some(trade::timestamp(record.header().time)),
        voucher_id: event.voucher.map(|key| key.to_string()).unwrap_or_default(),
        promotion_id: event.promotion.map(|id| id.to_string()).unwrap_or_default(),
    })
}
