"""Debian's Chromium without a window, and what it must never say."""
import contextlib

from . import tools
from .paths import REPOSITORY
from .servers import Servers

AXE = REPOSITORY / "libs/ui/web/node_modules/axe-core/axe.min.js"
WINDOWS = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 390, "height": 844}}


def appearance(look):
    """Theme and window of a visit: "light wide", "dark narrow"."""
    theme, width = look.split()
    return {"color_scheme": theme, "viewport": WINDOWS[width]}


@contextlib.contextmanager
def chromium():
    """A running browser, for as long as the block lasts."""
    # Only tests of pages need it; the others start without.
    from playwright.sync_api import sync_playwright

    program = tools.need("chromium")
    with sync_playwright() as playwright:
        # A test may run as root, for whom Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A fresh browser profile on the pages of one server. Collects what went wrong while they were open."""

    def __init__(self, browser, root, **context):
        self.root = root.rstrip("/") + "/"
        self.context = browser.new_context(**{"viewport": WINDOWS["wide"], **context})
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.problems = []
        self.foreign = []
        self.expected = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("request", self._request)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def _request(self, request):
        if not request.url.startswith((self.root, "data:", "blob:")):
            self.foreign.append(request.url)

    def expect(self, text):
        """A console message with this text is right: browsers report each answer of 4xx."""
        self.expected.append(text)

    def open(self, path="ui/"):
        self.page.goto(self.root + path)
        return self.page

    def axe(self):
        """Violations of accessibility rules on the page as it is."""
        tools.need("axe-core", AXE)
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("async () => (await axe.run()).violations.map("
                                   "v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 160) + ' ' + n.failureSummary).join(' | ')}`)")
        return found

    def close(self):
        self.context.close()

    def check(self):
        """Nothing was reported by the browser, a policy of the page included, and nobody else was asked for anything."""
        unexpected = [problem for problem in self.problems if not any(text in problem for text in self.expected)]
        assert not unexpected, unexpected
        assert not self.foreign, self.foreign


def need_pages(server, prefix=""):
    """The binary has the pages, or the test that asked ends here: they are built where Node is."""
    if '<div id="app">' not in server.get(prefix + "/ui/", accept="text/html").text:
        tools.need("the pages of the binary (make ui)", REPOSITORY / "libs/ui/web/dist/site/never")


@contextlib.contextmanager
def serving_pages(directory, config=None):
    """A server whose binary has the pages, for as long as the block lasts."""
    group = Servers(directory)
    running = group.start(config=config)
    need_pages(running)
    yield running
    group.close()


def settled(page):
    """The page, once it shows what it has asked for."""
    page.locator("main h1").first.wait_for(state="attached")
    page.wait_for_load_state("networkidle")
    for text in ("reading…", "searching…"):
        page.locator("main", has_text=text).wait_for(state="detached")
    return page


def written_query(page, field="#query"):
    """What a field for TraceQL holds: a plain one, or the editor that takes its place."""
    return page.locator(field).evaluate("element => element.value ?? element.innerText")
