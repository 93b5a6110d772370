"""Random queries that are valid: as the evaluator's tuples, and as text."""
import math

from . import text
from .data import FLOATS, INTS, KEYS, KINDS, MILLISECOND, NAMES, SECOND, STRINGS
from .evaluate import operands, parts, scope_of
from .model import typed

SCOPES = ["", "", "span", "span", "span", "resource", "resource", "event", "link", "instrumentation", "parent", "parent.span", "parent.resource"]
STRING_FIELDS = ["name", "statusMessage", "rootName", "rootServiceName", "event:name", "instrumentation:name", "instrumentation:version"]
NUMBER_FIELDS = ["duration", "traceDuration", "event:timeSinceStart", "span:childCount", "nestedSetParent"]
DURATIONS = [0, 1, 1000, MILLISECOND, 5 * MILLISECOND, 100 * MILLISECOND, SECOND, 3 * SECOND, 1500 * MILLISECOND, -SECOND]
PATTERNS = ["", ".*", "GET.*", "a|b", "[a-z]+", "(?i)get.*", "work|leaf", ".", "x.y", ".+", "[0-9]+", "a?b?", "nil"]
CALCULATED, COMPARED = ["+", "-", "*", "/", "%", "^"], ["=", "!=", "<", "<=", ">", ">="]
STRUCTURAL = [before + op for op in (">", "<", ">>", "<<", "~") for before in ("", "", "!", "&")]


def plain(e):
    """Whether it may stand in `by` and aggregates: it is about spans alone, and its text has no constants to calculate."""
    if e[0] not in ("value", "attribute", "field") and not all(operands(part) or part[0] == "value" for part in parts(e)):
        return False
    return bool(operands(e)) and not any(scope_of(one) for one in operands(e)) and all(plain(part) for part in parts(e) if part[0] != "value")


