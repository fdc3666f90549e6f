"""Reads what `hutong report` writes with other programs' readers, and compares every cell with the JSON of the same report.

usage: check_exports.py HUTONG

- CSV: Python's csv, after the byte order mark;
- workbooks: openpyxl;
- Parquet: pyarrow.

Headings of CSV and workbooks are in the caller's language; the names in JSON and Parquet are the same in both.
"""

import csv
import datetime
import io
import json
import re
import sys
import tempfile
from decimal import Decimal

import openpyxl
import pyarrow
import pyarrow.parquet

from street import FORMULA, trade

REPORTS = ("shops", "promotions", "channels", "hours", "reciprocity", "cohorts", "bookings", "attribution", "pairs")
# A column of numbers, whose name says that they are minor units; all others that end so are amounts.
NUMBERS = ("conversions", "value_minor")

failures = []


def check(what, holds, detail=""):
    if not holds:
        failures.append(what)
        print(f"BAD {what} {detail}")


def is_money(name):
    return name.endswith("_minor") and name not in NUMBERS


def heading(name):
    return name.removesuffix("_minor") if is_money(name) else name


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def is_time(name):
    return name == "time"


def is_day(name):
    return name == "week"


def check_headings(where, found, names, lang):
    check(f"{where}: as many headings as columns, each another", len(set(found)) == len(names) == len(found), found)
    if lang == "en":
        check(f"{where}: headings", [re.sub(r" \(UTC.*\)", "", one) for one in found] == [heading(n) for n in names], found)
    else:
        check(f"{where}: Chinese headings", all(re.search("[\u4e00-\u9fff]", one) for one in found), found)


def csv_cell(name, value):
    """A value of the JSON as it must stand in CSV."""
    if is_money(name):
        return str(Decimal(value).scaleb(-2).quantize(Decimal("0.01")))
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value if isinstance(value, str) else None


def check_csv(where, file, names, rows, lang):
    with open(file, "rb") as opened:
        content = opened.read()
    check(f"{where}: byte order mark", content.startswith(b"\xef\xbb\xbf"))
    found = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    check_headings(where, found[0], names, lang)
    check(f"{where}: rows", len(found) - 1 == len(rows), len(found))
    for cells, row in zip(found[1:], rows):
        for name, cell in zip(names, cells):
            wanted = csv_cell(name, row[name])
            equal = cell == wanted if wanted is not None else float(cell) == row[name]
            check(f"{where}: {name}", equal, f"{cell!r} and {row[name]!r}")


def check_xlsx(where, file, names, rows, lang, offset_minutes):
    page = openpyxl.load_workbook(file).active
    lines = list(page.iter_rows())
    check_headings(where, [cell.value for cell in lines[0]], names, lang)
    check(f"{where}: rows", len(lines) - 1 == len(rows), len(lines))
    for cells, row in zip(lines[1:], rows):
        for name, cell in zip(names, cells):
            value, found = row[name], cell.value
            if is_money(name):
                equal = round(Decimal(found) * 100) == value and cell.number_format == "0.00"
            elif is_time(name):
                local = moment(value) + datetime.timedelta(minutes=offset_minutes)
                equal = abs(found - local.replace(tzinfo=None)) < datetime.timedelta(milliseconds=2)
            elif is_day(name):
                equal = found.date() == datetime.date.fromisoformat(value)
            else:
                # An empty text is an empty cell; a text is never a formula.
                equal = (found or "") == value if isinstance(value, str) else found == value
                equal = equal and cell.data_type != "f"
            check(f"{where}: {name}", equal, f"{found!r} and {value!r}")


def parquet_type(name, value):
    if is_time(name):
        return pyarrow.timestamp("ms", tz="UTC")
    if is_day(name):
        return pyarrow.date32()
    if name in NUMBERS:
        return pyarrow.float64()
    return pyarrow.string() if isinstance(value, str) else pyarrow.int64()


def check_parquet(where, file, names, rows):
    table = pyarrow.parquet.read_table(file)
    check(f"{where}: columns", set(names) == set(rows[0]) and len(names) == len(rows[0]), names)
    check(f"{where}: rows", table.num_rows == len(rows), table.num_rows)
    for found, row in zip(table.to_pylist(), rows):
        for name in names:
            value = row[name]
            check(f"{where}: type of {name}", table.schema.field(name).type == parquet_type(name, value))
            if is_time(name):
                value = moment(value).replace(microsecond=moment(value).microsecond // 1_000 * 1_000)
            elif is_day(name):
                value = datetime.date.fromisoformat(value)
            check(f"{where}: {name}", found[name] == value, f"{found[name]!r} and {value!r}")


def check_report(shop, folder, report, lang, offset_minutes):
    rows = shop.ask("report", report, lang=lang)
    if report == "pairs":  # printed for people it says less than as a file
        file = f"{folder}/pairs.json"
        shop.ask("report", report, "--format", "json", "--output", file, lang=lang)
        with open(file) as opened:
            rows = json.load(opened)
    names = None
    for form in ("parquet", "csv", "xlsx"):
        file, where = f"{folder}/{report}-{lang}.{form}", f"{report} {lang} {form}"
        told = shop.ask("report", report, "--format", form, "--output", file, lang=lang)
        check(f"{where}: rows told", told["rows"] == len(rows))
        if form == "parquet":
            # An object in JSON has no order; a file's columns do.
            names = pyarrow.parquet.read_schema(file).names
            check_parquet(where, file, names, rows)
        elif form == "csv":
            check_csv(where, file, names, rows, lang)
        else:
            check_xlsx(where, file, names, rows, lang, offset_minutes)
    return rows


def main(hutong):
    with tempfile.TemporaryDirectory() as folder:
        shops, fruit, offset_minutes = trade(hutong, folder)
        try:
            told = {(report, lang): check_report(fruit, folder, report, lang, offset_minutes)
                    for report in REPORTS for lang in ("en", "zh")}
        finally:
            for shop in shops:
                shop.stop()
    for report in REPORTS:
        check(f"{report}: the same rows in both languages", told[report, "en"] == told[report, "zh"])
    titles = {row["promotion"] for row in told["bookings", "en"]}
    check("a title that looks like a formula is among them", titles == {FORMULA}, titles)
    rows = sum(len(rows) for (_, lang), rows in told.items() if lang == "en")
    check("there is something to compare", rows >= len(REPORTS), rows)
    if failures:
        raise SystemExit(f"{len(failures)} cells or headings differ")
    print(f"exports read back as written: {len(REPORTS)} reports, 2 languages, 3 formats, {rows} rows in each")


main(*sys.argv[1:])
