use std::collections::BTreeSet;

use proto::promotion::Benefit;

use super::{
    promotion::{conditions_json, risk_json},
    *,
};

fn cny(minor: i64) -> proto::Money {
    proto::Money { currency_code: "CNY".to_owned(), minor }
}

#[test]
fn amounts_show_the_currency_s_decimals() {
    let show = |code: &str, minor| money(Some(&proto::Money { currency_code: code.to_owned(), minor }));
    assert_eq!(show("CNY", 1250), "12.50 CNY");
    assert_eq!(show("CNY", -5), "-0.05 CNY");
    assert_eq!(show("JPY", 500), "500 JPY");
    assert_eq!(show("KWD", 1), "0.001 KWD");
    assert_eq!(show("CNY", i64::MIN), "-92233720368547758.08 CNY");
    assert_eq!(money(None), "");
}

#[test]
fn times_durations_and_sizes_read_well() {
    assert_eq!(time(Some(&Timestamp { seconds: 1, nanos: 500_000_000 })), "1970-01-01T00:00:01.5Z");
    assert_eq!(time(Some(&Timestamp { seconds: i64::MAX, nanos: 0 })), "9223372036854775807s");
    let seconds = |seconds| duration(Some(&Duration { seconds, nanos: 0 }));
    assert_eq!((seconds(1_209_600), seconds(5_400), seconds(0)), ("14d".into(), "90m".into(), "0s".into()));
    assert_eq!(
        (bytes(1_023), bytes(1_536), bytes(64 << 20)),
        ("1023 B".into(), "1.5 KiB".into(), "64.0 MiB".into())
    );
    assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
}

#[test]
fn members_show_whom_they_continue_in_both_languages() {
    let member = |id: &str, name: &str, state: proto::MemberState, continues: &[&str]| proto::Member {
        shop_id: id.repeat(64),
        name: name.to_owned(),
        state: state.into(),
        continues_shop_ids: continues.iter().map(|id| id.repeat(64)).collect(),
        ..Default::default()
    };
    let frozen = proto::Member {
        frozen_time: Some(Timestamp { seconds: 1, nanos: 0 }),
        ..member("a", "老茶馆", proto::MemberState::Frozen, &[])
    };
    let out = member("b", "花店", proto::MemberState::Removed, &[]);
    let (old, gone) = (label("老茶馆", &frozen.shop_id), label("花店", &out.shop_id));
    let told = |language, state| {
        let new = member("c", "新茶馆", state, &["a", "b"]);
        let shop = label("新茶馆", &new.shop_id);
        continuations_text(language, &[frozen.clone(), out.clone(), new]).replace(&shop, "NEW")
    };
    let (member, pending) = (proto::MemberState::Member, proto::MemberState::Pending);
    let closed = format!("{old} (frozen since 1970-01-01T00:00:01Z), {gone} (voted out)");
    assert_eq!(told(Language::En, member), format!("NEW continues {closed}"));
    assert_eq!(told(Language::En, pending), format!("NEW, once it is in, continues {closed}"));
    let closed = format!("{old}（自 1970-01-01T00:00:01Z 起冻结）, {gone}（已除名）");
    assert_eq!(told(Language::Zh, member), format!("NEW 接续 {closed}"));
    assert_eq!(told(Language::Zh, pending), format!("NEW 获准加入后将接续 {closed}"));
    assert_eq!(continuations_text(Language::En, &[frozen, out]), "");
}

#[test]
fn a_shop_that_can_be_objected_to_is_announced_until_then() {
    let member = |seconds| proto::Member {
        state: proto::MemberState::Member.into(),
        effective_time: Some(Timestamp { seconds, nanos: 0 }),
        ..Default::default()
    };
    let now = UnixMillis::new(5_000).unwrap();
    let told = member_standing(&member(6), now);
    assert_eq!(told, "announced, open to objections until 1970-01-01T00:00:06Z");
    assert_eq!(member_standing(&member(5), now), "member");
    let removed = proto::Member { state: proto::MemberState::Removed.into(), ..member(6) };
    assert_eq!(member_standing(&removed, now), "removed");
    let alliance = alliance_text(&proto::Alliance::default(), Some(&Timestamp { seconds: 6, nanos: 0 }));
    assert!(alliance.contains("announced, open to objections until"), "{alliance}");
}

#[test]
fn json_has_the_fields_of_the_protos() {
    let promotion = proto::Promotion { benefit: Some(Benefit::AmountOff(cny(500))), ..Default::default() };
    let promotion = promotion_json(&promotion);
    assert_eq!(promotion["amount_off"], json!({ "currency_code": "CNY", "minor": 500 }));
    assert_eq!(promotion["percent_off"], Value::Null);
    for (message, json) in [
        ("Promotion", promotion),
        ("Conditions", conditions_json(&proto::Conditions::default())),
        ("RiskTerms", risk_json(&proto::RiskTerms::default())),
        ("Share", share_json(&proto::Share::default())),
        ("Offence", offence_json(&proto::Offence::default())),
        ("QualifiedVoucher", qualified_json(&proto::QualifiedVoucher::default())),
        ("Voucher", voucher_json(&proto::Voucher::default())),
        ("Alliance", alliance_json(&proto::Alliance::default())),
        ("Member", member_json(&proto::Member::default())),
        ("Pair", pair_json(&proto::Pair::default())),
        ("GetSummaryResponse", summary_json(&proto::GetSummaryResponse::default())),
        ("GetStatusResponse", status_json(&proto::GetStatusResponse::default())),
        ("WatchResponse", event_json(&proto::WatchResponse::default())),
    ] {
        let shown: BTreeSet<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(shown, proto_fields(message), "{message}");
    }
}

