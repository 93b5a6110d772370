"""Twelve incidents as they happen: what the machines did, and where a person would look who does not know it.

Each has a tenant of its own, with the traffic of a quarter of an hour: mostly requests as they always are."""
import dataclasses
import random
import time
from collections.abc import Callable

from .calls import CONSUMER, PRODUCER, Tracer, call, query, step

MINUTE = 60
# Of a server that has them all; queries see what was pushed a moment ago.
CONFIG = {"multitenancy_enabled": True, "query_frontend": {"metrics": {"query_backend_after": "1s"}}}


@dataclasses.dataclass
class Incident:
    name: str
    # What happened. It stands below the picture, not in it.
    happened: str
    # A random.Random -> calls as they always are, and as they were when it went wrong.
    usual: Callable
    wrong: Callable
    # The page: `trace` of the last that went wrong, `span` that its first sentence leads to, `search`, `services`,
    # `map`; and what is filled in there.
    page: str
    query: str = ""
    service: str = ""
    # What must stand there, so that a person can tell what happened: in the findings, the first difference, or the first call.
    tells: tuple = ()
    many: int = 150
    wrongs: int = 25
    # All that went wrong did so in so many seconds before now; it was as always before that.
    lasts: int = 15 * MINUTE
    usual_meanwhile: bool = True


def push(server, incident, now=None):
    """Pushes all traffic of an incident, for its own tenant. Returns the ids of the traces that went wrong, in hex."""
    choice, now = random.Random(incident.name), now or time.time()
    tracer, groups, wrong = Tracer(choice), [], []
    earliest = 0 if incident.usual_meanwhile else incident.lasts
    for number in range(incident.many + incident.wrongs):
        is_wrong = number >= incident.many
        # The page is opened a moment later, and its window ends then.
        oldest = incident.lasts - MINUTE if is_wrong else max(2 * earliest, 15 * MINUTE)
        ago = choice.uniform(MINUTE if is_wrong else earliest + MINUTE, oldest)
        root = (incident.wrong if is_wrong else incident.usual)(choice)
        trace, requests = tracer.requests(root, int((now - ago) * 1e9))
        groups += requests
        if is_wrong:
            wrong.append(trace)
    whole = groups.pop()
    for request in groups:
        whole.MergeFrom(request)
    answer = server.push(whole, headers={"X-Scope-OrgID": incident.name})
    assert answer.status_code == 200, answer.text
    return wrong


def pod(choice, name, pods=6, release="v41"):
    number = choice.randrange(pods)
    return {"k8s.pod.name": f"{name}-{release}-{number}", "k8s.node.name": f"node-{number % 3 + 1}", "service.version": release}


# --- a dependency is slow: the bank that payment asks ------------------------------------------------------------------

def order(bank):
    return call(
        "shop", "POST /orders", 12,
        call("cart", "GET /cart", 4, query("HGETALL cart", 2, "redis")),
        call("stock", "POST /reservations", 8, query("UPDATE stock", 6)),
        call("payment", "POST /charges", 10, query("SELECT customer", 3), call("bank-gateway", "POST /authorise", bank), query("INSERT charge", 4)),
        query("INSERT order", 6))


# --- N+1: the history asks for each order by itself ------------------------------------------------------------------------

def history(orders, each):
    rows = [query("SELECT items WHERE order_id = ?", 5) for _ in range(orders)] if each else [query("SELECT items WHERE order_id IN (?)", 9)]
    return call("shop", "GET /account/orders", 20, call("accounts", "GET /session", 3, query("GET session", 1, "redis")),
                query("SELECT orders WHERE customer_id = ?", 6), *rows, step("render history", 14))


# --- retry storm: stock fails, and checkout asks it five times as often ---------------------------------------------------------

def checkout(tries, choice):
    def ask(at):
        failing = tries > 1
        return call("stock", "POST /reservations", 220 if failing else 18, query("SELECT FOR UPDATE stock", 180 if failing else 6),
                    error="503 no connection is free" if failing else None, after=40 * 2**at if at else 0)

    return call("web", "POST /checkout", 6, call(
        "checkout", "POST /checkout", 10, call("pricing", "GET /quote", 7, query("SELECT prices", 4)), *[ask(at) for at in range(tries)],
        error="503 stock is not there" if tries > 1 else None), error="503" if tries > 1 else None)


