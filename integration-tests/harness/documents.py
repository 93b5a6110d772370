"""The code blocks of documents."""
import re

# Language and text of each block; words after the language are for readers.
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The name that a block's first line gives to it: `# name.py`, `// name.js`.
FILE_NAME = re.compile(r"(?:#|//) ([\w-]+\.\w+)\n")


def file_name(text):
    """The file that a block is, or None."""
    match = FILE_NAME.match(text)
    return match and match[1]
