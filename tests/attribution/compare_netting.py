"""Compares `hutong netting run` with the optimum of the linear program, found by SciPy's HiGHS.

usage: compare_netting.py HUTONG

The program: take x of each debt, 0 <= x <= debt, and draw y on each credit line, 0 <= y <= limit, so that no net position
changes, and the sum of all x less the sum of all y is the largest. Of all such programs, a second one finds the least that
is drawn. Half of the graphs have no lines.
"""

import csv
import io
import random
import sys
import tempfile
import time
from collections import defaultdict

import numpy
from scipy.optimize import linprog
from scipy.sparse import coo_array

from command import run

# Shops, debts, and the largest amount.
SIZES = [
    (3, 4, 10), (5, 12, 100), (13, 78, 5_000_000), (20, 100, 1_000), (50, 200, 1), (100, 1_000, 1_000_000),
    (200, 6_000, 100), (500, 1_000, 1_000_000), (500, 5_000, 1_000_000), (500, 20_000, 1_000_000),
]
SEEDS = (1, 2, 3)


def uniform(shops, random):
    return random.sample(range(shops), 2)


def hubs(shops, random):
    """A few shops have most of the debts."""
    debtor = int(shops * random.random() ** 3)
    creditor = int(shops * random.random() ** 2)
    return (debtor, creditor) if debtor != creditor else uniform(shops, random)


def lane(shops, random):
    """Shops owe their neighbours: circles are long."""
    debtor = random.randrange(shops)
    return debtor, (debtor + random.choice((1, 1, 1, 2, shops - 1))) % shops


def debts(pick, shops, count, largest, seed):
    chance = random.Random(f"{pick.__name__} {shops} {count} {seed}")
    return [(*(f"shop-{shop:03}" for shop in pick(shops, chance)), chance.randint(1, largest)) for _ in range(count)]


def lines(shops, count, largest, seed):
    """Debtor, creditor and limit; at most one of a pair."""
    chance = random.Random(f"lines {shops} {count} {seed}")
    pairs = {tuple(f"shop-{shop:03}" for shop in chance.sample(range(shops), 2)) for _ in range(count)}
    return [(*pair, chance.randint(1, largest)) for pair in sorted(pairs)]


def solve(costs, **constraints):
    began = time.perf_counter()
    found = linprog(costs, method="highs", **constraints)
    if found.status != 0:
        raise SystemExit(f"HiGHS: {found.message}")
    return found.fun, time.perf_counter() - began


def optimum(debts, lines):
    """The largest sum that cancels less what is drawn, the least drawn for it, and the seconds of the first."""
    edges = debts + lines
    index = {shop: at for at, shop in enumerate(sorted({shop for edge in edges for shop in edge[:2]}))}
    count = len(edges)
    rows = [index[edge[0]] for edge in edges] + [index[edge[1]] for edge in edges]
    columns = [*range(count), *range(count)]
    worth = numpy.array([1.0] * len(debts) + [-1.0] * len(lines))
    balance = coo_array((numpy.concatenate((worth, -worth)), (rows, columns)), shape=(len(index), count)).tocsr()
    bounds = numpy.array([(0, edge[2]) for edge in edges], dtype=float)
    circulation = {"A_eq": balance, "b_eq": numpy.zeros(len(index)), "bounds": bounds}
    gain, seconds = solve(-worth, **circulation)
    if not lines:
        return -gain, 0, seconds
    # A little less than the optimum, which is a whole number: floats may just miss it.
    bound = [round(gain) + 1e-4]
    drawn, _ = solve((worth < 0).astype(float), A_ub=-worth.reshape(1, -1), b_ub=bound, **circulation)
    return -gain, drawn, seconds


def positions(debts):
    positions = defaultdict(int)
    for debtor, creditor, amount in debts:
        positions[debtor] -= amount
        positions[creditor] += amount
    return {shop: position for shop, position in positions.items() if position}


def by_pair(debts):
    pairs = defaultdict(int)
    for debtor, creditor, amount in debts:
        pairs[debtor, creditor] += amount
    return pairs


def listed(debts):
    return [(debt["debtor"], debt["creditor"], debt["amount"]) for debt in debts]


def faults(debts, lines, netting, best, least):
    left, new = listed(netting["obligations"]), listed(netting.get("new_debts", []))
    owed, limits, drawn = by_pair(debts), by_pair(lines), netting.get("drawn", 0)
    if abs(netting["cleared"] - drawn - best) > 0.5:
        yield f"cleared {netting['cleared']} and drew {drawn}, and {best} is possible"
    if abs(drawn - least) > 0.5:
        yield f"drew {drawn}, and {least} is enough"
    if drawn != sum(debt[2] for debt in new) or any(amount > limits[pair] for pair, amount in by_pair(new).items()):
        yield "a line is passed"
    if netting["total"] != sum(debt[2] for debt in debts) or netting["remainder"] != sum(debt[2] for debt in left):
        yield "sums of other debts"
    if netting["total"] != netting["cleared"] + netting["remainder"]:
        yield "total is not cleared and remainder"
    if positions(debts) != positions(left + new):
        yield "a net position changed"
    if any(type(amount) is not int or amount < 1 for *_, amount in left + new):
        yield "an amount is no integer above zero"
    if any(amount > owed[pair] for pair, amount in by_pair(left).items()):
        yield "an obligation is more than was owed"


def table(heading, rows):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heading)
    writer.writerows(rows)
    return text.getvalue()


def compare(hutong, pick, size, seed, with_lines):
    shops, count, largest = size
    owed = debts(pick, shops, count, largest, seed)
    taken_on = lines(shops, max(1, count // 10), largest, seed) if with_lines else []
    best, least, their_seconds = optimum(owed, taken_on)
    owed_csv = table(["debtor", "creditor", "amount"], owed)
    with tempfile.TemporaryDirectory() as folder:
        options, result = [], f"{folder}/result.json"
        if with_lines:
            options = ["--lines", f"{folder}/lines.csv"]
            with open(options[1], "w") as file:
                file.write(table(["creditor", "debtor", "limit"], [(line[1], line[0], line[2]) for line in taken_on]))
        printed, netting, our_seconds = run(hutong, "netting", "run", "--input", "-", *options, stdin=owed_csv)
        with open(result, "w") as file:
            file.write(printed)
        verified = run(hutong, "netting", "verify", "--input", "-", *options, "--result", result, stdin=owed_csv)
    found = list(faults(owed, taken_on, netting, best, least))
    if not verified[1]["verified"]:
        found.append("not verified")
    share = netting["cleared"] / netting["total"]
    print(f"{pick.__name__:8} {shops:5} {count:6} {len(taken_on):5} {seed:4} {share:8.1%} {netting.get('drawn', 0):12} "
          f"{our_seconds:9.3f} {their_seconds:9.3f}  {'; '.join(found) or 'equal'}")
    return found


def main(hutong):
    print("debts of shops  debts lines seed  cleared        drawn hutong, s  HiGHS, s")
    found = [compare(hutong, pick, size, seed, with_lines)
             for size in SIZES for pick in (uniform, hubs, lane) for seed in SEEDS for with_lines in (False, True)]
    if any(found):
        raise SystemExit("netting differs from the optimum")
    print(f"netting equals the optimum in {len(found)} graphs")


main(*sys.argv[1:])
