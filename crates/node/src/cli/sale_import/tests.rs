use super::{super::plain_file::FileError, *};

const MAPPING: &str = r#"
source = "till-2"
time = { column = "时间", format = "%Y-%m-%d %H:%M:%S", zone = "+08:00" }
amount = { column = "实收" }
card = { column = "会员号" }
reference = { column = "单号" }
skip = [{ column = "状态", equals = "已退款" }]
"#;
const CARD: &str = "00112233445566778899aabbccddeeff";

fn mapping(text: &str) -> Mapping {
    Mapping::parse("mapping.toml", text.as_bytes()).unwrap()
}

fn rows(mapping: &Mapping, csv: &str) -> Vec<Result<Option<Sale>, RowProblem>> {
    let sheet = Sheet::of("sales.csv", csv.as_bytes().to_vec(), mapping).unwrap();
    let mut seen = BTreeMap::new();
    sheet
        .rows()
        .iter()
        .map(|(_, cells)| row::sale(mapping, &sheet, cells, Currency::CNY, &mut seen))
        .collect()
}

fn one(mapping: &Mapping, time: &str, amount: &str, card: &str, reference: &str) -> Result<Sale, RowProblem> {
    let csv = format!("时间,实收,会员号,单号,状态\n{time},\"{amount}\",{card},{reference},\n");
    rows(mapping, &csv).remove(0).map(|sale| sale.expect("not skipped"))
}

const TIME: &str = "2026-05-01 08:00:00";

#[test]
fn a_row_says_what_a_sale_is() {
    let sale = one(&mapping(MAPPING), TIME, "¥1,234.5", CARD, "A-1").unwrap();
    assert_eq!((sale.minor, sale.time.seconds, sale.time.nanos), (123_450, 1_777_593_600, 0));
    assert_eq!((sale.card.as_str(), sale.reference.as_str()), (CARD, "A-1"));
    let request = sale.request("ab");
    assert!(request.request_id.len() <= 64 && request.request_id.is_ascii());
    let anonymous = one(&mapping(MAPPING), TIME, "12", "", "A-2").unwrap();
    assert_eq!((anonymous.minor, anonymous.card.as_str()), (1_200, ""));
}

#[test]
fn a_file_imported_again_has_the_same_request_ids_and_another_till_s_has_others() {
    let id =
        |mapping_text: &str, amount| one(&mapping(mapping_text), TIME, amount, "", "A-1").unwrap().request_id;
    assert_eq!(id(MAPPING, "1.00"), id(MAPPING, "1.00"));
    assert_eq!(
        id(MAPPING, "1.00"),
        id(MAPPING, "2.00"),
        "the reference names the sale; the node sees the difference"
    );
    assert_ne!(id(MAPPING, "1.00"), id(&MAPPING.replace("till-2", "till-3"), "1.00"));
}

#[test]
fn without_references_equal_rows_are_counted() {
    let mapping = mapping("time = { column = \"t\" }\namount = { column = \"a\" }");
    let csv =
        "t,a\n2026-05-01T08:00:00+08:00,1\n2026-05-01T08:00:00+08:00,1.00\n2026-05-01T08:00:01+08:00,1\n";
    let ids =
        || rows(&mapping, csv).into_iter().map(|row| row.unwrap().unwrap().request_id).collect::<Vec<_>>();
    let first = ids();
    let mut distinct = first.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!((distinct.len(), first), (3, ids()));
}

#[test]
fn what_is_no_sale_is_refused_by_row() {
    let mapping = mapping(MAPPING);
    let reason =
        |time, amount, card, reference| one(&mapping, time, amount, card, reference).unwrap_err().reason();
    for time in
        ["", "2026-05-01", "2026-13-01 08:00:00", "2026-02-30 08:00:00", "yesterday", "1969-12-31 08:00:00"]
    {
        assert_eq!(reason(time, "1", "", "A"), "ROW_TIME", "{time}");
    }
    for amount in
        ["", "0", "0.00", "-1", "1.005", "1,23", "12,34.5", "abc", "1e20", "NaN", "10000000000000.01", "$"]
    {
        assert_eq!(reason(TIME, amount, "", "A"), "ROW_AMOUNT", "{amount}");
    }
    for card in ["13800138000", "zz112233445566778899aabbccddeeff"] {
        assert_eq!(reason(TIME, "1", card, "A"), "ROW_CARD", "{card}");
    }
    assert_eq!(reason(TIME, "1", "", ""), "ROW_REFERENCE_MISSING");
    assert_eq!(reason(TIME, "1", "", &"x".repeat(65)), "ROW_REFERENCE");
    let twice = format!("时间,实收,会员号,单号,状态\n{TIME},1,,A,\n{TIME},2,,A,\n{TIME},3,,B,已退款\n\n");
    let outcome = rows(&mapping, &twice);
    assert!(outcome[0].is_ok() && outcome[2] == Ok(None) && outcome.len() == 3);
    assert_eq!(outcome[1], Err(RowProblem::ReferenceTwice("A".to_owned())));
}

