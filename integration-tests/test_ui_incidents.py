"""Twelve incidents: what names the cause stands on the page where a person looks first."""
import pytest

from harness.browser import Visit, need_pages
from harness.incidents import CONFIG, INCIDENTS, push
from harness.looking import look_at
from harness.servers import Servers
from harness.waiting import eventually

HEADERS = {incident.name: {"X-Scope-OrgID": incident.name} for incident in INCIDENTS}


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """(server, ids of the traces that went wrong by incident)."""
    group = Servers(tmp_path_factory.mktemp("incidents"))
    server = group.start(config=CONFIG)
    need_pages(server)
    wrong = {incident.name: push(server, incident) for incident in INCIDENTS}

    def counted(incident):
        answer = server.get("/api/metrics/query", headers=HEADERS[incident.name], q="{ nestedSetParent < 0 } | count_over_time()")
        return sum(series["value"] for series in answer.json().get("series", []))

    for incident in INCIDENTS:
        eventually(lambda: counted(incident) == incident.many + incident.wrongs, f"all traces of {incident.name} are counted")
    yield server, wrong
    group.close()


def said(page, incident):
    """What stands where the eye goes first."""
    if incident.page == "trace":
        return page.locator(".findings").inner_text() + "".join(page.locator(".strip").all_inner_texts())
    if incident.page == "span":
        return page.locator(".findings").inner_text() + page.locator(".details").inner_text()
    if incident.page == "map":
        return "\n".join(" ".join(row.split()) for row in page.locator("main tbody tr").all_inner_texts())
    # The first two attributes that differ, with the value that the selection has most often.
    firsts = [" ".join(row.split()) for row in page.locator(".differences tbody tr").all_inner_texts() if not row.startswith("\t")]
    return "\n".join(row for row in firsts[:2] if "100 %" in row)


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.name)
def test_cause_of_an_incident_is_on_the_page(browser, staged, incident):
    server, wrong = staged
    visit = Visit(browser, server.url)
    try:
        page = look_at(visit, incident, wrong[incident.name])
        eventually(lambda: all(text in said(page, incident) for text in incident.tells),
                   f"{incident.tells} on the page, which began with: {said(page, incident)}", 10)
        visit.check()
    finally:
        visit.close()


def test_box_of_a_heatmap_is_drawn_with_keys_alone(browser, staged):
    server, _ = staged
    visit = Visit(browser, server.url)
    try:
        visit.context.add_init_script("sessionStorage.setItem('tactus.tenant', 'bad-pod')")
        page = visit.open("ui/services?service=thumbnailer&range=30m")
        page.locator(".heatmap .cells").focus()
        page.keyboard.press("ArrowLeft")
        for key, times in (("ArrowLeft", 100), ("ArrowDown", 8)):
            for _ in range(times):
                page.keyboard.press(f"Shift+{key}")
        page.get_by_role("link", name="25 of").wait_for()
        assert visit.axe() == []
        page.keyboard.press("Escape")
        page.get_by_role("link", name="25 of").wait_for(state="detached")
        visit.check()
    finally:
        visit.close()


@pytest.mark.parametrize("name", ["timeouts", "bad-pod", "retry-storm"])
@pytest.mark.parametrize("theme,width", [("light", 1440), ("dark", 390)])
def test_pages_of_an_incident_are_accessible_and_as_wide_as_the_window(browser, staged, name, theme, width):
    server, wrong = staged
    incident = next(one for one in INCIDENTS if one.name == name)
    visit = Visit(browser, server.url, color_scheme=theme, viewport={"width": width, "height": 850})
    try:
        page = look_at(visit, incident, wrong[name])
        if incident.page == "trace":
            page.locator(".findings button").last.click()
            page.locator(".details h3", has_text="Resource").wait_for()
            sheet = page.locator(".details").bounding_box()
            assert 0 <= sheet["y"] and sheet["y"] + sheet["height"] <= 851, "details are in view"
        assert visit.axe() == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        visit.check()
    finally:
        visit.close()
