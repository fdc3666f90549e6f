use proptest::prelude::*;

use super::*;

const JPY: &str = "JPY";

fn money(text: &str) -> Result<MoneyArg, String> {
    text.parse()
}

fn minor(text: &str, alliance: &str) -> Result<i64, String> {
    money(text)?.to_proto(Some(alliance.parse().unwrap())).map(|money| money.minor)
}

#[test]
fn amounts_are_minor_units_or_have_the_currency_s_decimals() {
    assert_eq!(minor("1250", "CNY"), Ok(1250));
    assert_eq!(minor("12.50", "CNY"), Ok(1250));
    assert_eq!(minor("0.05", "CNY"), Ok(5));
    assert_eq!(minor("500", JPY), Ok(500));
    assert_eq!(minor("1.500", "KWD"), Ok(1500));
    assert_eq!(money("12.50USD").unwrap().to_proto(None).unwrap().currency_code, "USD");
    assert_eq!(money("500 JPY").unwrap().to_proto(None).unwrap().minor, 500);
    assert_eq!(
        money("1250").unwrap().to_proto(None).unwrap(),
        proto::Money { currency_code: String::new(), minor: 1250 }
    );
}

#[test]
fn a_wrong_number_of_decimals_is_refused() {
    assert!(minor("12.5", "CNY").unwrap_err().contains("2 decimals"));
    assert!(minor("12.500", "CNY").is_err());
    assert!(minor("12.50", JPY).unwrap_err().contains("no minor units"));
    assert!(money("12.50JPY").is_err() && money("12.5USD").is_err());
    assert!(money("12.50").unwrap().needs_currency());
    assert!(!money("1250").unwrap().needs_currency() && !money("12.50USD").unwrap().needs_currency());
}

#[test]
fn what_is_no_amount_is_refused() {
    for wrong in [
        "", ".", ".5", "5.", "-1", "+1", "1e3", "1,50", "1.2.3", "12.50usd", "12.50US", "USD", "１２",
        "1.0000", "1 2",
    ] {
        assert!(money(wrong).is_err(), "{wrong}");
    }
    assert!(money("1000000000000000").is_ok());
    assert!(money("1000000000000001").is_err() && money("99999999999999999999").is_err());
}

#[test]
fn durations_are_counts_of_units() {
    for zero in ["0", "0s", "0d0h"] {
        assert_eq!((duration_or_zero(zero).unwrap().seconds, duration(zero).is_err()), (0, true), "{zero}");
    }
    assert!(duration_or_zero("").is_err() && duration_or_zero("0x").is_err());
    assert_eq!(duration("14d").unwrap().seconds, 14 * 86_400);
    assert_eq!(duration("72h").unwrap().seconds, 72 * 3_600);
    assert_eq!(duration("30m").unwrap().seconds, 1_800);
    assert_eq!(duration("1d12h30m5s").unwrap().seconds, 86_400 + 12 * 3_600 + 1_800 + 5);
    for wrong in [
        "",
        "14",
        "d",
        "14 d",
        "0d",
        "-1d",
        "1.5h",
        "1w",
        "1h1d",
        "1h2h",
        "99999999999999999999d",
        "4000d",
        "1天",
    ] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn times_carry_their_offset() {
    assert_eq!(time("1970-01-01T08:00:01.5+08:00").unwrap(), Timestamp { seconds: 1, nanos: 500_000_000 });
    for wrong in ["", "2026-05-01", "2026-05-01T08:00:00", "1969-12-31T23:59:59Z", "tomorrow"] {
        assert!(time(wrong).is_err(), "{wrong}");
    }
    assert_eq!(timestamp(UnixMillis::new(1_500).unwrap()), Timestamp { seconds: 1, nanos: 500_000_000 });
}

#[test]
fn offsets_are_hours_and_minutes() {
    assert_eq!(utc_offset_minutes("+08:00"), Ok(480));
    assert_eq!(utc_offset_minutes("-03:30"), Ok(-210));
    assert_eq!(utc_offset_minutes("480"), Ok(480));
    for wrong in ["", "+", "08:60", "8:0", "+15:00", "--1", "x"] {
        assert!(utc_offset_minutes(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn percentages_become_basis_points() {
    assert_eq!(basis_points("10"), Ok(1_000));
    assert_eq!(basis_points("12.5"), Ok(1_250));
    assert_eq!(basis_points("7.25%"), Ok(725));
    assert_eq!(basis_points("0.01"), Ok(1));
    assert_eq!(basis_points("100"), Ok(10_000));
    for wrong in ["", "0", "100.01", "1.234", "-1", "%", "1.", ".5", "4294967296"] {
        assert!(basis_points(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn shares_cards_and_request_ids_have_a_form() {
    assert_eq!("a=b=20".parse(), Ok(Share { shop: "a=b".into(), quota: 20 }));
    for wrong in ["a", "a=", "=1", "a=0", "a=1000001", "a=-1", "a=x"] {
        assert!(wrong.parse::<Share>().is_err(), "{wrong}");
    }
    assert_eq!(card("00FF00ff00ff00ff00ff00ff00ff00ff").unwrap(), "00ff00ff00ff00ff00ff00ff00ff00ff");
    assert!(card("00ff").is_err() && card("13800138000").is_err());
    assert!(request_id("till-1/2026-05-01/17").is_ok());
    assert!(request_id("").is_err() && request_id("单").is_err() && request_id(&"x".repeat(65)).is_err());
}

proptest! {
    #[test]
    fn parsers_never_panic(text in "\\PC{0,24}") {
        let _ = (money(&text), duration(&text), time(&text), utc_offset_minutes(&text), basis_points(&text));
        let _ = (text.parse::<Share>(), card(&text), request_id(&text));
    }

    #[test]
    fn an_amount_shown_is_the_amount_typed(minor_units in 0..=MINOR_MAX, code in prop_oneof!["CNY", "JPY", "KWD"]) {
        let shown = super::super::show::money(Some(&proto::Money { currency_code: code.clone(), minor: minor_units }));
        prop_assert_eq!(money(&shown).unwrap().to_proto(None).unwrap(), proto::Money { currency_code: code, minor: minor_units });
    }
}

#[test]
fn hours_are_days_and_a_span() {
    let hours = |text: &str| {
        let hours = weekly_hours(text)?;
        Ok::<_, String>((hours.weekdays, hours.from_minute, hours.until_minute))
    };
    assert_eq!(hours("mon-fri 11:00-14:05"), Ok((vec![1, 2, 3, 4, 5], 660, 845)));
    assert_eq!(hours("sun,Sat 0:00-24:00"), Ok((vec![6, 7], 0, 1_440)));
    assert_eq!(hours("9:30-10:00"), Ok((vec![1, 2, 3, 4, 5, 6, 7], 570, 600)));
    for wrong in [
        "",
        "mon",
        "mon 11:00",
        "mon 14:00-11:00",
        "mon 11:00-25:00",
        "fri-mon 1:00-2:00",
        "xyz 1:00-2:00",
        "mon 1:60-2:00",
        "mon +1:00-2:00",
    ] {
        assert!(weekly_hours(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_line_is_a_category_and_an_amount() {
    let line: Line = "fresh fruit=12.50".parse().unwrap();
    assert_eq!((line.category.as_str(), line.amount), ("fresh fruit", "12.50".parse().unwrap()));
    for wrong in ["fruit", "=12.50", "fruit=", "fruit=x"] {
        assert!(wrong.parse::<Line>().is_err(), "{wrong}");
    }
}
