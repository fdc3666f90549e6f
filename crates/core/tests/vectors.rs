//! The golden bytes and texts of charters, vouchers and invitation links.

use bytes::Bytes;
use hutong_core::{
    charter::Charter,
    code::{SECRET_BYTES, format_code, parse_code},
    invitation::{InvitationLink, LinkDoor},
    voucher::{Presented, Token, VoucherBody, VoucherKey},
};
use hutong_record::{
    Afresh, CardId, Identity, RecordId, RecoverySeed, ShopId, SigningKey, StatementKind, UnixMillis, proto,
    proto::Kind, voucher_body_hash,
};
use prost::Message as _;

#[path = "../../../tests/vectors/golden.rs"]
mod golden;

use golden::{Case, Counting, check};

const TIME_UNIX_MS: i64 = 1_767_225_600_000;
const DAY_MS: i64 = 86_400_000;

fn time(ms: i64) -> UnixMillis {
    UnixMillis::new(ms).expect("within the years 1970 to 9999")
}

fn founder() -> Identity {
    Identity::create(&RecoverySeed::new([5; 32]), time(TIME_UNIX_MS), &mut Counting::from_zero())
}

fn charter() -> Charter {
    let message = proto::Charter {
        name: "五道营胡同".into(),
        purpose: "互相介绍客人".into(),
        currency_code: "CNY".into(),
        utc_offset_minutes: 480,
        admission_votes: 2,
        removal_votes: 3,
        late_entry_ms_max: 7 * DAY_MS,
        attribution_window_ms: 30 * DAY_MS,
        founder: Some(founder().signed().clone()),
        created_unix_ms: TIME_UNIX_MS,
        salt: Bytes::from_static(&[0x5a; 16]),
        ..Default::default()
    };
    Charter::write(&message).expect("the charter is in order")
}

#[test]
fn charter_and_its_alliance() {
    let charter = charter();
    let case = Case::new("a charter; its hash is the alliance id")
        .text("name", &charter.name)
        .hex("founder_shop_id", charter.founder.id().as_bytes())
        .hex("charter", charter.bytes())
        .hex("alliance_id", charter.id.as_bytes());
    let stored = &check("charter.json", vec![case])[0];
    let read = Charter::parse(stored.bytes("charter").into()).unwrap();
    assert_eq!(read.id.as_bytes().to_vec(), stored.bytes("alliance_id"));
    assert_eq!(read, charter);
}

#[test]
fn voucher_as_token_qr_text_and_code() {
    let key = SigningKey::from_seed(&[3; 32]);
    let cases = [("bound to a card", Some(CardId::new([0xca; 16]))), ("for its bearer", None)];
    let case = |(name, card): (&str, Option<CardId>)| {
        let body = VoucherBody {
            key: VoucherKey {
                promotion: RecordId::new([0x9f; 32]),
                distributor: 2,
                number: 70_000,
                round: 0,
                moved_by: None,
            },
            issuer: 2,
            redeemer: 0,
            card,
            issued: time(TIME_UNIX_MS),
            expires: time(TIME_UNIX_MS + 30 * DAY_MS),
            secret: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            key_epoch: 0,
        };
        let token = Token::sign(body.clone(), &key);
        Case::new(name)
            .hex("distributor_public_key", key.public().as_bytes())
            .text("voucher_id", body.key.to_string())
            .hex("card_id", card.map_or(Vec::new(), |card| card.as_bytes().to_vec()))
            .number("issued_unix_ms", body.issued.ms())
            .number("expires_unix_ms", body.expires.ms())
            .hex("secret", body.secret)
            .hex("token", token.bytes())
            .text("qr_text", token.qr_text())
            .text("typed_code", token.code())
    };
    for stored in check("voucher.json", cases.map(case).into()) {
        let token = Token::parse(&stored.bytes("token")).unwrap();
        assert_eq!(stored.text("qr_text").parse(), Ok(Presented::Token(token.clone())));
        assert_eq!(stored.text("typed_code").parse(), Ok(Presented::Secret(token.body().secret)));
        assert_eq!(stored.text("voucher_id").parse(), Ok(Presented::Key(token.body().key)));
        let signed = proto::VoucherToken::decode(token.bytes()).unwrap();
        // The signature is over the claim, which names the body by its hash.
        let body = token.body();
        let claim = proto::VoucherClaim {
            voucher: Some(proto::VoucherId {
                promotion_id: body.key.promotion.as_bytes().to_vec().into(),
                distributor: body.key.distributor.into(),
                number: body.key.number,
                round: 0,
                move_id: Default::default(),
            }),
            issuer: body.key.distributor.into(),
            body_hash: voucher_body_hash(&signed.body).to_vec().into(),
            ..Default::default()
        };
        let claim = claim.encode_to_vec();
        assert_eq!(
            StatementKind::VoucherClaim.verify(&Afresh, &key.public(), &claim, &signed.signature),
            Ok(())
        );
    }
}

