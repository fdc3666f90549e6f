//! After the last visit: waits until all nodes hold the same, then asks each for its books.

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;
use hutong_record::UnixMillis;
use hutong_wire::merchant::v1::{
    self as pb, report_service_client::ReportServiceClient, voucher_service_client::VoucherServiceClient,
};
use tokio::time::{Instant, sleep};

use super::{link::Link, plan::timestamp, setup, street::Shop};

/// How long the nodes may stand still before the driver stops waiting.
const STILL_MAX: Duration = Duration::from_secs(120);

/// How often the driver looks whether they agree.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Vouchers asked for at once: a page of them stays well below gRPC's 4 MB.
const PAGE_VOUCHERS: i32 = 1_000;

/// All that one node reports.
#[derive(Debug, Default)]
pub(super) struct NodeBooks {
    /// Its shop's counts.
    pub(super) summary: pb::GetSummaryResponse,
    /// Its shop and each ally.
    pub(super) pairs: Vec<pb::Pair>,
    /// Its state.
    pub(super) digest: pb::GetStateDigestResponse,
    /// Vouchers of its shop.
    pub(super) vouchers: Vec<Seen>,
    /// Memory and disk.
    pub(super) status: pb::GetStatusResponse,
}

/// A voucher as a node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Text id.
    pub(super) id: Box<str>,
    /// Whether it has been used.
    pub(super) redeemed: bool,
}

/// Waits until every node has the same state and nothing left to fold, or none moves any more. The audit judges what
/// they hold then.
pub(super) async fn settle(links: &[Arc<Link>]) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let mut moved = Instant::now();
    loop {
        let digests = digests(links).await?;
        if agree(&digests) || moved.elapsed() > STILL_MAX {
            return Ok(());
        }
        if digests != last {
            last = digests;
            moved = Instant::now();
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Whether all nodes hold the same and have folded it.
pub(super) fn agree(digests: &[pb::GetStateDigestResponse]) -> bool {
    let state = |d: &pb::GetStateDigestResponse| (d.public_digest.clone(), d.frontier_digest.clone());
    digests.windows(2).all(|two| state(&two[0]) == state(&two[1]))
        && digests.iter().all(|d| d.unfolded_count == 0)
}

async fn digests(links: &[Arc<Link>]) -> anyhow::Result<Vec<pb::GetStateDigestResponse>> {
    try_join_all(links.iter().map(|link| digest(link))).await
}

async fn digest(link: &Link) -> anyhow::Result<pb::GetStateDigestResponse> {
    link.call("GetStateDigest", |carrier| async move {
        ReportServiceClient::new(carrier).get_state_digest(pb::GetStateDigestRequest::default()).await
    })
    .await?
    .done()
}

/// Asks every node for its books, in the order of [`Shop::all`].
pub(super) async fn books(links: &[Arc<Link>], as_of: UnixMillis) -> anyhow::Result<Vec<NodeBooks>> {
    try_join_all(Shop::all().map(|shop| node_books(&links[shop.index()], as_of))).await
}

async fn node_books(link: &Link, as_of: UnixMillis) -> anyhow::Result<NodeBooks> {
    Ok(NodeBooks {
        summary: summary(link, as_of).await?,
        pairs: pairs(link).await?,
        digest: digest(link).await?,
        vouchers: vouchers(link).await?,
        status: setup::status(link).await?,
    })
}

async fn summary(link: &Link, as_of: UnixMillis) -> anyhow::Result<pb::GetSummaryResponse> {
    link.call("GetSummary", |carrier| async move {
        let request = pb::GetSummaryRequest { as_of_time: timestamp(as_of), ..Default::default() };
        ReportServiceClient::new(carrier).get_summary(request).await
    })
    .await?
    .done()
}

/// What a node reports of its shop and each ally.
pub(super) async fn pairs(link: &Link) -> anyhow::Result<Vec<pb::Pair>> {
    let ask = |carrier| async move {
        let request = pb::ListPairsRequest { page_size: 1_000, ..Default::default() };
        ReportServiceClient::new(carrier).list_pairs(request).await
    };
    Ok(link.call("ListPairs", ask).await?.done()?.pairs)
}

async fn vouchers(link: &Link) -> anyhow::Result<Vec<Seen>> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = voucher_page(link, page_token).await?;
        all.extend(page.vouchers.into_iter().map(|voucher| Seen {
            redeemed: voucher.state() == pb::VoucherState::Redeemed,
            id: voucher.id.into(),
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn voucher_page(link: &Link, page_token: String) -> anyhow::Result<pb::ListVouchersResponse> {
    let ask = |carrier| {
        let request = pb::ListVouchersRequest {
            page_size: PAGE_VOUCHERS,
            page_token: page_token.clone(),
            ..Default::default()
        };
        async move { VoucherServiceClient::new(carrier).list_vouchers(request).await }
    };
    link.call("ListVouchers", ask).await?.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(public: &str, unfolded: u64) -> pb::GetStateDigestResponse {
        pb::GetStateDigestResponse {
            public_digest: public.to_owned(),
            frontier_digest: "f".to_owned(),
            record_count: 1,
            unfolded_count: unfolded,
        }
    }

    #[test]
    fn nodes_agree_when_all_hold_and_have_folded_the_same() {
        assert!(agree(&[digest("a", 0), digest("a", 0), digest("a", 0)]));
        assert!(!agree(&[digest("a", 0), digest("b", 0)]));
        assert!(!agree(&[digest("a", 0), digest("a", 1)]));
    }
}
