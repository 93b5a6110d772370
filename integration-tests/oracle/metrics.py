"""Metrics queries over all traces.

    {"stages": [...], "function": name, "operand": e or None, "quantiles": [...], "by": [operands], "second": [second stages]}
    {"function": "compare", "selection": e, "top": n, "window": (start, end) or None, ...}
    ("arithmetic", op, left, right), sides: a query, ("number", n) or arithmetic;  then {"of": arithmetic, "second": [...]}

A result maps labels, a tuple of (name, value), to {sample time in ns: value}. Times are those of `Grid`."""
import math

from . import pipeline, text
from .evaluate import first_value, matches
from .values import ORDER, canonical

SECOND = 10**9


class Ambiguous(Exception):
    """The rules leave the answer open."""


class Grid:
    """Sample times, and to which one a span belongs."""

    def __init__(self, start, end, step=None):
        """Nanoseconds. Without a step: instant, one interval that is not aligned."""
        if step is None:
            self.first, self.step, self.times = start, end - start, [end]
            return
        self.step = step
        self.first = start // step * step
        if self.first > step:
            self.first -= step
        last = -(-end // step) * step
        self.times = [self.first + step * i for i in range(1, (last - self.first) // step + 1)]

    def sample(self, at):
        """The sample that covers an instant; intervals are open at their left."""
        if at <= self.first or at > self.times[-1]:
            return None
        return self.times[(at - self.first - 1) // self.step]


def counted(traces, stages, grid):
    """(span, sample time) of every span that a query counts."""
    for trace in traces:
        seen = set()
        for spans, _ in pipeline.run(trace, stages):
            for span in spans:
                if id(span) not in seen and (at := grid.sample(span.start)) is not None:
                    seen.add(id(span))
                    yield span, at


def number(operand, span, in_seconds):
    """A number to aggregate, or None. Only `duration` is in seconds, but in buckets every duration."""
    value = first_value(span, operand)
    if value is None or value[0] not in ("int", "float", "duration"):
        return None
    if value[0] == "duration" and in_seconds:
        return value[1] / SECOND
    return float(value[1])


def by_labels(span, by, replaced=True):
    labels = []
    for operand in by:
        name, value = text.operand_text(operand), first_value(span, operand)
        if value is not None and name not in [known for known, _ in labels]:
            labels.append((name, label(value)))
    if not labels and by and replaced:
        labels = [(text.operand_text(by[0]), ("string", "nil"))]
    return tuple(labels)


def label(value):
    """A value as labels have it."""
    if value[0].endswith("[]"):
        return ("string", canonical(value))
    return ("string", canonical(value)) if value[0] in ("duration", "status", "kind") else value


def bucket(operand, span):
    """(upper bound on the labels' scale) or None."""
    value = first_value(span, operand)
    if value is None or value[0] not in ("int", "duration") or value[1] < 2:
        return None
    bound = 1 << (value[1] - 1).bit_length()
    return bound / SECOND if value[0] == "duration" else float(bound)


def quantile(q, buckets):
    """The spec's estimate over {upper bound: count}."""
    bounds = sorted(buckets)
    total = sum(buckets.values())
    if not total:
        return 0.0
    wanted, seen = max(math.ceil(q * total), 1), 0
    for index, bound in enumerate(bounds):
        count = buckets[bound]
        if seen + count > wanted:
            break
        seen += count
        if seen == wanted:
            return bound
    fraction = (wanted - seen) / count
    high = math.log2(bound)
    low = math.log2(bounds[index - 1]) if index else high - 1
    return 2 ** (low + (high - low) * fraction)


# --- first stage --------------------------------------------------------------------------------------------------------


def collect(found, key_and_value):
    """{labels: {time: [values]}}"""
    out = {}
    for span, at in found:
        for labels, value in key_and_value(span):
            out.setdefault(labels, {}).setdefault(at, []).append(value)
    return out


def first_stage(traces, query, grid):
    name, by, operand = query["function"], query["by"], query.get("operand")
    found = list(counted(traces, query["stages"], grid))
    unlabelled = () if by else (("__name__", ("string", name)),)
    if name in ("count_over_time", "rate"):
        grouped = collect(found, lambda span: [(by_labels(span, by) or unlabelled, 1)])
        if not by:
            grouped.setdefault(unlabelled, {})
        per = grid.step / SECOND if name == "rate" else 1
        return {labels: {at: len(points.get(at, [])) / per for at in grid.times} for labels, points in grouped.items()}
    if name == "histogram_over_time":
        grouped = collect(found, lambda span: [
            (by_labels(span, by, False) + (("__bucket", ("float", bound)),), 1) for bound in [bucket(operand, span)] if bound is not None])
        return {labels: {at: float(len(points.get(at, []))) for at in grid.times} for labels, points in grouped.items()}
    if name == "quantile_over_time":
        grouped = collect(found, lambda span: [(by_labels(span, by, False), bound) for bound in [bucket(operand, span)] if bound is not None])
        return {labels + (("p", ("float", q)),): {at: quantile(q, counts(points.get(at, []))) for at in grid.times}
                for labels, points in grouped.items() for q in query["quantiles"]}
    if name == "compare":
        return compare(found, query, grid)
    seconds = operand == ("field", "duration")
    grouped = collect(found, lambda span: [
        (by_labels(span, by) or unlabelled, value) for value in [number(operand, span, seconds)] if value is not None and not math.isnan(value)])
    reduce = {"min_over_time": min, "max_over_time": max, "sum_over_time": total, "avg_over_time": lambda all: total(all) / len(all)}[name]
    return {labels: {at: reduce(all) for at, all in points.items()} for labels, points in grouped.items()}


def total(numbers):
    if len(numbers) > 1 and max(map(abs, numbers)) > 2**53:
        raise Ambiguous  # small numbers beside very large ones: digits depend on the order
    return math.fsum(numbers)


def counts(bounds):
    return {bound: bounds.count(bound) for bound in set(bounds)}


COMPARED = ("name", "status", "statusMessage", "kind", "rootName", "rootServiceName", "instrumentation:name", "instrumentation:version")
OPTIONAL = ("statusMessage", "instrumentation:name", "instrumentation:version")


def compared(span):
    """(label name, value) of everything that compare() counts."""
    for name in COMPARED:
        value = first_value(span, ("field", name))
        if value[1] != "" or name not in OPTIONAL:
            yield name, value
    for scope, pairs in (("span", span.attributes), ("resource", span.resource), ("instrumentation", span.scope[2])):
        for key in dict.fromkeys(key for key, _ in pairs):
            operand = ("attribute", scope, key)
            value = first_value(span, operand)
            if value is not None:
                yield text.operand_text(operand), value


def compare(found, query, grid):
    values, totals = {}, {}
    for span, at in found:
        start, end = query.get("window") or (-1, math.inf)
        side = "selection" if start < span.start <= end and matches(span, query["selection"]) else "baseline"
        for name, value in compared(span):
            points = values.setdefault((side, name), {}).setdefault(label(value), {})
            points[at] = points.get(at, 0) + 1
            points = totals.setdefault((side, name), {})
            points[at] = points.get(at, 0) + 1
    out = {}
    for (side, name), counted_values in values.items():
        ranked = sorted(counted_values, key=lambda value: (-sum(counted_values[value].values()), str(value[1])))
        sums = [sum(counted_values[value].values()) for value in ranked]
        top = query["top"]
        if len(ranked) > top and sums[top - 1] == sums[top] and any(value[0] != "string" for value in ranked):
            raise Ambiguous
        for value in ranked[:top]:
            out[(("__meta_type", ("string", side)), (name, value))] = counted_values[value]
    for (side, name), points in totals.items():
        out[(("__meta_type", ("string", side + "_total")), (name, ("string", "nil")))] = points
    return {labels: {at: float(points.get(at, 0)) for at in grid.times} for labels, points in out.items()}


# --- second stages and arithmetic -----------------------------------------------------------------------------------------


def evaluate(traces, query, grid):
    series = arithmetic(traces, query["of"], grid) if "of" in query else first_stage(traces, query, grid)
    series = {labels: points for labels, points in series.items() if points}
    for stage in query["second"]:
        series = second_stage(series, stage, grid)
    return series


def second_stage(series, stage, grid):
    if stage[0] == "compare":
        threshold = stage[2][1] / SECOND if stage[2][0] == "duration" else float(stage[2][1])
        kept = {labels: {at: v for at, v in points.items() if ORDER[stage[1]](v, threshold)} for labels, points in series.items()}
    else:
        kept = {labels: {} for labels in series}
        for at in grid.times:
            for labels in strongest(series, at, *stage):
                kept[labels][at] = series[labels][at]
    return {labels: points for labels, points in kept.items() if points}


def strongest(series, at, which, limit):
    """Label sets with the largest or smallest values of one sample."""
    present = [labels for labels, points in series.items() if at in points]
    if len(present) <= limit:
        return present
    by_text = sorted(present, key=lambda labels: [(str(value[1]), name) for name, value in labels], reverse=which == "bottomk")
    ranked = sorted(by_text, key=lambda labels: series[labels][at], reverse=False) if which == "bottomk" else sorted(
        by_text, key=lambda labels: -series[labels][at])
    last, next_one = (series[ranked[limit - 1]][at], series[ranked[limit]][at])
    tied = [labels for labels in ranked if series[labels][at] == last]
    shapes = {tuple(name for name, _ in labels) for labels in tied}
    if math.isclose(last, next_one, rel_tol=1e-12) and (len(shapes) > 1 or any(value[0] != "string" for labels in tied for _, value in labels)):
        raise Ambiguous
    return ranked[:limit]


def arithmetic(traces, side, grid):
    """Series of one side of arithmetic between queries, or a number."""
    if isinstance(side, dict):
        return evaluate(traces, side, grid)
    if side[0] == "number":
        return side[1]
    _, op, left, right = side
    left, right = arithmetic(traces, left, grid), arithmetic(traces, right, grid)
    if not isinstance(left, dict):
        return with_points(right, lambda value: calculated(op, left, value))
    if not isinstance(right, dict):
        return with_points(left, lambda value: calculated(op, value, right))
    return joined(op, left, right, grid)


def calculated(op, left, right):
    if op == "/":
        return left / right if right else None
    return {"+": left + right, "-": left - right, "*": left * right}[op]


def with_points(series, function):
    return {labels: kept for labels, points in series.items()
            if (kept := {at: value for at in points if (value := function(points[at])) is not None})}


def without_name(labels):
    return tuple(sorted((name, value) for name, value in labels if name != "__name__"))


def joined(op, left, right, grid):
    names = [dict(labels).get("__name__") for side in (left, right) for labels in list(side)[:1]]
    left = {without_name(labels): points for labels, points in left.items()}
    right = {without_name(labels): points for labels, points in right.items()}
    out = {}
    for labels in left if () in right else right:
        a, b = left.get(labels, left.get(())), right.get(labels, right.get(()))
        if a is None or b is None:
            continue
        points = {at: value for at in grid.times if at in a and at in b and (value := calculated(op, a[at], b[at])) is not None}
        if len(names) == 2 and all(names) and not labels:
            labels = (("__name__", ("string", f"({names[0][1]} {op} {names[1][1]})")),)
        if points:
            out[labels] = points
    return out