#[test]
fn typed_codes() {
    let secrets: [[u8; SECRET_BYTES]; 3] =
        [[0; 10], [0xff; 10], [1, 35, 69, 103, 137, 171, 205, 239, 16, 50]];
    let case = |secret: [u8; SECRET_BYTES]| {
        Case::new("80 bits and two check symbols")
            .hex("secret", secret)
            .text("typed_code", format_code(&secret))
    };
    for stored in check("typed_code.json", secrets.map(case).into()) {
        assert_eq!(parse_code(stored.text("typed_code")).unwrap().to_vec(), stored.bytes("secret"));
    }
}

#[test]
fn invitation_link() {
    let door = |seed: u8, address: &str| LinkDoor {
        key: SigningKey::from_seed(&[seed; 32]).public(),
        addresses: vec![address.into()],
    };
    let told = InvitationLink {
        charter: charter(),
        inviter: founder(),
        addresses: vec!["shop.example:7401".into(), "192.0.2.7:7401".into()],
        doors: Vec::new(),
        guest_seed: [0x6e; 32],
        expires: time(TIME_UNIX_MS + DAY_MS),
    };
    let through = InvitationLink {
        charter: charter(),
        inviter: founder(),
        addresses: Vec::new(),
        doors: vec![door(1, "192.0.2.8:7401"), door(2, "shop.example:7401")],
        ..told
    };
    let guest = ShopId::new([0x67; 32]);
    let case = |name: &str, link: &InvitationLink| {
        let doors: Vec<_> = link.doors.iter().map(|door| door.addresses.join(" ")).collect();
        Case::new(name)
            .hex("alliance_id", link.charter.id.as_bytes())
            .hex("inviter_shop_id", link.inviter.id().as_bytes())
            .text("addresses", link.addresses.join(" "))
            .text("doors", doors.join(" "))
            .hex("guest_secret", link.guest_seed)
            .hex("guest_public_key", link.guest_key().public().as_bytes())
            .hex("guest_shop_id", guest.as_bytes())
            .hex("guest_signature", link.knock(guest))
            .number("expires_unix_ms", link.expires.ms())
            .text("link", link.text())
    };
    let cases = vec![case("a link with two addresses", &told), case("a link through two members", &through)];
    for (stored, link) in check("invitation_link.json", cases).iter().zip([&told, &through]) {
        let read = InvitationLink::parse(stored.text("link")).unwrap();
        assert_eq!((&read.charter, &read.inviter), (&charter(), &founder()));
        assert_eq!((&read.addresses, &read.doors), (&link.addresses, &link.doors));
        assert_eq!(read.guest_seed.to_vec(), stored.bytes("guest_secret"));
        assert_eq!(read.expires, link.expires);
        assert_eq!(read.knock(guest).to_vec(), stored.bytes("guest_signature"));
    }
}

/// One message of a settlement's records, as it is signed, and read back.
fn message_case<M: prost::Message + Default + PartialEq + std::fmt::Debug>(
    name: &str,
    kind: Kind,
    message: &M,
) -> Case {
    let bytes = message.encode_to_vec();
    assert_eq!(M::decode(bytes.as_slice()).as_ref(), Ok(message), "{name}");
    Case::new(name).number("kind", i32::from(kind)).hex("message", bytes)
}

#[test]
fn credit_lines_and_what_is_drawn_on_them() {
    use proto::netting::Netting as N;
    let id = |n: u8| Bytes::from(vec![n; 32]);
    let word = proto::CreditLine {
        creditor_id: id(3),
        debtor_id: id(1),
        limit_minor: 30_000,
        until_unix_ms: TIME_UNIX_MS,
    };
    let debt =
        |debtor, creditor, minor, left_minor| proto::NettedDebt { debtor, creditor, minor, left_minor };
    let run = proto::NettingRun {
        period_end_unix_ms: TIME_UNIX_MS,
        shop_ids: vec![id(1), id(2), id(3)],
        debts: vec![debt(0, 1, 50_000, 30_000), debt(1, 2, 20_000, 0)],
        balances_digest: id(0xd1),
        lines: vec![proto::NettedLine { debtor: 0, creditor: 2, limit_minor: 30_000, drawn_minor: 20_000 }],
    };
    let drawing = proto::LineDrawing { debtor_id: id(1), creditor_id: id(3), minor: 20_000 };
    let consent =
        proto::NettingConsent { run_id: id(0x9e), period_end_unix_ms: TIME_UNIX_MS, drawings: vec![drawing] };
    let taken_back = proto::CreditLine { limit_minor: 0, until_unix_ms: 0, ..word.clone() };
    let run = proto::Netting { netting: Some(N::Run(run)) };
    let consent = proto::Netting { netting: Some(N::Consent(consent)) };
    let cases = vec![
        message_case("a creditor's word on a line (CreditLine)", Kind::CreditLine, &word),
        message_case("a word taken back (CreditLine)", Kind::CreditLine, &taken_back),
        message_case("a run that draws on a line (Netting)", Kind::Netting, &run),
        message_case("a consent that draws on a line (Netting)", Kind::Netting, &consent),
    ];
    check("credit_line.json", cases);
}
