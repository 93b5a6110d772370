"""Pipelines on one trace: from all of its spans to spansets.

    ("filter", e)                           { e }
    ("operator", op, left, right)           spansets related; left and right are filters, operators or ("pipeline", stages)
    ("by", e)   ("coalesce",)   ("select", operands)
    ("scalar", op, left, right)             sides: ("count",), (function, e), ("value", VALUE) or ("arithmetic", op, left, right)
"""
from . import text, values
from .evaluate import COMPARISONS, assignments, evaluate, first_value, matches, operands, parts
from .evaluate import value as value_of
from .values import is_numeric, is_true


class SeveralSpansets(Exception):
    """An operand of an operator has more than one spanset; the query is an error."""


def run(trace, stages):
    """Spansets as (spans, attributes) of a pipeline; attributes: (name, value)."""
    return through(stages, trace.spans)


def through(stages, spans):
    spansets = [(spans, [])]
    for stage in stages:
        if stage[0] == "coalesce":
            joined = [span for one, _ in spansets for span in one]
            spansets = [(joined, [])] if joined else []
        else:
            spansets = [made for one in spansets for made in step(stage, *one)]
    return spansets


def step(stage, spans, attributes):
    """What becomes of one spanset; empty ones are dropped."""
    if stage[0] == "select":
        return [(spans, attributes)]
    if stage[0] == "by":
        return grouped(stage[1], spans, attributes)
    if stage[0] == "scalar":
        return scalar_filter(stage, spans, attributes)
    kept = spans_of(stage, spans)
    return [(kept, attributes)] if kept else []


def grouped(e, spans, attributes):
    groups = []
    for span in spans:
        value = values.of_group(value_of(span, e))
        for known, members in groups:
            if values.same(known, value):
                members.append(span)
                break
        else:
            groups.append((value, [span]))
    name = f"by({text.expression(e)})"
    return [(members, [*attributes, (name, value or ("string", "nil"))]) for value, members in groups]


# --- spanset operators ----------------------------------------------------------------------------------------------------


def spans_of(stage, spans):
    """The spans that a filter or an operator finds among these."""
    if stage[0] == "filter":
        return [span for span in spans if matches(span, stage[1])]
    if stage[0] == "pipeline":
        return [span for one, _ in through(stage[1], spans) for span in one]
    _, op, left, right = stage
    if op not in ("&&", "||") and any(len(through(side[1], spans)) > 1 for side in (left, right) if side[0] == "pipeline"):
        raise SeveralSpansets
    left, right = spans_of(left, spans), spans_of(right, spans)
    if op in ("&&", "||"):
        if op == "&&" and not (left and right):
            return []
        return [span for span in spans if span in left or span in right]
    related = RELATIONS[op.lstrip("!&")]
    pairs = [(a, b) for a in left for b in right if a.placed and b.placed and related(a, b)]
    first, second = {id(a) for a, _ in pairs}, {id(b) for _, b in pairs}
    if op.startswith("!"):
        return [span for span in right if id(span) not in second]
    if op.startswith("&"):
        return [span for span in spans if id(span) in first or id(span) in second]
    return [span for span in right if id(span) in second]


def is_above(a, b):
    while b.above is not None:
        b = b.above
        if b is a:
            return True
    return False


RELATIONS = {
    ">": lambda a, b: b.above is a,
    "<": lambda a, b: a.above is b,
    ">>": is_above,
    "<<": lambda a, b: is_above(b, a),
    "~": lambda a, b: a is not b and a.above is b.above,
}


# --- scalars --------------------------------------------------------------------------------------------------------------


