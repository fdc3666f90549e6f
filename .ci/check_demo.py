"""Checks what the demo says of its run: the invariants of the design, as far as a report shows them."""

import json
import sys


def books_agree(report: dict) -> bool:
    """Both sides of every two shops hold the same book, and what it comes to is what netting left of the balance."""
    books, shops = report["books"], len(report["shops"])
    pairs = {frozenset((book["shop"], book["ally"])) for book in books}
    agree = all(
        book["lines_equal"] and book["digests_equal"] and book["sums_equal"] and book["state_digest"] for book in books
    )
    left = sum(abs(book["balance_cents"]) for book in books)
    cancelled = report["settlement"]["netted_by_records"]
    owed = report["settlement"]["left_cents" if cancelled else "gross_debt_cents"]
    return agree and len(pairs) == len(books) == shops * (shops - 1) // 2 and left == owed


def check(report: dict, days: int) -> list[str]:
    pairs = report["pairs"]
    nets = {shop["shop"]: shop["net_cents"] for shop in report["shops"]}
    owed = dict.fromkeys(nets, 0)
    for pair in pairs:
        owed[pair["shop"]] += pair["balance_cents"]
        owed[pair["ally"]] -= pair["balance_cents"]
    rules = {
        "all invariants that the demo itself checks hold": report["invariants_failed"] == [],
        "VOU-1: no voucher was used twice": report["double_redemptions"] == 0,
        "CON-1: both shops of a pair hold the same": report["pairs_agree"]
        and all(pair["digests_equal"] for pair in pairs),
        "CON-1: the books of all pairs are the same on both sides": books_agree(report),
        "CON-1: both shops of every pair signed the same statement": report["settlement"]["statements_agreed"]
        == report["settlement"]["pairs"]
        == len(report["books"]),
        "CON-2: all nodes ended with the same public state": report["state_digests_equal"],
        "MON-1: what one shop is owed, the other owes": owed == nets and sum(nets.values()) == 0,
        "VOU-2: no more vouchers were used or expired than handed out": report["vouchers_redeemed"]
        + report["vouchers_expired"]
        <= report["vouchers_issued"],
        "the shops' counts add up": report["vouchers_issued"]
        == sum(shop["vouchers_issued"] for shop in report["shops"])
        and report["vouchers_redeemed"] == sum(shop["vouchers_used"] for shop in report["shops"]),
        "something happened": report["days"] == days
        and report["visits"] > 0
        and 0 < report["vouchers_redeemed"] <= report["vouchers_issued"],
    }
    return [rule for rule, holds in rules.items() if not holds]


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    broken = check(report, int(sys.argv[2]))
    for rule in broken:
        print(f"broken: {rule}")
    for failed in report["invariants_failed"]:
        print(f"the demo says: {failed}")
    counts = f"{report['visits']} visits, {report['vouchers_issued']} vouchers, {report['vouchers_redeemed']} used"
    print(f"demo: {counts}, {len(broken)} rules broken")
    sys.exit(1 if broken else 0)


main()
