"""Queries as text: canonical, as answers name groups and series, and as a user might write them."""
from .values import canonical

OPERATORS = {"=": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "=~": 3, "!~": 3, "&&": 2, "||": 2,
             "+": 4, "-": 4, "*": 6, "/": 6, "%": 6, "^": 7}
ALIASES = {
    "duration": "span:duration", "name": "span:name", "status": "span:status", "statusMessage": "span:statusMessage", "kind": "span:kind",
    "traceDuration": "trace:duration", "rootName": "trace:rootName", "rootServiceName": "trace:rootService",
}
BARE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-+*/%:;[]'$@#?")


def name_text(name):
    if name and set(name) <= BARE and not name[0].isdigit():
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def operand_text(e):
    return e[1] if e[0] == "field" else f"{e[1]}.{name_text(e[2])}"


def expression(e):
    """Canonical text."""
    def part(p):
        if node == "binary" and e[1] in ("=", "!=") and ("field", "trace:id") in e and p[0] == "value":
            p = ("value", ("string", p[1][1].lstrip("0")))
        return expression(p) if p[0] in ("value", "attribute", "field") else f"({expression(p)})"

    node = e[0]
    if node == "value":
        return canonical(e[1])
    if node in ("attribute", "field"):
        return operand_text(e)
    if node in ("not", "minus"):
        return ("!" if node == "not" else "-") + part(e[1])
    if node == "nil":
        return f"{part(e[2])} {e[1]} nil"
    left = part(e[2])
    if left.startswith("-") and OPERATORS[e[1]] > 5:
        left = f"({left})"  # a minus would take the whole product
    return f"{left} {e[1]} {part(e[3])}"


def aggregate(e):
    """Canonical text of an aggregate: ("count",) or (function, expression)."""
    return "count()" if e[0] == "count" else f"{e[0]}({expression(e[1])})"


# --- as written -----------------------------------------------------------------------------------------------------------


def literal(value, dice):
    kind, what = value
    if kind == "string":
        if "`" not in what and dice.random() < 0.3:
            return f"`{what}`"
        escaped = what.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return f'"{escaped}"'
    if kind == "duration":
        sign, nanos = ("-" if what < 0 else ""), abs(what)
        for unit, size in dice.sample([("s", 10**9), ("ms", 10**6), ("us", 10**3)], 3):
            if nanos % size == 0:
                return f"{sign}{nanos // size}{unit}"
        return f"{sign}{nanos}ns"
    return repr(what) if kind == "float" else canonical(value)


def written(e, dice, around=0):
    """Text that parses to the expression, with parentheses where they are needed and sometimes where not."""
    node = e[0]
    if node == "value":
        text = literal(e[1], dice)
        level = 4 if text.startswith("-") else 9
    elif node in ("attribute", "field"):
        text, level = operand_text(e), 9
        if node == "field" and e[1] in ALIASES and dice.random() < 0.3:
            text = ALIASES[e[1]]
    elif node == "not":
        text, level = "!" + written(e[1], dice, 6), 5
    elif node == "minus":
        text, level = "-" + written(e[1], dice, 5), 4
    elif node == "nil":
        inner = written(e[2], dice, 9)
        text, level = (f"{inner} {e[1]} nil", 3) if dice.random() < 0.8 else (f"nil {e[1]} {inner}", 3)
    else:
        level = OPERATORS[e[1]]
        left, right = (level + 1, level) if e[1] == "^" else (level, level + 1)
        gap = "" if dice.random() < 0.1 and e[1] in ("=", "!=", "<", ">") and e[3][0] == "value" and not ends_open(e[2]) else " "
        text = f"{written(e[2], dice, left)}{gap}{e[1]}{gap}{written(e[3], dice, right)}"
    if level < around or (level < 9 and dice.random() < 0.1):
        return f"({text})"
    return text


def ends_open(e):
    """Whether text after it without a blank would be read as one more character of it."""
    return e[0] in ("value", "not", "minus")