def aggregate(e, spans):
    if e[0] == "count":
        return ("int", len(spans))
    found = [one for one in (value_of(span, e[1]) for span in spans) if is_numeric(one)]
    if not found:
        return None
    if e[0] in ("min", "max"):
        return (min if e[0] == "min" else max)(found, key=lambda one: one[1])
    kinds = {kind for kind, _ in found}
    kind = kinds.pop() if len(kinds) == 1 else "float"
    total = sum(number for _, number in found)
    if e[0] == "sum":
        return (kind, values.wrapped(total) if kind != "float" else float(total))
    if kind == "duration":
        quotient = abs(total) // len(found)
        return ("duration", quotient if total >= 0 else -quotient)
    return ("float", total / len(found))


def combined(op, left, right):
    """Arithmetic between scalars: durations combine as durations."""
    if left is None or right is None:
        return None
    kinds = (left[0], right[0])
    keeps = kinds == ("duration", "duration") and op in "+-" or "duration" in kinds and kinds != ("duration", "duration") and (
        op == "*" or op == "/" and kinds[0] == "duration")
    value = values.arithmetic(op, left, right)
    return ("duration", int(value[1])) if keeps and value is not None else value


def scalar(e, spans, computed):
    if e[0] == "value":
        return e[1]
    if e[0] == "arithmetic":
        return combined(e[1], scalar(e[2], spans, computed), scalar(e[3], spans, computed))
    value = aggregate(e, spans)
    name = text.aggregate(e)
    if value is not None and name not in [known for known, _ in computed]:
        computed.append((name, value))
    return value


def scalar_filter(stage, spans, attributes):
    _, op, left, right = stage
    computed = []
    left, right = scalar(left, spans, computed), scalar(right, spans, computed)
    if left is None or right is None or not values.compare(op, left, right):
        return []
    return [(spans, attributes + computed)]


# --- what a span shows ------------------------------------------------------------------------------------------------------

NEVER_SHOWN = {"name", "duration", "traceDuration", "rootName", "rootServiceName", "trace:id", "span:id", "parent"}


def expressions(stages):
    for stage in stages:
        if stage[0] in ("filter", "by"):
            yield stage[1]
        elif stage[0] == "operator":
            yield from expressions(stage[2:])
        elif stage[0] == "pipeline":
            yield from expressions(stage[1])
        elif stage[0] == "select":
            yield from stage[1]
        elif stage[0] == "scalar":
            for side in stage[2:]:
                yield from scalar_expressions(side)


def scalar_expressions(side):
    if side[0] == "arithmetic":
        yield from scalar_expressions(side[2])
        yield from scalar_expressions(side[3])
    elif side[0] not in ("count", "value"):
        yield side[1]


def is_with_constant(left, right):
    return any(one[0] in ("attribute", "field") and not operands(other) for one, other in ((left, right), (right, left)))


def references(e):
    """Each operand of an expression with the comparison with a literal that it stands in, or None."""
    if e[0] in ("attribute", "field"):
        yield e, None
    elif e[0] == "nil" and e[1] == "=" and e[2][0] in ("attribute", "field"):
        yield e[2], e
    elif e[0] == "binary" and e[1] in COMPARISONS and is_with_constant(*e[2:]):
        yield next(iter(operands(e))), e
    else:
        for part in parts(e):
            yield from references(part)


def matching_value(span, operand, comparisons):
    """A value for which one of the comparisons is true: of several events or links, that of the first; None if for none."""
    matching = (at for at in assignments(span, operand) if any(is_true(evaluate(at, one)) for one in comparisons))
    return next((at.operand(operand) for at in matching), None)


def shown(span, stages):
    """(operands that a span shows with their values, whether its name is filled)"""
    out, compared = {}, {}
    for e in expressions(stages):
        for operand, comparison in references(e):
            compared.setdefault(operand, []).append(comparison)
    for operand, comparisons in compared.items():
        value = first_value(span, operand) if None in comparisons else matching_value(span, operand, comparisons)
        if value is not None:
            out[operand] = value
    named = ("field", "name") in out
    return {operand: value for operand, value in out.items() if not (operand[0] == "field" and operand[1] in NEVER_SHOWN)}, named
