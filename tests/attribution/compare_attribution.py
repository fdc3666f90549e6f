"""Compares `hutong attribution run` with other implementations, on 10,000 public paths over 12 channels.

usage: compare_attribution.py HUTONG PATHS.csv

- first, last, linear, 40/20/40, decay and Shapley: shapley-attribution. It takes one journey a conversion.
- Markov of order 1, with and without nulls: do-attribution with `redirect_to_null`, the removal that the literature means.
  It takes one row for each end of a path, weighted. Its higher orders begin with a full window and keep repeats, which is
  another chain; so orders 2 and 3 are solved here with dense linear algebra.
- The anchor values are those that were agreed on beforehand.
"""

import csv
import io
import math
import random
import sys
import warnings
from collections import defaultdict
from fractions import Fraction

import numpy
from do_attribution.markov import MarkovAttribution
from shapley_attribution import (
    FirstTouchAttribution,
    LastTouchAttribution,
    LinearAttribution,
    PositionBasedAttribution,
    SimplifiedShapleyAttribution,
    TimeDecayAttribution,
)

from command import run

TOLERANCE = 1e-6
ANCHORS = {
    "first": 6308,
    "last": 8447,
    "linear": 7574.7186,
    "position": 7444.8238,
    "shapley": 7627.9440,
    "markov": 5344.947682,
}
# The anchors are given to four decimals at least.
ANCHOR_TOLERANCE = 5e-5
CONVERSION_PROBABILITY = 0.223845135597
BY_HAND = "path,total_conversions,total_null\nC1 > C2 > C3,1,0\nC1,0,1\nC2 > C3,0,1\n"

failures = []


def check(name, holds, detail=""):
    print(f"{'ok ' if holds else 'BAD'} {name} {detail}")
    if not holds:
        failures.append(name)


def compare(name, ours, theirs):
    worst = max(abs(ours.get(shop, math.inf) - credit) for shop, credit in theirs.items())
    check(name, worst <= TOLERANCE and ours.keys() == theirs.keys(), f"largest difference {worst:.1e}")


def read(paths_csv):
    with open(paths_csv, newline="") as file:
        return [
            (tuple(row["path"].split(" > ")), int(row["total_conversions"]),
             row["total_conversion_value"], int(row["total_null"]))
            for row in csv.DictReader(file)
        ]


def written(paths):
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["path", "total_conversions", "total_conversion_value", "total_null"])
    writer.writerows((" > ".join(path), *rest) for path, *rest in paths)
    return out.getvalue()


def by_touch_models(journeys):
    """The other implementation of each model that looks at one path at a time."""
    models = {
        ("first",): FirstTouchAttribution(),
        ("last",): LastTouchAttribution(),
        ("linear",): LinearAttribution(),
        ("position",): PositionBasedAttribution(),
        ("shapley",): SimplifiedShapleyAttribution(),
        ("decay", "--half-life", "1"): TimeDecayAttribution(decay_rate=0.5),
        ("decay", "--half-life", "3"): TimeDecayAttribution(decay_rate=0.5 ** (1 / 3)),
    }
    for options, model in models.items():
        yield options, dict(model.fit(journeys).get_attribution())


def markov_elsewhere(paths, nulls):
    rows = [(" > ".join(path), converted, weight)
            for path, conversions, _, lost in paths
            for converted, weight in ((1, conversions), (0, lost if nulls else 0)) if weight]
    found = MarkovAttribution(order=1, removal_strategy="redirect_to_null").fit(*zip(*rows))
    conversions = sum(row[1] for row in paths)
    credits = {shop: share * conversions for shop, share in found["attribution"].items()}
    return credits, found["total_conversion_probability"]


def markov_densely(paths, order):
    """Removal effects by a dense solver, straight from the definition; touches of one channel in a row count as one."""
    ways = defaultdict(int)
    for path, conversions, _, lost in paths:
        path = [shop for at, shop in enumerate(path) if at == 0 or path[at - 1] != shop]
        states = ["start"] + [tuple(path[max(0, end - order):end]) for end in range(1, len(path) + 1)]
        for way in zip(states, states[1:]):
            ways[way] += conversions + lost
        ways[states[-1], "converted"] += conversions
        ways[states[-1], "lost"] += lost
    index = {state: at for at, state in enumerate(dict.fromkeys(state for state, _ in ways))}
    leaving = numpy.zeros(len(index))
    for (state, _), count in ways.items():
        leaving[index[state]] += count
    onward, converted = numpy.zeros((len(index), len(index))), numpy.zeros(len(index))
    for (state, to), count in ways.items():
        if to == "converted":
            converted[index[state]] = count / leaving[index[state]]
        elif to != "lost":
            onward[index[state], index[to]] = count / leaving[index[state]]

    def probability(without):
        kept = onward.copy()
        kept[:, [at for state, at in index.items() if state != "start" and without in state]] = 0
        return numpy.linalg.solve(numpy.eye(len(index)) - kept, converted)[index["start"]]

    base = probability(None)
    shops = {shop for path, *_ in paths for shop in path}
    effects = {shop: 1 - probability(shop) / base for shop in shops}
    conversions = sum(row[1] for row in paths)
    return {shop: effect / sum(effects.values()) * conversions for shop, effect in effects.items()}


