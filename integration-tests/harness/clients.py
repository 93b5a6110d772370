"""Clients that ask at the same time."""
import concurrent.futures


def at_once(act, count, clients=12):
    """What `act` returns for each number below `count`, of so many clients at a time."""
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return list(pool.map(act, range(count)))
