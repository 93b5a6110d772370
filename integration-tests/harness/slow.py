"""Queries that take as long as a test wants."""

CLASSES = ["[a-c]", "[d-f]", "[0-4]", "[5-9]"]


def slow_query(parts, found):
    """A query for what `found` says that has to look at each letter of the attribute `text`, hexadecimal digits, `parts` times:
    there is no literal to search for."""
    patterns = ("".join(CLASSES[n >> 2 * place & 3] for place in range(5)) for n in range(parts))
    return "{ " + " || ".join(f"span.text =~ `.*({pattern}){{4}}.*`" for pattern in patterns) + f" || {found} }}"
