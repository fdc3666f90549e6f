//! A street that lives in memory, so that the tills can be tested without nodes. One server plays all thirteen shops:
//! a till's token is its shop's key. It can be told to misbehave.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use hutong_wire::merchant::v1::{
    self as pb,
    sale_service_server::{SaleService, SaleServiceServer},
    voucher_service_server::{VoucherService, VoucherServiceServer},
};
use indicatif::ProgressBar;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    chance::Chance,
    link::Link,
    plan::{Offer, money},
    replay::Street,
    street::Shop,
};

/// Vouchers live for a day, so that a short test sees some expire.
const VALID_S: i64 = 86_400;

/// How the street errs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It does not.
    Honest,
    /// Every 40th answer is lost after the deed is done.
    LosesAnswers,
    /// It forgets that a voucher was used.
    RedeemsTwice,
    /// A repeated request is dealt with anew.
    ForgetsRequests,
}

type Result<T> = std::result::Result<T, Status>;

struct Voucher {
    offer: usize,
    card: String,
    expires_s: i64,
    used: bool,
}

#[derive(Default)]
struct Memory {
    vouchers: Vec<Voucher>,
    sales: HashMap<(Shop, String), pb::ReportSaleResponse>,
    redemptions: HashMap<(Shop, String), pb::RedeemVoucherResponse>,
}

/// The street's server.
#[derive(Clone)]
pub(super) struct Fake(Arc<Inner>);

struct Inner {
    offers: Vec<Offer>,
    manner: Manner,
    answers: AtomicU64,
    memory: Mutex<Memory>,
}

