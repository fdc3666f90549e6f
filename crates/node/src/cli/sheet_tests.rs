//! What is written is read back as it was.

use std::io::Cursor;

use ::parquet::{
    basic::{LogicalType, TimeUnit},
    file::reader::{FileReader as _, SerializedFileReader},
    record::{Field, Row},
};
use calamine::{Data, Reader as _, Xlsx};

use super::*;

const BOOKS: Books =
    Books { currency: Currency::CNY, utc_offset_minutes: 480, language: hutong_client::Language::En };
/// 2026-05-01T16:30:05.250Z: half past midnight of the next day by the alliance's clock.
const TIME: Timestamp = Timestamp { seconds: 1_777_653_005, nanos: 250_000_000 };

fn sheet() -> Sheet {
    let columns = [
        ("shop", Kind::Text),
        ("customers", Kind::Count),
        ("credit", Kind::Number),
        ("owed", Kind::Money),
        ("time", Kind::Time),
        ("week", Kind::Day),
    ];
    let mut sheet = Sheet::new("shops", BOOKS, &columns);
    let row = |name: &str, count, credit, minor, time, day| {
        let day = Cell::Day(Date::constant(2026, 5, day));
        vec![
            Cell::text(name),
            Cell::count(count),
            Cell::Number(credit),
            Cell::Money(minor),
            Cell::Time(time),
            day,
        ]
    };
    sheet.push(row("张记包子", 3, 1.0 / 3.0, 1_205, Some(TIME), 4));
    sheet.push(row("a \"quoted\", name", 0, 0.0, -5, None, 11));
    sheet.push(row("=HYPERLINK(\"http://x\")", u64::from(u32::MAX), 2.5, 999_999_999_999_999, None, 18));
    sheet
}

#[test]
fn csv_reads_back_and_starts_no_formula() {
    let bytes = sheet().csv().unwrap();
    let text = bytes.strip_prefix(BOM).expect("a byte order mark");
    let mut reader = csv::Reader::from_reader(text);
    let header = vec!["shop", "customers", "credit", "owed", "time", "week", "currency"];
    assert_eq!(reader.headers().unwrap(), header);
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let first =
        ["张记包子", "3", "0.3333333333333333", "12.05", "2026-05-01T16:30:05.25Z", "2026-05-04", "CNY"];
    assert_eq!(rows[0], first.to_vec());
    assert_eq!(rows[1], vec!["a \"quoted\", name", "0", "0", "-0.05", "", "2026-05-11", "CNY"]);
    assert_eq!(&rows[2][0], "'=HYPERLINK(\"http://x\")");
    assert_eq!((&rows[2][3], rows.len()), ("9999999999999.99", 3));
}

#[test]
fn a_workbook_holds_numbers_amounts_and_local_times_as_such() {
    let bytes = sheet().with_currency().xlsx().unwrap();
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(bytes)).unwrap();
    assert_eq!(book.sheet_names(), ["shops"]);
    let range = book.worksheet_range("shops").unwrap();
    let rows: Vec<&[Data]> = range.rows().collect();
    let text = |text: &str| Data::String(text.into());
    let header = ["shop", "customers", "credit", "owed", "time (UTC+08:00)", "week", "currency"];
    assert_eq!((rows[0], rows.len()), (header.map(text).as_slice(), 4));
    assert_eq!(
        rows[1][..4],
        [text("张记包子"), Data::Float(3.0), Data::Float(1.0 / 3.0), Data::Float(12.05)]
    );
    let shown = |cell: &Data| match cell {
        Data::DateTime(moment) => moment.to_ymd_hms_milli(),
        other => panic!("no date: {other:?}"),
    };
    assert_eq!(shown(&rows[1][4]), (2026, 5, 2, 0, 30, 5, 250));
    assert_eq!(shown(&rows[1][5]), (2026, 5, 4, 0, 0, 0, 0));
    assert_eq!((&rows[2][3], &rows[2][4]), (&Data::Float(-0.05), &Data::Empty));
    assert_eq!(rows[3][0], text("=HYPERLINK(\"http://x\")"), "a text, and no formula");
    assert_eq!((&rows[3][3], &rows[3][6]), (&Data::Float(9_999_999_999_999.99), &text("CNY")));
    assert!(book.worksheet_formula("shops").unwrap().is_empty());
}

#[test]
fn a_workbook_that_would_not_open_is_refused() {
    let mut long = sheet();
    let mut row = long.rows[0].clone();
    row[0] = Cell::Text("长".repeat(32_768));
    long.push(row);
    let error = long.xlsx().unwrap_err().to_string();
    assert!(error.contains("32768 characters"), "{error}");
    let mut many = Sheet::new("many", BOOKS, &[("n", Kind::Count)]);
    (0..1_048_576).for_each(|n| many.push(vec![Cell::Count(n)]));
    let error = many.xlsx().unwrap_err().to_string();
    assert!(error.contains("1048576 rows"), "{error}");
}

