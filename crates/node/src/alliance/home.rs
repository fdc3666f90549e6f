//! Asking an anywhere voucher's home for the right, and waiting for its answer. The question and the answer are records
//! like all others; whoever waits looks whenever records have come, and holds up nobody.

use std::{sync::Arc, time::Duration};

use hutong_core::{
    command::{self, AskRightCommand, Asked, Command},
    refusal::{Reason, Refusal},
    report,
    voucher::Presented,
};
use hutong_record::{RecordId, ShopId, UnixMillis};
use hutong_store::{journal::JournalReader, views::SledViews};

use super::{Hosted, internal};
use crate::clock;

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HomeAnswer {
    /// The shop has the right.
    Granted,
    /// It has not got it.
    Denied {
        /// Its request.
        request: RecordId,
        /// Why not.
        refusal: Refusal,
    },
    /// The home has not answered in time. The request stands.
    Waits,
}

impl Hosted {
    /// Asks the home of an anywhere voucher to pass the right to a shop, and waits for the answer for so long at most.
    /// While an earlier request waits, its answer is waited for.
    ///
    /// # Errors
    /// The voucher or the shop is not one that can be asked for, or as [`Hosted::execute`].
    pub async fn ask_home(
        &self,
        presented: Presented,
        to: ShopId,
        patience: Duration,
    ) -> Result<HomeAnswer, Refusal> {
        let mut positions = self.positions();
        let command = AskRightCommand { presented: Some(presented.clone()), to };
        let written = match self.execute(Command::AskRight(command)).await {
            Ok(executed) => executed.records.first().copied(),
            Err(refusal) if is_there_already(&refusal) => return Ok(HomeAnswer::Granted),
            Err(refusal) => return Err(refusal),
        };
        let request = match written {
            Some(request) => request,
            None => self.request_under_way(presented, to).await?,
        };
        let answered = async {
            loop {
                positions.borrow_and_update();
                if let Some(answer) = self.answer_to(request).await? {
                    return Ok(answer);
                }
                positions.changed().await.map_err(|_| Refusal::new(Reason::Stopped))?;
            }
        };
        tokio::time::timeout(patience, answered).await.unwrap_or(Ok(HomeAnswer::Waits))
    }

    /// The earlier request that still waits.
    async fn request_under_way(&self, presented: Presented, to: ShopId) -> Result<RecordId, Refusal> {
        let find = move |view: &SledViews| {
            let key = match &presented {
                Presented::Token(token) => Some(token.body().key),
                Presented::Secret(secret) => {
                    report::voucher_of_code(view, secret)?.map(|voucher| voucher.token.body().key)
                }
                Presented::Key(_) => None,
            };
            key.map_or(Ok(None), |key| command::last_asked(view, &key, to))
        };
        let found = self.query(find).await?;
        found.ok_or_else(|| internal("a request for a right was neither written nor found"))
    }

    async fn answer_to(&self, request: RecordId) -> Result<Option<HomeAnswer>, Refusal> {
        let asked = self.query(move |view: &SledViews| command::asked(view, request)).await?;
        Ok(match asked {
            Some(Asked::Granted) => Some(HomeAnswer::Granted),
            Some(Asked::Denied(refusal)) => Some(HomeAnswer::Denied { request, refusal }),
            Some(Asked::Waits) | None => None,
        })
    }

    /// When the newest record of another member was made that this shop holds, and not after now; before all time if
    /// there is none.
    ///
    /// # Errors
    /// `INTERNAL` where the journal cannot be read.
    pub async fn newest_of_others(&self) -> Result<UnixMillis, Refusal> {
        let (reader, me) = (self.reader().clone(), self.me());
        let newest = move |_: &SledViews| Ok(newest_record(&reader, me));
        Ok(self.query(newest).await?.unwrap_or(UnixMillis::EPOCH).min(clock::now()))
    }
}

/// Records that cannot be read count for nothing: this shop then takes itself to be cut off for longer.
fn newest_record(reader: &Arc<dyn JournalReader>, me: ShopId) -> Option<UnixMillis> {
    let others = reader.frontier().into_iter().filter(|(shop, _)| *shop != me);
    let last_run = |(shop, head): (ShopId, hutong_store::journal::LogHead)| {
        reader.read_log(shop, head.sequence, 1).unwrap_or_default()
    };
    others.flat_map(last_run).map(|record| record.header().time).max()
}

/// The right came between the question whether it is needed and the request for it.
fn is_there_already(refusal: &Refusal) -> bool {
    refusal.reason == Reason::FieldInvalid && refusal.fact("field") == Some("to_shop_id")
}
