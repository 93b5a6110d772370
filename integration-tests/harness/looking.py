"""Where a person looks who knows of an incident only that something is wrong."""
import urllib.parse


def drag(page, element, start, end):
    """From one place to another of an element, as shares of its width and height."""
    box = element.bounding_box()
    at = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=3)
    page.mouse.up()


def look_at(visit, incident, wrong):
    """Opens the page of an incident, `wrong` the ids of its traces, and waits until all is there."""
    visit.context.add_init_script(f"sessionStorage.setItem('tactus.tenant', '{incident.name}')")
    range_ = f"{incident.lasts // 60}m"
    return {"trace": _trace, "span": _span, "services": _services, "search": _search, "map": _map}[incident.page](visit, incident, wrong, range_)


def _path(page, **params):
    return f"ui/{page}?{urllib.parse.urlencode(params)}"


def _trace(visit, incident, wrong, range_):
    page = visit.open(f"ui/trace/{wrong[-1]}")
    page.locator(".findings li").first.wait_for()
    page.wait_for_load_state("networkidle")
    return page


def _span(visit, incident, wrong, range_):
    page = _trace(visit, incident, wrong, range_)
    page.locator(".findings button").first.click()
    page.locator(".details h3", has_text="Resource").wait_for()
    return page


def _services(visit, incident, wrong, range_):
    page = visit.open(_path("services", service=incident.service, range="30m"))
    page.locator("main tbody tr").first.wait_for()
    page.wait_for_load_state("networkidle")
    # What lies above the many.
    drag(page, page.locator(".heatmap .cells"), (.01, .02), (.99, .4))
    return _differences(page)


def _search(visit, incident, wrong, range_):
    page = visit.open(_path("search", q=incident.query, range="30m"))
    page.locator(".results tbody tr").first.wait_for()
    page.wait_for_load_state("networkidle")
    return _differences(page)


def _differences(page):
    page.get_by_role("button", name="What differs").click()
    page.locator(".differences tbody tr").first.wait_for()
    return page


def _map(visit, incident, wrong, range_):
    page = visit.open(_path("map", range=range_, against="before"))
    page.locator("main tbody tr").first.wait_for()
    page.wait_for_load_state("networkidle")
    return page