# --- a pool is empty: the booking waits for a connection, in which it makes no span --------------------------------------------

def booking(waits):
    return call("web", "POST /bookings", 5, call(
        "booking", "POST /bookings", 8, call("seats", "GET /plan", 5, query("SELECT seats", 3)),
        query("INSERT booking", 5, after=waits), query("UPDATE seats", 4)))


# --- one machine is bad: a pod of the thumbnailer stands still now and then -------------------------------------------------

def thumbnail(choice, is_wrong):
    where = pod(choice, "thumbnailer", pods=6)
    if is_wrong:
        where |= {"k8s.pod.name": "thumbnailer-v41-4", "k8s.node.name": "node-2"}
    return call("gallery", "GET /album", 9, call(
        "thumbnailer", "POST /scale", 900 if is_wrong else 35, query("GET image", 12, "s3"), resource=where,
        attributes={"image.format": choice.choice(["jpeg", "png", "webp"]), "image.width": choice.choice([320, 640, 1280])}),
        resource=pod(choice, "gallery", pods=3))


# --- one customer: the report of one is a thousand times as long -------------------------------------------------------------

def report(choice, is_wrong):
    customer = "umbrella-corp" if is_wrong else choice.choice(["acme", "globex", "initech", "hooli", "umbrella-corp", "stark", "wayne"])
    rows = choice.randrange(800_000, 900_000) if is_wrong else choice.randrange(40, 900)
    about = {"customer.id": customer, "report.kind": choice.choice(["week", "month", "year"]), "report.rows": rows}
    return call("reports", "GET /reports/{id}", 1800 if is_wrong else 40, query("SELECT rows", 2500 if is_wrong else 30),
                attributes=about, resource=pod(choice, "reports", pods=4))


# --- one release: what was rolled out to some of the pods fails --------------------------------------------------------------

def login(choice, is_wrong):
    release = "v42" if is_wrong else choice.choice(["v41", "v41", "v41", "v42"])
    return call("web", "POST /login", 4, call(
        "accounts", "POST /login", 12, query("SELECT account", 4), attributes={
            "client.platform": choice.choice(["ios", "android", "browser"]), "login.method": choice.choice(["password", "passkey", "oauth"])},
        resource=pod(choice, "accounts", pods=6, release=release), error="TypeError: cannot read 'scope' of undefined" if is_wrong else None),
        error="500" if is_wrong else None)


# --- an index is missing: a query reads the whole table ------------------------------------------------------------------

def tagged(scans):
    rows = {"db.query.text": "SELECT * FROM products WHERE tag = $1", "db.rows_examined": 4_200_000 if scans else 31, "db.rows_returned": 31}
    return call("web", "GET /tags/{tag}", 7, call(
        "catalog", "GET /products/by-tag/{tag}", 8, query("GET tag", 1, "redis"), query("SELECT products", 2_400 if scans else 12, attributes=rows)))


# --- timeouts one above the other: the deepest hangs, all above give up ------------------------------------------------------

def home(hangs):
    model = call("ranking", "POST /rank", 15, query("SELECT features", 9_000 if hangs else 20, error="canceling statement due to lock timeout" if hangs else None),
                 limit=5_000, error="lock timeout" if hangs else None)
    return call(
        "gateway", "GET /home", 4, call(
            "home", "GET /home", 10, call("accounts", "GET /session", 3, query("GET session", 1, "redis")),
            call("recommendations", "GET /recommendations", 9, model, limit=3_000, error="504 ranking gave no answer" if hangs else None),
            limit=2_000, error="504 recommendations gave no answer" if hangs else None),
        error="504 Gateway Timeout" if hangs else None)


# --- an error that nobody sees: the page falls back to prices of yesterday -----------------------------------------------------

def basket(is_wrong):
    live = call("pricing", "GET /prices", 4, call(
        "rates", "GET /rates/today", 5, error="401 the token has expired" if is_wrong else None), error="502 rates" if is_wrong else None)
    return call("web", "GET /basket", 6, call("cart", "GET /cart", 4, query("HGETALL cart", 2, "redis")), live,
                *([query("GET prices of yesterday", 2, "redis")] if is_wrong else []), step("render basket", 11))


