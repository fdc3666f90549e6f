"""Compares `hutong netting run` with the optimum of the linear program, found by SciPy's HiGHS.

usage: compare_netting.py HUTONG

The program: take x of each debt, 0 <= x <= debt, as much comes in as goes out at each shop, and the sum of all x is the largest.
"""

import csv
import io
import json
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


def optimum(debts):
    """The largest sum that cancels, and the seconds that it took to find."""
    index = {shop: at for at, shop in enumerate(sorted({shop for debt in debts for shop in debt[:2]}))}
    count = len(debts)
    rows = [index[debt[0]] for debt in debts] + [index[debt[1]] for debt in debts]
    columns = [*range(count), *range(count)]
    signs = [1.0] * count + [-1.0] * count
    balance = coo_array((signs, (rows, columns)), shape=(len(index), count)).tocsr()
    bounds = numpy.array([(0, debt[2]) for debt in debts], dtype=float)
    began = time.perf_counter()
    found = linprog(-numpy.ones(count), A_eq=balance, b_eq=numpy.zeros(len(index)), bounds=bounds, method="highs")
    seconds = time.perf_counter() - began
    if found.status != 0:
        raise SystemExit(f"HiGHS: {found.message}")
    return -found.fun, seconds


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


def faults(debts, netting, best):
    left = [(debt["debtor"], debt["creditor"], debt["amount"]) for debt in netting["obligations"]]
    owed = by_pair(debts)
    if abs(netting["cleared"] - best) > 0.5:
        yield f"cleared {netting['cleared']}, and {best} is possible"
    if netting["total"] != sum(debt[2] for debt in debts) or netting["remainder"] != sum(debt[2] for debt in left):
        yield "sums of other debts"
    if netting["total"] != netting["cleared"] + netting["remainder"]:
        yield "total is not cleared and remainder"
    if positions(debts) != positions(left):
        yield "a net position changed"
    if any(type(amount) is not int or amount < 1 for *_, amount in left):
        yield "an amount is no integer above zero"
    if any(amount > owed[pair] for pair, amount in by_pair(left).items()):
        yield "an obligation is more than was owed"


def compare(hutong, pick, size, seed):
    shops, count, largest = size
    owed = debts(pick, shops, count, largest, seed)
    best, their_seconds = optimum(owed)
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["debtor", "creditor", "amount"])
    writer.writerows(owed)
    printed, netting, our_seconds = run(hutong, "netting", "run", "--input", "-", stdin=table.getvalue())
    found = list(faults(owed, netting, best))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as result:
        result.write(json.dumps(netting))
        result.flush()
        verified = run(hutong, "netting", "verify", "--input", "-", "--result", result.name, stdin=table.getvalue())
    if not verified[1]["verified"]:
        found.append("not verified")
    share = netting["cleared"] / netting["total"]
    print(f"{pick.__name__:8} {shops:5} {count:6} {seed:4} {share:8.1%} {our_seconds:9.3f} {their_seconds:9.3f}  "
          f"{'; '.join(found) or 'equal'}")
    return found


def main(hutong):
    print("debts of shops  debts seed  cleared  hutong, s  HiGHS, s")
    found = [compare(hutong, pick, size, seed)
             for size in SIZES for pick in (uniform, hubs, lane) for seed in SEEDS]
    if any(found):
        raise SystemExit("netting differs from the optimum")
    print(f"netting equals the optimum in {len(found)} graphs")


main(*sys.argv[1:])