fn parquet_rows(bytes: Vec<u8>) -> (Vec<Row>, SerializedFileReader<bytes::Bytes>) {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
    (reader.get_row_iter(None).unwrap().map(Result::unwrap).collect(), reader)
}

#[test]
fn parquet_reads_back_to_the_minor_unit_and_millisecond() {
    let (rows, reader) = parquet_rows(sheet().with_currency().parquet().unwrap());
    let fields = |row: usize| rows[row].get_column_iter().map(|(_, field)| field.clone()).collect::<Vec<_>>();
    let text = |text: &str| Field::Str(text.into());
    let (ms, days) = (TIME.seconds * 1_000 + 250, |day| Field::Date(20_577 + day));
    let first = vec![
        text("张记包子"),
        Field::Long(3),
        Field::Double(1.0 / 3.0),
        Field::Long(1_205),
        Field::TimestampMillis(ms),
        days(0),
        text("CNY"),
    ];
    assert_eq!((fields(0), rows.len()), (first, 3));
    assert_eq!(fields(1)[3..5], [Field::Long(-5), Field::Null]);
    assert_eq!(fields(2)[3], Field::Long(999_999_999_999_999));
    assert_eq!((fields(2)[0].clone(), fields(2)[5].clone()), (text("=HYPERLINK(\"http://x\")"), days(14)));
    let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    let names: Vec<_> = columns.iter().map(|column| column.name().to_owned()).collect();
    assert_eq!(names, ["shop", "customers", "credit", "owed_minor", "time", "week", "currency"]);
    assert_eq!(columns[4].logical_type_ref(), Some(&LogicalType::timestamp(true, TimeUnit::MILLIS)));
}

#[test]
fn a_sheet_without_rows_is_a_file_all_the_same() {
    let empty = Sheet { rows: Vec::new(), ..sheet() };
    assert!(empty.csv().unwrap().ends_with(b"currency\n"));
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(empty.xlsx().unwrap())).unwrap();
    assert_eq!(book.worksheet_range("shops").unwrap().height(), 1);
    assert!(parquet_rows(empty.parquet().unwrap()).0.is_empty());
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
    for format in [Format::Csv, Format::Xlsx, Format::Parquet] {
        let error = sheet().answer(args(format, None)).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Problem::Usage(_))), "{error}");
        assert!(sheet().answer(args(format, Some("no/such/folder.csv"))).is_err());
    }
    assert!(sheet().answer(args(Format::Table, Some("x"))).is_err());
    let written = sheet().answer(args(Format::Csv, Some("x.csv"))).unwrap();
    assert_eq!(written.json()["rows"], 3);
    assert_eq!(std::fs::read(folder.path().join("x.csv")).unwrap(), sheet().csv().unwrap());
    for (format, name, magic) in
        [(Format::Xlsx, "x.xlsx", b"PK\x03\x04"), (Format::Parquet, "x.parquet", b"PAR1")]
    {
        sheet().answer(args(format, Some(name))).unwrap();
        assert!(std::fs::read(folder.path().join(name)).unwrap().starts_with(magic), "{name}");
    }
    let shown = sheet().answer(args(Format::Json, None)).unwrap();
    assert_eq!(
        (&shown.json()[0]["owed_minor"], &shown.json()[0]["currency"]),
        (&json!(1_205), &json!("CNY"))
    );
    assert!(sheet().answer(args(Format::Table, None)).unwrap().text().contains("12.05"));
}

#[test]
fn people_read_headings_of_their_language_and_programs_the_same_names() {
    let books = Books { language: hutong_client::Language::Zh, ..BOOKS };
    let chinese = Sheet { books, ..sheet() };
    let bytes = chinese.csv().unwrap();
    let text = bytes.strip_prefix(BOM).expect("a byte order mark");
    let header = csv::Reader::from_reader(text).headers().unwrap().clone();
    assert_eq!(
        header.iter().collect::<Vec<_>>(),
        ["门店", "customers", "credit", "owed", "时间", "周", "币种"]
    );
    let bytes = chinese.with_currency().xlsx().unwrap();
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(bytes)).unwrap();
    let range = book.worksheet_range("shops").unwrap();
    assert_eq!(range.get((0, 4)), Some(&Data::String("时间 (UTC+08:00)".into())));
    assert!(chinese.text().contains("门店"));
    assert_eq!(chinese.json(), sheet().json());
    let parquet = |sheet: &Sheet| sheet.with_currency().parquet().unwrap();
    assert_eq!(parquet(&chinese), parquet(&sheet()));
}