impl Fake {
    /// Starts the server; answers with what tills need to reach it.
    pub(super) async fn open(offers: Vec<Offer>, manner: Manner) -> (Self, Arc<Street>) {
        let inner =
            Inner { offers: offers.clone(), manner, answers: AtomicU64::new(0), memory: Mutex::default() };
        let fake = Self(Arc::new(inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tonic::transport::Server::builder()
            .add_service(SaleServiceServer::new(fake.clone()))
            .add_service(VoucherServiceServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let link = |shop: Shop| Arc::new(Link::new(shop, &address, shop.key()).unwrap());
        let street = Street {
            links: Shop::all().map(link).collect(),
            shop_of: Shop::all().map(|shop| (shop.key().to_owned(), shop)).collect(),
            offer_of: (0..offers.len()).map(|number| (number.to_string(), number)).collect(),
            offers,
            chance: Chance::new(1),
            acknowledged: Default::default(),
            bar: ProgressBar::hidden(),
        };
        (fake, Arc::new(street))
    }

    /// Vouchers handed out, and how many of them are used.
    pub(super) fn counts(&self) -> (usize, usize) {
        let memory = self.0.memory.lock().unwrap();
        (memory.vouchers.len(), memory.vouchers.iter().filter(|v| v.used).count())
    }

    /// Sends an answer, or loses it.
    fn answer<T>(&self, answer: T) -> Result<Response<T>> {
        let number = self.0.answers.fetch_add(1, Ordering::Relaxed);
        if self.0.manner == Manner::LosesAnswers && number.is_multiple_of(40) {
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(Response::new(answer))
    }

    fn issue(&self, memory: &mut Memory, shop: Shop, sale: &pb::ReportSaleRequest) -> Vec<pb::Voucher> {
        let mut issued = Vec::new();
        for (number, offer) in self.0.offers.iter().enumerate() {
            if offer.from != shop || cents(sale.amount.as_ref()) < offer.earn_min_cents {
                continue;
            }
            let mine = memory.vouchers.iter().filter(|v| v.offer == number && v.card == sale.card_id).count();
            let all = memory.vouchers.iter().filter(|v| v.offer == number).count();
            if mine < offer.per_card_max as usize && all < offer.quota as usize {
                issued.push(hand_out(memory, number, sale));
            }
        }
        issued
    }

    fn redeem(
        &self,
        memory: &mut Memory,
        shop: Shop,
        request: &pb::RedeemVoucherRequest,
    ) -> Result<pb::RedeemVoucherResponse> {
        let (kind, number) = request.code.split_at(1);
        let number: usize = number.parse().map_err(|_| refusal("VOUCHER_UNKNOWN"))?;
        if kind == "T" && number.is_multiple_of(2) {
            return Err(refusal("VOUCHER_UNKNOWN"));
        }
        let voucher = memory.vouchers.get_mut(number).ok_or_else(|| refusal("VOUCHER_UNKNOWN"))?;
        let offer = &self.0.offers[voucher.offer];
        let checks = [
            (offer.to != shop, "VOUCHER_WRONG_SHOP"),
            (voucher.card != request.card_id, "CARD_MISMATCH"),
            (voucher.used && self.0.manner != Manner::RedeemsTwice, "VOUCHER_ALREADY_REDEEMED"),
            (request.redeem_time.as_ref().unwrap().seconds >= voucher.expires_s, "VOUCHER_EXPIRED"),
            (cents(request.purchase.as_ref()) < offer.redeem_min_cents, "PURCHASE_TOO_LOW"),
        ];
        if let Some((_, reason)) = checks.into_iter().find(|(wrong, _)| *wrong) {
            return Err(refusal(reason));
        }
        voucher.used = true;
        Ok(pb::RedeemVoucherResponse {
            redemption_id: number.to_string(),
            discount: money(offer.off_cents),
            credited_id: offer.from.key().to_owned(),
            bounty: money(offer.bounty_cents),
            ..Default::default()
        })
    }
}

fn hand_out(memory: &mut Memory, offer: usize, sale: &pb::ReportSaleRequest) -> pb::Voucher {
    let number = memory.vouchers.len();
    let mut expire_time = sale.sale_time;
    expire_time.as_mut().unwrap().seconds += VALID_S;
    let expires_s = expire_time.as_ref().unwrap().seconds;
    memory.vouchers.push(Voucher { offer, card: sale.card_id.clone(), expires_s, used: false });
    pb::Voucher {
        id: number.to_string(),
        promotion_id: offer.to_string(),
        card_id: sale.card_id.clone(),
        expire_time,
        qr_text: format!("Q{number}"),
        code: format!("T{number}"),
        ..Default::default()
    }
}

fn cents(money: Option<&pb::Money>) -> i64 {
    money.unwrap().minor
}

fn refusal(reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "hutong", HashMap::new());
    Status::with_error_details(Code::FailedPrecondition, "no", details)
}

fn shop_of<T>(request: &Request<T>) -> Shop {
    let token = request.metadata().get("authorization").unwrap().to_str().unwrap();
    token.strip_prefix("Bearer ").unwrap().parse().unwrap()
}

#[tonic::async_trait]
impl SaleService for Fake {
    async fn report_sale(
        &self,
        request: Request<pb::ReportSaleRequest>,
    ) -> Result<Response<pb::ReportSaleResponse>> {
        let shop = shop_of(&request);
        let sale = request.into_inner();
        let mut memory = self.0.memory.lock().unwrap();
        let key = (shop, sale.request_id.clone());
        if let Some(first) = memory.sales.get(&key).filter(|_| self.0.manner != Manner::ForgetsRequests) {
            return self.answer(first.clone());
        }
        let vouchers = self.issue(&mut memory, shop, &sale);
        let answer = pb::ReportSaleResponse { sale_id: sale.request_id, vouchers };
        memory.sales.insert(key, answer.clone());
        self.answer(answer)
    }
}

#[tonic::async_trait]
impl VoucherService for Fake {
    async fn redeem_voucher(
        &self,
        request: Request<pb::RedeemVoucherRequest>,
    ) -> Result<Response<pb::RedeemVoucherResponse>> {
        let shop = shop_of(&request);
        let request = request.into_inner();
        let mut memory = self.0.memory.lock().unwrap();
        let key = (shop, request.request_id.clone());
        if let Some(first) = memory.redemptions.get(&key).filter(|_| self.0.manner != Manner::ForgetsRequests)
        {
            return self.answer(first.clone());
        }
        let answer = self.redeem(&mut memory, shop, &request)?;
        memory.redemptions.insert(key, answer.clone());
        self.answer(answer)
    }

    async fn void_redemption(
        &self,
        request: Request<pb::VoidRedemptionRequest>,
    ) -> Result<Response<pb::VoidRedemptionResponse>> {
        let number: usize = request.into_inner().redemption_id.parse().unwrap();
        self.0.memory.lock().unwrap().vouchers[number].used = false;
        self.answer(pb::VoidRedemptionResponse::default())
    }

    async fn issue_voucher(
        &self,
        _: Request<pb::IssueVoucherRequest>,
    ) -> Result<Response<pb::IssueVoucherResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }

    async fn get_voucher(
        &self,
        _: Request<pb::GetVoucherRequest>,
    ) -> Result<Response<pb::GetVoucherResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }

    async fn list_vouchers(
        &self,
        _: Request<pb::ListVouchersRequest>,
    ) -> Result<Response<pb::ListVouchersResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }

    async fn record_touch(
        &self,
        _: Request<pb::RecordTouchRequest>,
    ) -> Result<Response<pb::RecordTouchResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }

    async fn qualify_vouchers(
        &self,
        _: Request<pb::QualifyVouchersRequest>,
    ) -> Result<Response<pb::QualifyVouchersResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }

    async fn transfer_voucher(
        &self,
        _: Request<pb::TransferVoucherRequest>,
    ) -> Result<Response<pb::TransferVoucherResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }

    async fn request_voucher(
        &self,
        _: Request<pb::RequestVoucherRequest>,
    ) -> Result<Response<pb::RequestVoucherResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }

    async fn revoke_voucher(
        &self,
        _: Request<pb::RevokeVoucherRequest>,
    ) -> Result<Response<pb::RevokeVoucherResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }

    async fn reserve_voucher(
        &self,
        _: Request<pb::ReserveVoucherRequest>,
    ) -> Result<Response<pb::ReserveVoucherResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }

    async fn release_reservation(
        &self,
        _: Request<pb::ReleaseReservationRequest>,
    ) -> Result<Response<pb::ReleaseReservationResponse>> {
        Err(Status::unimplemented("no till of the street asks for it"))
    }
}
