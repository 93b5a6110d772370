"""What an expression of PromQL names, as far as it can be told without a parser of our own."""
import re

KEYWORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "by", "without", "on", "ignoring", "group_left", "group_right"}
# Label lists behind these are no metrics.
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
NAME = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?![\w:]|\s*\()")


def metric_names(expression):
    """Names of the metrics that an expression selects. It must be valid PromQL."""
    text = re.sub(r"#.*", "", re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', '""', expression))
    text = GROUPING.sub(" ", re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", text))
    # Durations behind `offset` begin with a digit, and so are no names.
    return {name for name in NAME.findall(text) if name.lower() not in KEYWORDS}
