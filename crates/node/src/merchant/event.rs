//! What happens, as it happens: every record that this shop can read, in this node's order, from a token on.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use hutong_core::{event::Event, refusal::Refusal};
use hutong_record::{Record, proto::Kind};
use hutong_store::journal::{JournalError, Lsn};
use hutong_wire::{
    merchant::v1::{EventType, WatchRequest, WatchResponse, event_service_server::EventService},
    trade,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{MerchantPort, auth::Pass, call::Call, refused};
use crate::alliance::{Hosted, internal};

/// Events read ahead of a slow watcher; beyond, the reader waits, and nothing is lost.
const EVENTS_AHEAD_MAX: usize = 64;
const READ_RECORDS_MAX: usize = 256;
const READ_BYTES_MAX: usize = 1 << 20;
/// How long a stream that has to end waits for its watcher to hear why.
const LAST_WORD_WAIT: Duration = Duration::from_secs(1);

/// How long a watcher who asked for bookmarks is left without a word.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(10);
/// Hex digits of a record's id in a token: enough to tell one journal from another.
const MARK_CHARS: usize = 16;

type Events = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for MerchantPort {
    type WatchStream = Events;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Events>, Status> {
        let (call, pass) = (Call::of(&request), Pass::of(request.extensions()));
        let language = call.language;
        let request = request.into_inner();
        let start = pass.and_then(|pass| {
            let hosted = self.hosted(&request.alliance_id)?;
            let after = resume_after(&hosted, &request.resume_token)?;
            Ok((hosted, after, pass))
        });
        let (hosted, after, pass) = start.map_err(|refusal| refused(&refusal, language))?;
        let (events, stream) = mpsc::channel(EVENTS_AHEAD_MAX);
        let stop = self.node.stop().clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                // A token that ends must end the stream even while events could be sent.
                biased;
                () = stop.cancelled() => None,
                refusal = pass.ended() => Some(refused(&refusal, language)),
                () = call.expired() => Some(Status::deadline_exceeded("the watch's own deadline has passed")),
                ended = follow(&hosted, after, request.bookmarks, &events) =>
                    ended.err().map(|refusal| refused(&refusal, language)),
            };
            if let Some(status) = ended {
                // Events that the watcher has not taken yet are not worth waiting for.
                let _ = tokio::time::timeout(LAST_WORD_WAIT, events.send(Err(status))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// The token of a place in this node's journal: its number, and what marks the record there, so that the same number
/// in another journal, as after a restore, is not taken for it.
pub(super) fn token_of(lsn: Lsn, record: &Record) -> String {
    let id = record.id().to_string();
    format!("{lsn}.{}", id.get(..MARK_CHARS).unwrap_or(&id))
}

/// The place in a token, whatever marks it.
pub(super) fn place_of(token: &str) -> Option<Lsn> {
    let number = token.split_once('.').map_or(token, |(number, _)| number);
    number.parse().ok().map(Lsn)
}

/// The token of a place, whatever is there.
pub(super) fn token_at(hosted: &Hosted, lsn: Lsn) -> Result<String, Refusal> {
    match hosted.reader().read(lsn, 1, READ_BYTES_MAX) {
        Ok(records) => {
            Ok(records.first().map_or_else(|| lsn.to_string(), |(lsn, record)| token_of(*lsn, record)))
        }
        Err(JournalError::Damaged { .. }) => Ok(lsn.to_string()),
        Err(error) => Err(internal(&error)),
    }
}

/// The place of the last event dealt with. A bare number is what earlier versions gave, and what is given where the
/// record of the place cannot be read.
pub(super) fn resume_after(hosted: &Hosted, token: &str) -> Result<Lsn, Refusal> {
    let foreign = || Refusal::field("resume_token", "is not one of this node's");
    let head = hosted.reader().head();
    if token.is_empty() {
        return Ok(head);
    }
    let after = place_of(token).ok_or_else(foreign)?;
    let is_bare = !token.contains('.');
    let is_ours = after <= head && (is_bare || token_at(hosted, after)? == token);
    if is_ours { Ok(after) } else { Err(foreign()) }
}

/// Sends events until the watcher is gone.
async fn follow(
    hosted: &Arc<Hosted>,
    mut after: Lsn,
    bookmarks: bool,
    events: &mpsc::Sender<Result<WatchResponse, Status>>,
) -> Result<(), Refusal> {
    let mut positions = hosted.positions();
    if bookmarks && events.send(Ok(bookmark(hosted, after)?)).await.is_err() {
        return Ok(());
    }
    loop {
        let reachable = *positions.borrow_and_update();
        while after < reachable {
            let (batch, last) = read_after(hosted, after).await?;
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
            () = tokio::time::sleep(BOOKMARK_INTERVAL), if bookmarks => {
                if events.send(Ok(bookmark(hosted, after)?)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn bookmark(hosted: &Hosted, at: Lsn) -> Result<WatchResponse, Refusal> {
    let resume_token = token_at(hosted, at)?;
    Ok(WatchResponse { resume_token, r#type: EventType::Bookmark.into(), ..WatchResponse::default() })
}

/// The events after a place, and the place of the last record read, which is no event where it is none for this shop.
pub(super) async fn read_after(
    hosted: &Arc<Hosted>,
    after: Lsn,
) -> Result<(Vec<WatchResponse>, Lsn), Refusal> {
    let hosted = hosted.clone();
    let read = tokio::task::spawn_blocking(move || read(&hosted, after.next())).await;
    read.map_err(|error| internal(&error))?.map_err(|error| internal(&error))
}

/// The events from a place on, and the place of the last record read.
fn read(hosted: &Hosted, from: Lsn) -> Result<(Vec<WatchResponse>, Lsn), JournalError> {
    let records = match hosted.reader().read(from, READ_RECORDS_MAX, READ_BYTES_MAX) {
        Ok(records) => records,
        Err(JournalError::Damaged { resume, .. }) => {
            let last = Lsn(resume.0.saturating_sub(1).max(from.0));
            let resume_token = last.to_string();
            let gap =
                WatchResponse { resume_token, r#type: EventType::Gap.into(), ..WatchResponse::default() };
            return Ok((vec![gap], last));
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
        Kind::Vote if !event.membership => EventType::Motion,
        Kind::Charter | Kind::Vote | Kind::ForkProof => EventType::Membership,
        Kind::Appeal => EventType::Appeal,
        Kind::SeasonChoice => EventType::SeasonChoice,
        Kind::Departure => EventType::Departure,
        Kind::Continuation => EventType::Continuation,
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
        Kind::CreditLine => EventType::CreditLine,
        Kind::SettlementSetting if event.exposure.is_some() => EventType::ExposureWarning,
        Kind::SettlementSetting => EventType::SettlementSetting,
        Kind::FundingConsent => EventType::FundingConsent,
        Kind::Note => EventType::Noted,
        Kind::RightRequest
        | Kind::RightDenial
        | Kind::Invitation
        | Kind::Resumption
        | Kind::LostRecord
        | Kind::KeyRotation
        | Kind::KeyOverride
        | Kind::Unspecified => {
            return None;
        }
    };
    Some(WatchResponse {
        resume_token: token_of(lsn, record),
        r#type: kind.into(),
        record_id: record.id().to_string(),
        author_id: record.header().shop.to_string(),
        record_time: Some(trade::timestamp(record.header().time)),
        voucher_id: event.voucher.map(|key| key.to_string()).unwrap_or_default(),
        promotion_id: event.promotion.map(|id| id.to_string()).unwrap_or_default(),
        motion_id: event.motion.map(trade::motion_text).unwrap_or_default(),
    })
}