# --- a clock is wrong: a machine of the warehouse is two seconds behind -------------------------------------------------------

def parcel(choice, is_wrong):
    return call("shop", "POST /parcels", 9, call("labels", "POST /labels", 25, query("INSERT label", 6)), call(
        "warehouse", "POST /picks", 30, query("SELECT shelves", 12), query("INSERT pick", 8),
        skew=-2_000 if is_wrong else 0, resource={"host.name": "wh-7" if is_wrong else choice.choice(["wh-5", "wh-6"])}))


# --- a queue is full: the mail is sent three quarters of a minute after the order ------------------------------------------------

def mail(waits):
    return call("shop", "POST /orders", 12, query("INSERT order", 6), step(
        "send order-placed", 3, call("mailer", "process order-placed", 40, query("SELECT template", 8), call("smtp-relay", "POST /send", 90),
                                     kind=CONSUMER, later=waits), kind=PRODUCER))


def without_choice(make, *values):
    return lambda _: make(*values)


INCIDENTS = [
    Incident(
        "slow-dependency", "The bank that the payment asks answered after two seconds instead of 80 ms.",
        without_choice(order, 80), without_choice(order, 2_100), "trace", tells=("bank-gateway POST /authorise",)),
    Incident(
        "many-queries", "A new release reads the items of each order by itself: one query became 140.",
        without_choice(history, 140, False), without_choice(history, 140, True), "trace",
        tells=("calls shop SELECT items WHERE order_id = ? 140 times",)),
    Incident(
        "retry-storm", "The stock had no free connections. The checkout tried each request five times, and that made it worse.",
        lambda choice: checkout(1, choice), lambda choice: checkout(5, choice), "map", lasts=5 * MINUTE, usual_meanwhile=False,
        many=60, wrongs=60, tells=("checkout ST stock worse", "0.0 % → 100.0 %")),
    Incident(
        "empty-pool", "All connections of the pool were taken: each booking waited for one, and nothing makes a span of that.",
        without_choice(booking, 0), without_choice(booking, 1_300), "trace", tells=("booking POST /bookings", "before booking INSERT booking")),
    Incident(
        "bad-pod", "One pod of six stood still for a second, again and again.",
        lambda choice: thumbnail(choice, False), lambda choice: thumbnail(choice, True), "services", service="thumbnailer",
        tells=("resource.k8s.pod.name", "thumbnailer-v41-4")),
    Incident(
        "one-customer", "One customer had begun to write a thousand times as many rows as all others.",
        lambda choice: report(choice, False), lambda choice: report(choice, True), "services", service="reports",
        tells=("span.customer.id", "umbrella-corp")),
    Incident(
        "bad-release", "Version 42 was rolled out to a third of the pods, and fails for a part of the logins.",
        lambda choice: login(choice, False), lambda choice: login(choice, True), "search",
        '{ resource.service.name = "accounts" && kind = server && status = error }', tells=("resource.service.version", "v42")),
    Incident(
        "missing-index", "The index for tags was lost with a migration: the query reads the whole table.",
        without_choice(tagged, False), without_choice(tagged, True), "span",
        tells=("catalog SELECT products", "WHERE tag = $1", "db.rows_examined", "4200000")),
    Incident(
        "timeouts", "A table was locked below the ranking. Everybody above gave up, each after its own time.",
        without_choice(home, False), without_choice(home, True), "trace",
        tells=("the error begins in ranking SELECT features", "lock timeout")),
    Incident(
        "hidden-error", "A token had expired, so that baskets showed the prices of yesterday. No request failed.",
        without_choice(basket, False), without_choice(basket, True), "trace",
        tells=("the error begins in rates GET /rates/today", "401 the token has expired", "web GET /basket")),
    Incident(
        "wrong-clock", "The clock of one machine of the warehouse was two seconds behind.",
        lambda choice: parcel(choice, False), lambda choice: parcel(choice, True), "trace", tells=("warehouse", "2.00 s")),
    Incident(
        "full-queue", "One of the mailers had died: mails waited three quarters of a minute in the queue.",
        without_choice(mail, 60), without_choice(mail, 45_000), "trace", tells=("45", "mailer process order-placed")),
]