class Queries:
    def __init__(self, dice, traces):
        self.dice, self.traces = dice, traces

    # --- operands ---------------------------------------------------------------------------------------------------------

    def attribute(self):
        key = self.dice.choice(KEYS)
        if self.dice.random() < 0.1:
            key = self.dice.choice(["service.name", "missing"])
        return ("attribute", self.dice.choice(SCOPES), key)

    def number_literal(self):
        pick = self.dice.random()
        if pick < 0.5:
            return ("value", ("int", self.dice.choice([one for one in INTS if one != -(2**63)])))
        if pick < 0.8:
            return ("value", ("float", self.dice.choice([one for one in FLOATS if math.isfinite(one)])))
        return ("value", ("duration", self.dice.choice(DURATIONS)))

    def string_literal(self):
        return ("value", ("string", self.dice.choice(STRINGS + NAMES + ["shop", "cart", "log", "lib"])))

    def number(self, depth):
        pick = self.dice.random()
        if depth and pick < 0.45:
            left, right = self.number(depth - 1), self.number(depth - 1)
            if not operands(left) and not operands(right) and self.dice.random() < 0.7:
                left = self.attribute()
            return ("binary", self.dice.choice(CALCULATED), left, right)
        if depth and pick < 0.52:
            inner = self.number(depth - 1)
            return ("minus", inner if operands(inner) else self.attribute())
        if pick < 0.62:
            return self.number_literal()
        if pick < 0.75:
            return ("field", self.dice.choice(NUMBER_FIELDS[:4]))
        return self.attribute()

    # --- conditions ---------------------------------------------------------------------------------------------------------

    def condition(self, depth):
        pick = self.dice.random()
        if depth and pick < 0.5:
            return ("binary", self.dice.choice(["&&", "||"]), self.condition(depth - 1), self.condition(depth - 1))
        if depth and pick < 0.6:
            return ("not", self.condition(depth - 1))
        return self.leaf()

    def leaf(self):
        kinds = [self.with_literal] * 4 + [self.seen] * 6 + [self.pattern] * 2 + [self.nil] * 2 + [self.two_attributes, self.calculated, self.enum, self.enum, self.bare,
                                                                             self.id, self.place, self.truth, self.field_string, self.field_string]
        return self.dice.choice(kinds)()

    def sides(self, op, left, right, swap=0.15):
        if self.dice.random() < swap:
            left, right = right, left
        return ("binary", op, left, right)

    def seen(self):
        """A comparison with a value that some span has."""
        span = self.dice.choice(self.dice.choice(self.traces).spans)
        scoped = [("span", span.attributes), ("", span.attributes), ("resource", span.resource), ("", span.resource), ("instrumentation", span.scope[2])]
        scoped += [("event", event[2]) for event in span.events] + [("link", link[2]) for link in span.links]
        known = [(("attribute", scope, key), typed(value)) for scope, pairs in scoped for key, value in pairs]
        known = [(operand, value) for operand, value in known if value and value[1] not in ([], -(2**63), math.inf, -math.inf) and (
            not value[0].endswith("[]") or math.inf not in value[1])]
        if not known:
            return self.with_literal()
        operand, value = self.dice.choice(known)
        if value[0].endswith("[]"):
            value = (value[0][:-2], self.dice.choice(value[1]))
        op = self.dice.choice(["=", "=", "!="] + (COMPARED if value[0] != "boolean" else []))
        return self.sides(op, operand, ("value", value))

    def with_literal(self):
        pick = self.dice.random()
        if pick < 0.25:
            return self.sides(self.dice.choice(COMPARED), self.attribute(), self.string_literal())
        if pick < 0.35:
            literal = ("value", ("boolean", self.dice.random() < 0.5))
            return self.sides(self.dice.choice(["=", "!="]), self.attribute(), literal)
        left = ("field", self.dice.choice(NUMBER_FIELDS[:4])) if pick < 0.6 else self.attribute()
        return self.sides(self.dice.choice(COMPARED), left, self.number_literal())

    def field_string(self):
        return self.sides(self.dice.choice(COMPARED), ("field", self.dice.choice(STRING_FIELDS)), self.string_literal())

    def pattern(self):
        left = self.attribute() if self.dice.random() < 0.6 else ("field", self.dice.choice(STRING_FIELDS))
        right = ("value", ("string", self.dice.choice(PATTERNS)))
        if self.dice.random() < 0.05:
            right = self.attribute()
        return ("binary", self.dice.choice(["=~", "!~"]), left, right)

    def nil(self):
        op = self.dice.choice(["=", "!="])
        pick = self.dice.random()
        if pick < 0.1:
            return ("nil", op, ("field", "parent"))
        if pick < 0.2:
            return ("nil", op, ("binary", self.dice.choice(CALCULATED), self.attribute(), self.number_literal()))
        operand = self.attribute()
        return ("nil", op, operand if operand[1:] != ("resource", "service.name") else ("attribute", "span", "a"))

    def two_attributes(self):
        if self.dice.random() < 0.2:
            fields = self.dice.choice([("name", "rootName"), ("duration", "traceDuration"), ("span:id", "span:parentID")])
            return self.sides(self.dice.choice(["=", "!=", "<"]), *(("field", name) for name in fields))
        return ("binary", self.dice.choice(COMPARED), self.attribute(), self.attribute())

    def calculated(self):
        left, right = self.number(2), self.number(1)
        if not operands(left) and not operands(right) and self.dice.random() < 0.8:
            left = self.attribute()
        return ("binary", self.dice.choice(COMPARED), left, right)

    def enum(self):
        field, names = self.dice.choice([("status", ["ok", "error", "unset"]), ("kind", KINDS)])
        return self.sides(self.dice.choice(["=", "!="]), ("field", field), ("value", (field, self.dice.choice(names))))

    def bare(self):
        return self.attribute()

    def truth(self):
        if self.dice.random() < 0.6:
            return ("value", ("boolean", self.dice.random() < 0.8))
        return self.sides(self.dice.choice(["=", "!="]), self.enum(), self.enum())

    def id(self):
        trace = self.dice.choice(self.traces)
        span = self.dice.choice(trace.spans)
        field, what = self.dice.choice([("trace:id", trace.id), ("trace:id", trace.id.lstrip("0")), ("span:id", span.id), ("span:id", span.id.lstrip("0").upper()),
                                        ("span:parentID", span.parent), ("link:traceID", "ab"), ("link:spanID", "00000000000000ab"), ("link:spanID", "AB")])
        return self.sides(self.dice.choice(["=", "=", "!="]), ("field", field), ("value", ("string", what)))

    def place(self):
        op, number = self.dice.choice([("=", -1), ("<", 0), ("=", 0), (">", 0), (">=", 0), ("!=", -1), ("!=", 0), ("<=", 0), (">", -1)])
        if number == 0 and self.dice.random() < 0.3:
            return ("binary", self.dice.choice(["=", ">", "!="]), ("field", self.dice.choice(["nestedSetLeft", "nestedSetRight"])), ("value", ("int", 0)))
        return ("binary", op, ("field", "nestedSetParent"), ("value", ("int", number)))

    # --- stages ---------------------------------------------------------------------------------------------------------------

    def filter(self, depth=2):
        if self.dice.random() < 0.12:
            return ("filter", ("value", ("boolean", True)))
        return ("filter", self.condition(self.dice.randint(0, depth)))

    def spanset(self, depth):
        if depth and self.dice.random() < 0.5:
            op = self.dice.choice(["&&", "||"]) if self.dice.random() < 0.35 else self.dice.choice(STRUCTURAL)
            return ("operator", op, self.spanset(depth - 1), self.spanset(depth - 1))
        return self.filter(1 if depth else 2)

    def lone(self):
        """An operand for `by`, `select` and metrics."""
        if self.dice.random() < 0.6:
            return self.attribute()
        return ("field", self.dice.choice(STRING_FIELDS + NUMBER_FIELDS[:4] + ["status", "kind", "status", "kind", "span:id", "span:parentID", "trace:id"]))

    def group(self):
        pick = self.dice.random()
        if pick < 0.7:
            return self.lone()
        e = self.condition(1) if pick < 0.9 else self.number(1)
        # What an expression is worth on several events is told for filters only.
        return e if plain(e) else self.lone()

    def aggregate(self):
        name = self.dice.choice(["count", "count", "sum", "avg", "min", "max"])
        if name == "count":
            return ("count",)
        e = self.number(1) if self.dice.random() < 0.3 else self.dice.choice([self.attribute(), ("field", "duration"), ("field", "traceDuration")])
        return (name, e) if plain(e) else (name, ("field", "duration"))

    def scalar(self):
        left, right = self.aggregate(), ("value", self.dice.choice([("int", self.dice.randrange(6)), ("float", 1.5), ("duration", 100 * MILLISECOND)]))
        if self.dice.random() < 0.15:
            left = ("arithmetic", self.dice.choice(["+", "-", "*"]), left, self.dice.choice([self.aggregate(), ("value", ("int", 2))]))
        if self.dice.random() < 0.1:
            right = self.aggregate()
        return ("scalar", self.dice.choice(COMPARED), left, right)

    def stage(self):
        pick = self.dice.random()
        if pick < 0.3:
            return ("by", self.group())
        if pick < 0.5:
            return self.scalar()
        if pick < 0.65:
            return ("select", [self.lone() for _ in range(self.dice.randint(1, 3))])
        if pick < 0.75:
            return ("coalesce",)
        return self.spanset(self.dice.choice([0, 0, 1]))

    def stages(self, most=3):
        first = self.spanset(self.dice.choice([0, 0, 0, 1, 2])) if self.dice.random() < 0.9 else self.dice.choice([("by", self.group()), self.scalar()])
        return [first] + [self.stage() for _ in range(self.dice.choice([0] * 3 + list(range(most + 1))))]

    def pipelines(self):
        """Stages, sometimes of pipelines that are related."""
        if self.dice.random() < 0.95:
            return self.stages()
        sides = [("pipeline", [*self.stages(1), self.scalar()] if self.dice.random() < 0.5 else self.stages(2)) for _ in range(2)]
        return [("operator", self.dice.choice(["&&", "||", *STRUCTURAL]), *sides)]

    # --- metrics --------------------------------------------------------------------------------------------------------------

    def metrics(self, second=True):
        function = self.dice.choice(["rate", "count_over_time", "count_over_time", "min_over_time", "max_over_time", "sum_over_time", "avg_over_time",
                                     "quantile_over_time", "histogram_over_time", "compare"])
        query = {"stages": self.stages(2), "function": function, "by": [], "second": []}
        if function == "compare":
            if not second:
                return self.metrics(second)
            instants = sorted(self.dice.choice(self.dice.choice(self.traces).spans).start for _ in range(2))
            window = instants if self.dice.random() < 0.3 and instants[0] < instants[1] else None
            return {**query, "selection": self.condition(1), "top": self.dice.choice([1, 2, 10, 1000]), "window": window}
        if self.dice.random() < 0.6:
            query["by"] = [self.lone() for _ in range(self.dice.choice([1, 1, 2, 3]))]
        if function.endswith("over_time") and function != "count_over_time":
            query["operand"] = self.dice.choice([("field", "duration"), ("field", "duration"), self.lone(), ("attribute", "span", "a"), ("attribute", "", "n"), ("field", "traceDuration")])
        if function == "quantile_over_time":
            query["quantiles"] = self.dice.sample([0.0, 0.5, 0.9, 0.25, 1.0, 0.99], self.dice.choice([1, 1, 2, 3]))
        if second:
            query["second"] = self.second_stages()
        return query

    def second_stages(self):
        out = []
        while self.dice.random() < 0.25:
            if self.dice.random() < 0.5:
                out.append((self.dice.choice(["topk", "bottomk"]), self.dice.choice([1, 2, 3, 10])))
            else:
                threshold = self.dice.choice([("int", 0), ("int", 1), ("float", 0.05), ("duration", 100 * MILLISECOND), ("int", -1)])
                out.append(("compare", self.dice.choice(COMPARED), threshold))
        return out

    def series(self):
        """A metrics query, or arithmetic between several."""
        if self.dice.random() < 0.85:
            return self.metrics()
        return {"of": self.sum(self.dice.choice([1, 1, 2])), "second": self.second_stages()}

    def sum(self, depth):
        left = self.metrics(False) if depth == 1 or self.dice.random() < 0.5 else self.sum(depth - 1)
        right = self.metrics(False)
        if isinstance(left, dict) and self.dice.random() < 0.5:
            right["by"] = left["by"][:4]
        if self.dice.random() < 0.25:
            right = ("number", self.dice.choice([0, 2, 0.5, 100]))
        sides = [left, right] if self.dice.random() < 0.8 else [right, left]
        return ("arithmetic", self.dice.choice("+-*/"), *sides)


