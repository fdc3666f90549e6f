//! What is written is read back as it was.

use super::*;

fn sheet() -> Sheet {
    let columns =
        [("shop", Kind::Text), ("customers", Kind::Count), ("credit", Kind::Number), ("owed", Kind::Money)];
    let mut sheet = Sheet::new(Currency::CNY, &columns);
    let row = |name: &str, count, credit, minor| {
        vec![Cell::text(name), Cell::count(count), Cell::Number(credit), Cell::Money(minor)]
    };
    sheet.push(row("张记包子", 3, 1.0 / 3.0, 1_205));
    sheet.push(row("a \"quoted\", name", 0, 0.0, -5));
    sheet.push(row("=HYPERLINK(\"http://x\")", u64::from(u32::MAX), 2.5, 999_999_999_999_999));
    sheet
}

#[test]
fn csv_reads_back_and_starts_no_formula() {
    let bytes = sheet().csv().unwrap();
    let text = bytes.strip_prefix(BOM).expect("a byte order mark");
    let mut reader = csv::Reader::from_reader(text);
    assert_eq!(reader.headers().unwrap(), vec!["shop", "customers", "credit", "owed", "currency"]);
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows[0], vec!["张记包子", "3", "0.3333333333333333", "12.05", "CNY"]);
    assert_eq!(rows[1], vec!["a \"quoted\", name", "0", "0", "-0.05", "CNY"]);
    assert_eq!(&rows[2][0], "'=HYPERLINK(\"http://x\")");
    assert_eq!((&rows[2][3], rows.len()), ("9999999999999.99", 3));
}

#[test]
fn a_sheet_without_rows_is_a_file_all_the_same() {
    let empty = Sheet { rows: Vec::new(), ..sheet() };
    assert!(empty.csv().unwrap().ends_with(b"currency\n"));
}

#[test]
fn amounts_without_decimals_have_no_point() {
    let yen: Currency = "JPY".parse().unwrap();
    assert_eq!((decimal(1_200, yen), decimal(-7, yen)), ("1200".into(), "-7".into()));
    assert_eq!((decimal(5, Currency::CNY), decimal(0, Currency::CNY)), ("0.05".into(), "0.00".into()));
}

#[test]
fn files_need_a_name_and_a_name_needs_a_file_s_format() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        |format, name: Option<&str>| SheetArgs { format, output: name.map(|name| folder.path().join(name)) };
    assert!(sheet().answer(args(Format::Csv, None)).is_err());
    assert!(sheet().answer(args(Format::Table, Some("x"))).is_err());
    assert!(sheet().answer(args(Format::Csv, Some("no/such/folder.csv"))).is_err());
    let written = sheet().answer(args(Format::Csv, Some("x.csv"))).unwrap();
    assert_eq!(written.json()["rows"], 3);
    assert_eq!(std::fs::read(folder.path().join("x.csv")).unwrap(), sheet().csv().unwrap());
    let shown = sheet().answer(args(Format::Json, None)).unwrap();
    assert_eq!(
        (&shown.json()[0]["owed_minor"], &shown.json()[0]["currency"]),
        (&json!(1_205), &json!("CNY"))
    );
    assert!(sheet().answer(args(Format::Table, None)).unwrap().text().contains("12.05"));
}
