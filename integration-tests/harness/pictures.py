"""Pictures of pages, small enough for a repository."""
import contextlib
import io
import pathlib

COLOURS = 256


def keep(page, path, **options):
    """Writes what is seen of a page to `path`, with few colours where Pillow is installed."""
    picture = page.screenshot(timeout=60_000, **options)
    with contextlib.suppress(ImportError):
        from PIL import Image

        small = io.BytesIO()
        Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        picture = small.getvalue()
    pathlib.Path(path).write_bytes(picture)