# --- as text --------------------------------------------------------------------------------------------------------------------


def stages_text(stages, dice):
    return " | ".join(stage_text(stage, dice) for stage in stages)


def stage_text(stage, dice):
    name = stage[0]
    if name == "filter":
        return "{ }" if stage[1] == ("value", ("boolean", True)) and dice.random() < 0.7 else "{ " + text.written(stage[1], dice) + " }"
    if name == "by":
        return f"by({text.written(stage[1], dice)})"
    if name == "select":
        return "select(" + ", ".join(text.operand_text(one) for one in stage[1]) + ")"
    if name == "scalar":
        return f"{scalar_text(stage[2], dice)} {stage[1]} {scalar_text(stage[3], dice)}"
    if name == "coalesce":
        return "coalesce()"
    return spanset_text(stage, dice)


def spanset_text(stage, dice, around=0, right=False):
    if stage[0] == "pipeline":
        return f"({stages_text(stage[1], dice)})"
    if stage[0] == "filter":
        return stage_text(stage, dice)
    level = 2 if stage[1] in ("&&", "||") else 3
    made = f"{spanset_text(stage[2], dice, level)} {stage[1]} {spanset_text(stage[3], dice, level, True)}"
    return f"({made})" if level < around or (level == around and right) else made


def scalar_text(side, dice):
    if side[0] == "value":
        return text.literal(side[1], dice)
    if side[0] == "count":
        return "count()"
    if side[0] == "arithmetic":
        return f"{scalar_text(side[2], dice)} {side[1]} {scalar_text(side[3], dice)}"
    return f"{side[0]}({text.written(side[1], dice)})"


