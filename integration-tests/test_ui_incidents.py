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
        return page.locator(".findings li").first.inner_text() + page.locator(".details").inner_text()
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