/// The names of a merchant message's fields.
fn proto_fields(message: &str) -> BTreeSet<String> {
    use prost::Message as _;

    let set = Descriptors::decode(hutong_wire::FILE_DESCRIPTOR_SET).unwrap();
    let merchant = set.files.into_iter().filter(|file| file.package == "hutong.merchant.v1");
    let found = merchant.flat_map(|file| file.messages).find(|found| found.name == message);
    found.unwrap().fields.into_iter().map(|field| field.name).collect()
}

/// As much of `google.protobuf.FileDescriptorSet` as names take.
#[derive(Clone, PartialEq, prost::Message)]
struct Descriptors {
    #[prost(message, repeated, tag = "1")]
    files: Vec<FileDescriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FileDescriptor {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<MessageDescriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MessageDescriptor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    fields: Vec<FieldDescriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FieldDescriptor {
    #[prost(string, tag = "1")]
    name: String,
}

#[test]
fn enums_are_lower_case_words() {
    let voucher = proto::Voucher { state: proto::VoucherState::Redeemed.into(), ..Default::default() };
    assert_eq!(voucher_json(&voucher)["state"], "redeemed");
    assert_eq!(voucher_json(&voucher)["mode"], "designated");
    let offence = proto::Offence { kind: proto::OffenceKind::RiskLost.into(), ..Default::default() };
    assert_eq!(offence_json(&offence)["kind"], "risk_lost");
    let event = proto::WatchResponse { r#type: proto::EventType::VoucherIssued.into(), ..Default::default() };
    assert_eq!(event_json(&event)["type"], "voucher_issued");
}

#[test]
fn a_promotion_s_conditions_read_as_they_are_typed() {
    let hours = proto::WeeklyHours {
        weekdays: vec![proto::Weekday::Monday.into(), proto::Weekday::Tuesday.into()],
        from_minute: 660,
        until_minute: 845,
    };
    let conditions = proto::Conditions {
        hours: vec![hours],
        categories: vec!["fruit".to_owned()],
        first_visit: true,
        per_card_day_max: 2,
        ..Default::default()
    };
    let promotion = proto::Promotion {
        conditions: Some(conditions),
        uses: 5,
        mode: proto::VoucherMode::Leased.into(),
        ..Default::default()
    };
    let text = promotion_text(&promotion, &Names::default());
    for part in ["mon,tue 11:00-14:05", "fruit", "on a first visit", "2 a card and day", "5", "leased"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn tables_say_who_owns_who_cheated_and_what_would_come_off() {
    let names = Names::of(vec![proto::Member {
        shop_id: "ab".repeat(32),
        name: "茶馆".into(),
        ..Default::default()
    }]);
    let share = proto::Share {
        owner_id: "ab".repeat(32),
        distributor_id: "cd".repeat(32),
        first_number: 23,
        last_number: 30,
        ..Default::default()
    };
    let text = shares_text(&[share], &names);
    assert!(["茶馆 abababab", "23-30", "8", "cdcdcdcd"].iter().all(|part| text.contains(part)), "{text}");
    let offence = proto::Offence {
        liable_id: "ab".repeat(32),
        kind: proto::OffenceKind::NumberTwice.into(),
        charge: Some(cny(600)),
        ..Default::default()
    };
    let text = offences_text(&[offence], &names);
    assert!(text.contains("茶馆") && text.contains("one number") && text.contains("6.00 CNY"), "{text}");
    let applies =
        proto::VoucherApplies { discount: Some(cny(300)), needs_confirmation: true, ..Default::default() };
    let refused = proto::VoucherRefused {
        reason: "VOUCHER_EXPIRED".into(),
        message: "券已过期".into(),
        ..Default::default()
    };
    let of = |outcome| proto::QualifiedVoucher { outcome: Some(outcome), ..Default::default() };
    let text = qualified_text(&[
        of(proto::qualified_voucher::Outcome::Applies(applies)),
        of(proto::qualified_voucher::Outcome::Refused(refused)),
    ]);
    assert!(text.contains("3.00 CNY") && text.contains("if its home agrees"), "{text}");
    assert!(text.contains("券已过期 [VOUCHER_EXPIRED]"), "{text}");
}

#[test]
fn a_line_names_few_shops_and_counts_the_rest() {
    let ids = ["ab", "cd", "ef"].map(|id| id.repeat(32));
    let mode = proto::VoucherMode::Anywhere.into();
    let promotion = proto::Promotion { mode, redeemer_ids: ids.to_vec(), ..Default::default() };
    let line = promotions_text(std::slice::from_ref(&promotion), &Names::default());
    assert!(line.contains("abababab; cdcdcdcd and 1 more"), "{line}");
    let all = promotion_text(&promotion, &Names::default());
    assert!(all.contains("abababab; cdcdcdcd; efefefef"), "{all}");
}

#[test]
fn a_voucher_says_where_it_is_good() {
    let voucher = |mode: proto::VoucherMode, holder: &str| {
        let voucher = proto::Voucher {
            mode: mode.into(),
            holder_id: holder.repeat(32),
            redeemer_id: "cd".repeat(32),
            uses: 5,
            uses_left: Some(3),
            ..Default::default()
        };
        voucher_text(&voucher, &Names::default())
    };
    assert!(voucher(proto::VoucherMode::Anywhere, "ab").contains("anywhere, held by abababab"));
    assert!(voucher(proto::VoucherMode::Designated, "").contains("cdcdcdcd"));
    assert!(voucher(proto::VoucherMode::Leased, "ab").contains("3 of 5"));
}
