"""Values of TraceQL as (type, value), and what operators do with them. None is nil."""
import decimal
import json
import math
import operator
import re

NUMERIC = ("int", "float", "duration")
TRUE = ("boolean", True)
ORDER = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
SWAPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def boolean(value):
    return ("boolean", bool(value))


def is_true(value):
    return value == TRUE


def is_numeric(value):
    return value is not None and value[0] in NUMERIC


def is_array(value):
    return value is not None and value[0].endswith("[]")


def same(left, right):
    """Whether two values are one group of `by`: of the same type, and equal."""
    return left == right or repr(left) == repr(right) == "('float', nan)"


def of_group(value):
    """An array of one is in the group of its element, -0 in that of 0."""
    if is_array(value) and len(value[1]) == 1:
        value = (value[0][:-2], value[1][0])
    return ("float", value[1] + 0.0) if value and value[0] == "float" else value


def fits(array, plain):
    kind = array[0][:-2]
    return kind == plain[0] or (kind in NUMERIC and plain[0] in NUMERIC)


def compare(op, left, right):
    """A comparison as a Python bool."""
    if left is None or right is None or (is_array(left) and is_array(right)):
        return False
    if is_array(left) and left[1] and not fits(left, right) or is_array(right) and right[1] and not fits(right, left):
        return False
    if is_array(right):
        if op in ("=~", "!~"):
            return False
        return compare(SWAPPED.get(op, op), right, left)
    if is_array(left):
        elements = [(left[0][:-2], one) for one in left[1]]
        if op in ("!=", "!~"):
            return not any(compare({"!=": "=", "!~": "=~"}[op], one, right) for one in elements)
        return any(compare(op, one, right) for one in elements)
    return compare_plain(op, left, right)


def compare_plain(op, left, right):
    if op in ("=~", "!~"):
        if left[0] != "string" or right[0] != "string":
            return False
        try:
            return (re.fullmatch(right[1], left[1], re.DOTALL) is not None) == (op == "=~")
        except re.error:
            return False
    if is_numeric(left) and is_numeric(right):
        if left[0] == right[0] == "int":
            return ORDER[op](left[1], right[1])
        return ORDER[op](float(left[1]), float(right[1]))
    if left[0] != right[0]:
        return False
    if left[0] == "string":
        return ORDER[op](left[1].encode(), right[1].encode())
    return op in ("=", "!=") and ORDER[op](left[1], right[1])


def wrapped(number):
    return (number + 2**63) % 2**64 - 2**63


def int_arithmetic(op, left, right):
    if op in ("/", "%"):
        if right == 0:
            return None
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return ("int", wrapped(quotient if op == "/" else left - right * quotient))
    if op == "^":
        if right >= 0 and (abs(left) < 2 or right < 64):
            power = left**right if right < 64 else left ** (64 + right % 2)
            if -(2**63) <= power < 2**63:
                return ("int", power)
        return float_arithmetic(op, float(left), float(right))
    return ("int", wrapped({"+": left + right, "-": left - right, "*": left * right}[op]))


def float_arithmetic(op, left, right):
    try:
        if op == "^":
            number = math.pow(left, right)
        elif op == "%":
            number = math.fmod(left, right)
        else:
            number = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[op](left, right)
    except ZeroDivisionError:
        number = math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
    except OverflowError:
        number = -math.inf if left < 0 and right % 2 == 1 else math.inf
    except ValueError:  # a negative number to a broken power, a remainder by zero, zero to a negative power
        number = math.inf if op == "^" and left == 0 else math.nan
    return ("float", number)


def arithmetic(op, left, right):
    if not is_numeric(left) or not is_numeric(right):
        return None
    if left[0] == right[0] == "int":
        return int_arithmetic(op, left[1], right[1])
    return float_arithmetic(op, float(left[1]), float(right[1]))


def negated(value):
    if not is_numeric(value):
        return None
    return (value[0], -value[1] if value[0] == "float" else wrapped(-value[1]))


# --- text ------------------------------------------------------------------------------------------------------------


def float_text(number):
    """Shortest digits that read back, with an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    sign = "-" if math.copysign(1, number) < 0 else ""
    if number == 0:
        return sign + "0.0"
    _, digits, exponent = decimal.Decimal(repr(number)).normalize().as_tuple()
    digits, power = "".join(map(str, digits)), len(digits) - 1 + exponent
    if -4 <= power < 6:
        plain = f"{abs(number):.{max(-exponent, 1)}f}"
        return sign + plain
    return f"{sign}{digits[0]}{'.' + digits[1:] if digits[1:] else ''}e{'-' if power < 0 else '+'}{abs(power):02d}"


def fraction_text(number, unit, digits):
    whole, rest = divmod(number, 10**digits)
    tail = f"{rest:0{digits}d}".rstrip("0") if digits else ""
    return f"{whole}.{tail}{unit}" if tail else f"{whole}{unit}"


def duration_text(nanos):
    sign, nanos = ("-" if nanos < 0 else ""), abs(nanos)
    if nanos == 0:
        return "0s"
    for limit, unit, digits in ((10**3, "ns", 0), (10**6, "µs", 3), (10**9, "ms", 6)):
        if nanos < limit:
            return sign + fraction_text(nanos, unit, digits)
    minutes, rest = divmod(nanos, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = fraction_text(rest, "s", 9)
    if hours or minutes:
        text = f"{minutes}m{text}"
    return sign + (f"{hours}h" if hours else "") + text


def canonical(value):
    """A constant as canonical text has it."""
    if value is None:
        return "nil"
    kind, what = value
    if kind.endswith("[]"):
        quoted = [json.dumps(one, ensure_ascii=False) if kind == "string[]" else canonical((kind[:-2], one)) for one in what]
        return "[" + ", ".join(quoted) + "]"
    if kind == "string":
        return f"`{what}`"
    if kind == "boolean":
        return "true" if what else "false"
    if kind == "float":
        return float_text(what)
    return duration_text(what) if kind == "duration" else str(what)
