//! Bundles over the merchant port: an alliance's records out, and in again. Both are streams, so that a long file has no
//! deadline but the caller's, and neither side holds more than a few pieces of it.

use std::{pin::Pin, time::Duration};

use futures::Stream;
use hutong_core::refusal::{Language, Reason, Refusal};
use hutong_record::AllianceId;
use hutong_wire::{
    merchant::v1::{
        ExportBundleRequest, ExportBundleResponse, ImportBundleRequest, ImportBundleResponse, RefusedRecords,
    },
    trade,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{MerchantPort, call::Call, refused};
use crate::{
    alliance::internal,
    bundle::{CHUNK_BYTES_MAX, Counts, Export, Import, ImportError, Piece},
};

/// Pieces on their way to a caller who reads slowly; beyond, nothing more is read from the disk.
const PIECES_AHEAD_MAX: usize = 4;
/// A caller who sends nothing for so long has gone.
const PIECE_WAIT: Duration = Duration::from_secs(60);

/// The pieces of a file.
pub(super) type Exported = Pin<Box<dyn Stream<Item = Result<ExportBundleResponse, Status>> + Send>>;
/// What has come of a file so far.
pub(super) type Imported = Pin<Box<dyn Stream<Item = Result<ImportBundleResponse, Status>> + Send>>;

type Replies<T> = mpsc::Sender<Result<T, Status>>;

impl MerchantPort {
    pub(super) fn export(&self, request: Request<ExportBundleRequest>) -> Result<Response<Exported>, Status> {
        let call = Call::of(&request);
        let hosted = self.hosted(&request.into_inner().alliance_id);
        let hosted = hosted.map_err(|refusal| refused(&refusal, call.language))?;
        let export = Export::new(hosted.id(), hosted.reader().clone());
        let (replies, stream) = mpsc::channel(PIECES_AHEAD_MAX);
        self.answer(call, replies.clone(), send_pieces(export, replies));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    /// Does the work behind a stream of replies, until it is done, its time is up or the node stops.
    fn answer<T: Send + 'static>(
        &self,
        call: Call,
        replies: Replies<T>,
        work: impl Future<Output = Result<(), Refusal>> + Send + 'static,
    ) {
        let stop = self.node.stop().clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                () = stop.cancelled() => Err(Refusal::new(Reason::Stopped)),
                () = call.expired() => return,
                ended = work => ended,
            };
            tell_end(&replies, ended, call.language).await;
        });
    }

    pub(super) fn import(&self, request: Request<Streaming<ImportBundleRequest>>) -> Response<Imported> {
        let call = Call::of(&request);
        let pieces = request.into_inner();
        let (replies, stream) = mpsc::channel(PIECES_AHEAD_MAX);
        self.answer(call, replies.clone(), self.clone().take_pieces(pieces, replies));
        Response::new(Box::pin(ReceiverStream::new(stream)))
    }

    async fn take_pieces(
        self,
        mut pieces: Streaming<ImportBundleRequest>,
        replies: Replies<ImportBundleResponse>,
    ) -> Result<(), Refusal> {
        let Some(mut piece) = next_piece(&mut pieces).await? else {
            return Err(Refusal::field("chunk", "is missing"));
        };
        let wanted = trade::alliance("alliance_id", &piece.alliance_id)?;
        let mut import = Import::new(|id| {
            check_wanted(wanted, id)?;
            self.node.hosted(Some(id))
        });
        loop {
            if piece.chunk.len() > CHUNK_BYTES_MAX {
                return Err(Refusal::field("chunk", format!("has more than {CHUNK_BYTES_MAX} bytes")));
            }
            let read = import.take(&piece.chunk).await;
            if let Err(error) = read {
                return Err(end(import, error).await);
            }
            if replies.send(Ok(told(import.counts()))).await.is_err() {
                return Ok(());
            }
            match next_piece(&mut pieces).await? {
                Some(next) => piece = next,
                None => break,
            }
        }
        import.settle().await.map_err(|error| error.refusal(import.counts()))?;
        import.finish().map_err(|error| error.refusal(import.counts()))?;
        // A caller who has gone meanwhile can ask again.
        let _ = replies.send(Ok(told(import.counts()))).await;
        Ok(())
    }
}

/// What was read before a fault is taken in before the fault is told.
async fn end<F>(mut import: Import<F>, error: ImportError) -> Refusal
where
    F: FnMut(AllianceId) -> Result<std::sync::Arc<crate::alliance::Hosted>, Refusal>,
{
    match import.settle().await {
        Ok(()) => error.refusal(import.counts()),
        Err(worse) => worse.refusal(import.counts()),
    }
}

fn check_wanted(wanted: Option<AllianceId>, named: AllianceId) -> Result<(), Refusal> {
    match wanted {
        Some(wanted) if wanted != named => {
            Err(Refusal::field("alliance_id", format!("is another than the bundle's, {named}")))
        }
        _ => Ok(()),
    }
}

async fn next_piece(
    pieces: &mut Streaming<ImportBundleRequest>,
) -> Result<Option<ImportBundleRequest>, Refusal> {
    match tokio::time::timeout(PIECE_WAIT, pieces.message()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(status)) => Err(Refusal::field("chunk", status.message())),
        Err(_) => Err(Refusal::field("chunk", "does not come")),
    }
}

fn told(counts: &Counts) -> ImportBundleResponse {
    let refused = counts.refused.iter();
    let refused =
        refused.map(|(rung, records)| RefusedRecords { reason: (*rung).to_owned(), record_count: *records });
    ImportBundleResponse {
        new_record_count: counts.new,
        known_record_count: counts.known,
        refused: refused.collect(),
    }
}

/// Sends pieces until the bundle is whole or the caller is gone.
async fn send_pieces(mut export: Export, replies: Replies<ExportBundleResponse>) -> Result<(), Refusal> {
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let piece = export.next_piece();
            (export, piece)
        });
        let (back, piece) = read.await.map_err(|error| internal(&error))?;
        export = back;
        let Some(Piece { bytes, records, damaged_logs }) = piece.map_err(|error| internal(&error))? else {
            return Ok(());
        };
        for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
            let response = ExportBundleResponse {
                chunk: chunk.to_vec(),
                record_count: records,
                damaged_log_count: damaged_logs,
            };
            if replies.send(Ok(response)).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn tell_end<T>(replies: &Replies<T>, ended: Result<(), Refusal>, language: Language) {
    if let Err(refusal) = ended {
        // A caller who has gone need not be told.
        let _ = replies.send(Err(refused(&refusal, language))).await;
    }
}
