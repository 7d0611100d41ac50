"""Reads pages of sorted sets of names by µs: users, topics, subscriptions, logs."""

from hub.engine import Engine, text
from hub.lists import Listed, Place, Window
from hub.redis import Value


async def index_page(engine: Engine, index: str, window: Window) -> Listed[Place]:
    """The names of one page and their µs, newest first, in one step. An empty page leads nowhere."""
    after_us, after_name = _place(window.after)
    before_us, before_name = _place(window.before)
    args: dict[str, Value] = {
        "created_after": _bound(window.created_after),
        "created_before": _bound(window.created_before),
        "after_us": after_us,
        "after_name": after_name,
        "before_us": before_us,
        "before_name": before_name,
        "limit": window.limit,
    }
    _, more_before, more_after, *flat = await engine.run("index_page", {"index": index}, args)
    places = tuple((int(us), text(name)) for name, us in zip(flat[::2], flat[1::2], strict=True))
    return Listed(
        places,
        window.limit,
        after=places[-1] if more_after else None,
        before=places[0] if more_before else None,
    )


def _place(place: Place | None) -> tuple[str, str]:
    return ("", "") if place is None else (str(place[0]), place[1])


def _bound(micros: int | None) -> str:
    return "" if micros is None else str(micros)