def query_text(query, dice):
    """Text of a metrics query."""
    if "of" in query:
        return sum_text(query["of"], dice) + seconds_text(query["second"], dice)
    name = query["function"]
    arguments = [text.operand_text(query["operand"])] if query.get("operand") else []
    arguments += [f"{q:g}" for q in query.get("quantiles", [])]
    if name == "compare":
        arguments = ["{ " + text.written(query["selection"], dice) + " }"] + ([str(query["top"])] if query["top"] != 10 or query["window"] else [])
        arguments += [str(instant) for instant in query["window"] or []]
    by = " by (" + ", ".join(text.operand_text(one) for one in query["by"]) + ")" if query["by"] else ""
    return f"{stages_text(query['stages'], dice)} | {name}({', '.join(arguments)}){by}" + seconds_text(query["second"], dice)


def seconds_text(stages, dice):
    return "".join(f" {stage[1]} {text.literal(stage[2], dice)}" if stage[0] == "compare" else f" | {stage[0]}({stage[1]})" for stage in stages)


def sum_text(side, dice):
    if isinstance(side, dict):
        return f"({query_text(side, dice)})"
    if side[0] == "number":
        return str(side[1])
    sides = [sum_text(one, dice) if isinstance(one, dict) or one[0] == "number" else f"({sum_text(one, dice)})" for one in side[2:]]
    return f"{sides[0]} {side[1]} {sides[1]}"