def exact_linear_values(paths):
    values = defaultdict(Fraction)
    for path, _, value, _ in paths:
        for shop in path:
            values[shop] += Fraction(value) / len(path)
    return {shop: float(value) for shop, value in values.items()}


def check_against_packages(attribute, paths):
    conversions = sum(row[1] for row in paths)
    journeys = [list(path) for path, count, *_ in paths for _ in range(count)]
    for options, theirs in by_touch_models(journeys):
        _, ours, seconds = attribute(*options)
        compare(f"{' '.join(options)} ({seconds:.2f} s)", ours["credits"], theirs)
        check("  adds up", abs(sum(ours["credits"].values()) - conversions) <= TOLERANCE)
    _, linear, _ = attribute("linear")
    compare("linear, of value", linear["value_credits"], exact_linear_values(paths))
    for nulls, option in ((True, "--with-null"), (False, "--without-null")):
        theirs, probability = markov_elsewhere(paths, nulls)
        _, ours, seconds = attribute("markov", option)
        compare(f"markov {option} ({seconds:.2f} s)", ours["credits"], theirs)
        check("  P(conversion)", abs(ours["conversion_probability"] - probability) <= 1e-12)
    for order in (2, 3):
        _, ours, seconds = attribute("markov", "--order", str(order))
        compare(f"markov --order {order}, {ours['states']} states ({seconds:.2f} s)", ours["credits"],
                markov_densely(paths, order))
    for order in range(4, 9):
        _, ours, seconds = attribute("markov", "--order", str(order))
        check(f"markov --order {order}, {ours['states']} states ({seconds:.2f} s) adds up",
              abs(sum(ours["credits"].values()) - conversions) <= TOLERANCE)


def check_anchors(attribute):
    for model, anchor in ANCHORS.items():
        alpha = attribute(model)[1]["credits"]["alpha"]
        tolerance = TOLERANCE if model == "markov" else ANCHOR_TOLERANCE
        check(f"anchor {model}", abs(alpha - anchor) <= tolerance, f"alpha {alpha:.6f}")
    probability = attribute("markov")[1]["conversion_probability"]
    check("anchor P(conversion)", abs(probability - CONVERSION_PROBABILITY) <= 1e-12, f"{probability:.12f}")


def check_properties(hutong, paths):
    def attribute(model, *options, of):
        return run(hutong, "attribution", "run", "--model", *model, *options, "--input", "-", stdin=written(of))

    shuffled = paths[:]
    random.Random(1).shuffle(shuffled)
    for model in (["linear"], ["decay", "--half-life", "3"], ["shapley"], ["markov"], ["markov", "--order", "3"]):
        check(f"{' '.join(model)}: other order of rows, same bytes",
              attribute(model, of=paths)[0] == attribute(model, of=shuffled)[0])
    repeated = [(tuple(shop for shop in path for _ in range(3)), *rest) for path, *rest in paths]
    for order in ("1", "2"):
        once, thrice = (attribute(["markov"], "--order", order, of=of)[1]["credits"] for of in (paths, repeated))
        check(f"markov --order {order}: repeated touches change nothing", once == thrice)
    by_hand = run(hutong, "attribution", "run", "--model", "markov", "--input", "-", stdin=BY_HAND)[1]
    check("markov by hand", by_hand["credits"] == {"C1": 0.2, "C2": 0.4, "C3": 0.4}, str(by_hand["credits"]))


def main(hutong, paths_csv):
    warnings.simplefilter("ignore")
    paths = read(paths_csv)

    def attribute(model, *options):
        return run(hutong, "attribution", "run", "--model", model, *options, "--input", paths_csv)

    check_anchors(attribute)
    check_against_packages(attribute, paths)
    check_properties(hutong, paths)
    if failures:
        raise SystemExit(f"attribution differs: {', '.join(failures)}")
    print("attribution agrees with the other implementations")


main(*sys.argv[1:])