#[test]
fn a_time_with_an_offset_of_its_own_is_never_read_in_the_mapping_s_zone() {
    let own_offset = "2026-05-01T08:00:00+00:00";
    let of_format = one(&mapping(MAPPING), own_offset, "1", "", "A");
    assert!(matches!(of_format, Err(RowProblem::Time { .. })), "{of_format:?}");
    let free = MAPPING.replace("format = \"%Y-%m-%d %H:%M:%S\", ", "");
    let sale = one(&mapping(&free), own_offset, "1", "", "A").unwrap();
    assert_eq!(sale.time.seconds, 1_777_593_600 + 8 * 3_600);
    // A workbook's own date has none.
    let sale = one(&mapping(&free), "2026-05-01T08:00:00", "1", "", "A").unwrap();
    assert_eq!(sale.time.seconds, 1_777_593_600);
}

#[test]
fn a_time_that_clocks_show_twice_or_never_is_refused() {
    let zoned = MAPPING.replace("+08:00", "Europe/Berlin");
    let Ok(mapping) = Mapping::parse("m", zoned.as_bytes()) else {
        // A system without its zones refuses the mapping, and says so.
        return assert!(Mapping::parse("m", zoned.as_bytes()).unwrap_err().to_string().contains("time.zone"));
    };
    let time = |time| one(&mapping, time, "1", "", "A").map(|sale| sale.time.seconds);
    assert_eq!(time("2026-07-01 12:00:00"), Ok(1_782_900_000));
    for time_of in ["2026-03-29 02:30:00", "2026-10-25 02:30:00"] {
        assert!(matches!(time(time_of), Err(RowProblem::Time { .. })), "{time_of}");
    }
}

#[test]
fn mappings_and_files_that_do_not_fit_are_refused_whole() {
    let bad = [
        "",
        "time = 3",
        "amount = { column = \"a\" }",
        &MAPPING.replace("till-2", &"x".repeat(65)),
        &MAPPING.replace("+08:00", "Nowhere/City"),
        &MAPPING.replace("+08:00", "+99:00"),
        &format!("{MAPPING}\ndelimiter = \"\\\"\""),
        &format!("{MAPPING}\ndelimiter = \"，\""),
        &format!("{MAPPING}\ncolour = \"red\""),
    ];
    for text in bad {
        assert!(Mapping::parse("m", text.as_bytes()).is_err(), "{text}");
    }
    let mapping = mapping(MAPPING);
    let files: [&[u8]; 6] = [
        b"",
        b"a,b\n1,2\n",
        "时间,实收,会员号,单号\n".as_bytes(),
        "时间,时间,实收,会员号,单号,状态\n".as_bytes(),
        b"\xff\xfe,\n1,2\n",
        b"PK\x03\x04 and no workbook",
    ];
    for bytes in files {
        let outcome = Sheet::of("f", bytes.to_vec(), &mapping);
        assert!(matches!(outcome, Err(FileError::Malformed { .. })), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_workbook_is_read_with_its_own_dates_and_numbers() {
    let mapping = mapping(&MAPPING.replace("skip", "#skip"));
    let bytes = include_bytes!("../../../../../tests/data/import/sales.xlsx").to_vec();
    let sheet = Sheet::of("sales.xlsx", bytes.clone(), &mapping).unwrap();
    let mut seen = BTreeMap::new();
    let sales: Vec<_> = sheet
        .rows()
        .iter()
        .map(|(line, cells)| {
            (*line, row::sale(&mapping, &sheet, cells, Currency::CNY, &mut seen).unwrap().unwrap())
        })
        .collect();
    let told: Vec<_> =
        sales.iter().map(|(line, s)| (*line, s.minor, s.time.seconds, s.reference.as_str())).collect();
    assert_eq!(told, [(2, 3_850, 1_777_593_600, "A-1"), (4, 123_400, 1_777_597_200, "A-2")]);
    let missing = Mapping { sheet: Some("Sheet9".to_owned()), ..mapping };
    assert!(Sheet::of("sales.xlsx", bytes.clone(), &missing).unwrap_err().to_string().contains("Sheet9"));
    for cut in [bytes.len() / 4, bytes.len() / 2, bytes.len() - 10] {
        assert!(Sheet::of("sales.xlsx", bytes[..cut].to_vec(), &missing).is_err(), "{cut}");
    }
}
