"""Who is let in, at the socket and at the User API alike: one verdict, told in the words of each door."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import httpx2
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization

from hub.auth import new_signing_key
from hub.keys import User
from hub.projects import add_origin, add_signing_key, retire_key
from tests.conftest import StartHub
from tests.harness import PRIVATE_PEM, SIGNING_KEY, Client, RunningHub, until

ENTRIES = "/user/v1/channels/inbox/feed/entries"

RSA, RSA_PEM = new_signing_key("RS256")
"""A key of the project, besides `SIGNING_KEY`."""
RETIRED, RETIRED_PEM = new_signing_key("ES256")
OTHER, OTHER_PEM = new_signing_key("RS256")
"""A key of the project `other`."""
STRANGER, STRANGER_PEM = new_signing_key("RS256")
"""Nobody's key."""

pytestmark = pytest.mark.asyncio(loop_scope="module")
alone = pytest.mark.asyncio(loop_scope="function")
"""For tests with hubs of their own."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(shared_hub: RunningHub) -> RunningHub:
    """Project `default` with three signing keys, one of them retired, beside a project `other`."""
    for key in (RSA, RETIRED):
        await shared_hub.change_project(lambda p, key=key: add_signing_key(p, key))
    await shared_hub.change_project(lambda p: retire_key(p, RETIRED.kid, time.time()))
    await shared_hub.add_project("other")
    await shared_hub.change_project(lambda p: add_signing_key(p, OTHER), "other")
    return shared_hub


# ---- making tokens -----------------------------------------------------------------------------------


def claims(user: str = "ann", **more: Any) -> dict[str, Any]:
    """Good for ten minutes; a claim given as `...` is left out."""
    now = int(time.time())
    given = {"sub": user, "iat": now, "exp": now + 600} | more
    return {name: value for name, value in given.items() if value is not ...}


def signed(of: dict[str, Any], pem: str = RSA_PEM, algorithm: str = "RS256", **header: Any) -> str:
    return jwt.encode(of, pem, algorithm, headers={"kid": RSA.kid} | header)


def part(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], secret: bytes | None = None) -> str:
    """What no library would sign: with an HMAC, or with nothing."""
    text = f"{part(header)}.{part(claims())}"
    mac = b"" if secret is None else hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def public_jwk() -> dict[str, Any]:
    private = serialization.load_pem_private_key(STRANGER_PEM.encode(), None)
    return dict(jwt.get_algorithm_by_name("RS256").to_jwk(private.public_key(), as_dict=True))  # type: ignore[attr-defined]


def times(**seconds: float) -> dict[str, float]:
    """Claims that many seconds from now."""
    return {name: time.time() + after for name, after in seconds.items()}


# ---- asking both doors -------------------------------------------------------------------------------


async def greeted(hub: RunningHub, **auth: Any) -> Client:
    """A socket that has sent `auth`; a field given as `...` is left out."""
    client = await hub.connect()
    fields = {"api_key": hub.api_key} | auth
    await client.send("auth", **{name: value for name, value in fields.items() if value is not ...})
    return client


async def turned_away(client: Client, code: int) -> str:
    """The reason in the `bye` that comes before the close, and instead of everything else."""
    assert await client.close_code() == code
    (bye,) = client.frames
    assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", code, code < 4500)
    return str(bye["reason"])


async def rest(hub: RunningHub, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with hub.http() as http:
        return await http.get(ENTRIES, headers={"x-notiflows-api-key": hub.api_key} | named)


def unauthenticated(answer: httpx2.Response, which: str) -> str:
    """The message of a 401 whose `details.auth` says which credential it is about."""
    assert answer.status_code == 401, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["status"], error["details"]) == ("unauthenticated", 401, {"auth": which})
    return str(error["message"])


# ---- faults of a token -------------------------------------------------------------------------------

FAULTS: dict[str, tuple[Any, str]] = {
    "no token at all": ("abc.def", "not a signed token"),
    "not base64": ("!.e30.", "header: not base64url of JSON"),
    "not yet valid": (lambda: signed(claims(**times(nbf=60))), "claim nbf: not valid before"),
    "issued in the future": (lambda: signed(claims(**times(iat=60))), "claim iat: not valid before"),
    "other key": (lambda: signed(claims(), STRANGER_PEM), "signature: does not verify"),
    "retired key": (lambda: signed(claims(), RETIRED_PEM, "ES256", kid=RETIRED.kid), "no live key of the project"),
    "alg none": (lambda: by_hand({"alg": "none"}), "algorithm none, expected ES256 or RS256"),
    "alg none under a kid": (lambda: by_hand({"alg": "none", "kid": RSA.kid}), "algorithm none, expected RS256"),
    "HS256 with the public key": (
        lambda: by_hand({"alg": "HS256", "kid": RSA.kid}, RSA.public_pem.encode()),
        "algorithm HS256, expected RS256",
    ),
    "HS256 with the public key, no kid": (
        lambda: by_hand({"alg": "HS256"}, RSA.public_pem.encode()),
        "algorithm HS256, expected ES256 or RS256",
    ),
    "another algorithm of the same key": (
        lambda: signed(claims(), algorithm="PS256"),
        "algorithm PS256, expected RS256",
    ),
    "unknown kid": (lambda: signed(claims(), kid="nobody"), "kid 'nobody': no live key"),
    "kid with a path": (lambda: signed(claims(), kid="../../etc/passwd"), "kid: not 1-64 characters"),
    "jku": (lambda: signed(claims(), jku="https://evil.example/jwks"), "header jku: not followed"),
    "jwk": (lambda: signed(claims(), STRANGER_PEM, jwk=public_jwk()), "header jwk: not followed"),
    "another project's key": (lambda: signed(claims(), OTHER_PEM, kid=OTHER.kid), "no live key of the project"),
    "another audience": (lambda: signed(claims(aud="shop")), "claim aud: names another audience"),
    "no sub": (lambda: signed(claims(sub=...)), "claim sub: missing"),
    "sub no string": (lambda: by_rsa(claims(sub=5)), "claim sub: missing or not a string"),
    "sub empty": (lambda: signed(claims("")), "claim sub: user: '' has 0 characters"),
    "sub too long": (lambda: signed(claims("x" * 257)), "257 characters, at most 256"),
    "sub with NUL": (lambda: signed(claims("a\x00")), "has a control character"),
    "exp no number": (lambda: by_rsa(claims(exp="tomorrow")), "claim exp: not a number of seconds"),
    "exp in milliseconds": (lambda: signed(claims(exp=int(time.time() * 1000))), "claim exp: not a number of seconds"),
    "expired, but forged": (lambda: signed(claims(**times(exp=-600)), STRANGER_PEM), "signature: does not verify"),
}


def by_rsa(of: dict[str, Any]) -> str:
    """For claims that the library would not sign as claims."""
    return jwt.PyJWS().encode(json.dumps(of).encode(), RSA_PEM, "RS256", headers={"kid": RSA.kid})


def token_of(fault: str) -> str:
    made = FAULTS[fault][0]
    return str(made() if callable(made) else made)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_token_is_4501_at_the_socket_and_401_over_rest(hub: RunningHub, fault: str) -> None:
    token, words = token_of(fault), FAULTS[fault][1]
    reason = await turned_away(await greeted(hub, token=token), 4501)
    message = unauthenticated(await rest(hub, x_notiflows_user_key=token), "user_key")
    assert words in reason
    assert words in message
    assert token not in reason + message


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"another project's key"}))
async def test_a_faulty_fresh_token_is_an_error_and_the_old_one_stays(hub: RunningHub, ann: str, fault: str) -> None:
    session = await hub.connect(ann)
    answer = await session.ask("refresh", token=token_of(fault))
    assert (answer["type"], answer["code"], answer["temporary"]) == ("error", "invalid_token", False)
    assert FAULTS[fault][1] in answer["message"]
    entry_id = await hub.send(ann)
    assert (await session.ask("read", channel="inbox", ids=[entry_id]))["changed"] == [entry_id]


async def test_an_expired_token_is_4003_which_means_come_back_with_a_fresh_one(hub: RunningHub) -> None:
    token = signed(claims(**times(exp=-31)))
    assert "claim exp: expired at" in await turned_away(await greeted(hub, token=token), 4003)
    assert "claim exp: expired at" in unauthenticated(await rest(hub, x_notiflows_user_key=token), "user_key")


async def test_30_seconds_of_clock_difference_are_forgiven(hub: RunningHub, ann: str) -> None:
    token = signed(claims(ann, **times(exp=-20, iat=20, nbf=20)))
    session = await greeted(hub, token=token)
    assert (await session.next("welcome"))["user"] == ann
    assert (await rest(hub, x_notiflows_user_key=token)).status_code == 200


@pytest.mark.parametrize("auth", [{}, {"token": ""}, {"token": None}], ids=str)
async def test_no_token_is_4501_and_401(hub: RunningHub, auth: dict[str, Any]) -> None:
    assert await turned_away(await greeted(hub, **auth), 4501)
    message = unauthenticated(await rest(hub), "user_key")
    assert message == "exactly one of x-notiflows-user-key and x-notiflows-user-id is needed"
    assert unauthenticated(await rest(hub, x_notiflows_user_key=""), "user_key") == "no token"


# ---- times that are missing --------------------------------------------------------------------------


async def test_a_token_without_exp_is_good_for_ever(hub: RunningHub, ann: str) -> None:
    token = signed(claims(ann, exp=...))
    session = await greeted(hub, token=token)
    assert (await session.next("welcome"))["expires_at"] is None
    assert (await rest(hub, x_notiflows_user_key=token)).status_code == 200
    assert (await session.ask("refresh", token=token))["expires_at"] is None


@alone
async def test_where_exp_is_required_a_token_without_it_is_refused(start_hub: StartHub) -> None:
    hub = await start_hub(require_exp=True)
    endless = jwt.encode(claims(exp=...), PRIVATE_PEM, "ES256", headers={"kid": SIGNING_KEY.kid})
    assert "claim exp: missing" in await turned_away(await greeted(hub, token=endless), 4501)
    assert "claim exp: missing" in unauthenticated(await rest(hub, x_notiflows_user_key=endless), "user_key")
    session = await hub.connect("ann")
    assert "claim exp: missing" in (await session.ask("refresh", token=endless))["message"]


async def test_a_token_without_iat_is_good_until_its_user_is_revoked(hub: RunningHub, ann: str) -> None:
    token = signed(claims(ann, iat=...))
    session = await greeted(hub, token=token)
    await session.next("welcome")
    assert (await rest(hub, x_notiflows_user_key=token)).status_code == 200
    before = await hub.hub.store.revoke(User("default", ann))
    assert await session.close_code() == 4503
    assert session.frames[-1]["reason"] == "this user's tokens were revoked"
    assert "revoked" in await turned_away(await greeted(hub, token=token), 4503)
    answer = await rest(hub, x_notiflows_user_key=token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    fresh = signed(claims(ann, iat=before))
    assert (await (await greeted(hub, token=fresh)).next("welcome"))["user"] == ann
    assert (await rest(hub, x_notiflows_user_key=fresh)).status_code == 200


async def test_a_revocation_ends_older_sign_ins_of_that_user_only(hub: RunningHub, ann: str) -> None:
    bob = await hub.connect(f"bob, {ann}")
    old = await greeted(hub, token=signed(claims(ann)))
    await old.next("welcome")
    before = await hub.hub.store.revoke(User("default", ann))
    newer = await greeted(hub, token=signed(claims(ann, iat=before)))
    await newer.next("welcome")
    assert await old.close_code() == 4503
    refused = await newer.ask("refresh", token=signed(claims(ann, iat=before)))
    assert refused["type"] == "refreshed"
    await newer.send("refresh", token=signed(claims(ann, iat=before - 1)))
    assert await newer.close_code() == 4503
    assert (await bob.ask("ping"))["type"] == "pong"


# ---- a fresh token on an open socket -----------------------------------------------------------------


async def test_a_fresh_token_of_the_same_user_is_taken_over(hub: RunningHub, ann: str) -> None:
    session = await hub.connect(ann)
    of = claims(ann, exp=4_102_444_800)
    assert await session.ask("refresh", token=signed(of)) == {
        "type": "refreshed",
        "ref": session.frames[-1]["ref"],
        "expires_at": "2100-01-01T00:00:00.000Z",
    }


async def test_a_fresh_token_of_another_user_ends_the_socket(hub: RunningHub, ann: str) -> None:
    session = await hub.connect(ann)
    await session.send("refresh", token=signed(claims(f"bob, {ann}")))
    assert await session.close_code() == 4501
    assert session.frames[-1]["reason"] == "the fresh token is another user's"


async def test_a_fresh_token_of_another_project_ends_the_socket(hub: RunningHub, ann: str) -> None:
    session = await hub.connect(ann)
    await session.send("refresh", token=signed(claims(ann), OTHER_PEM, kid=OTHER.kid))
    assert await session.close_code() == 4501
    assert session.frames[-1]["reason"] == "the fresh token is another project's"


async def test_what_only_claims_to_be_of_another_project_is_just_a_bad_token(hub: RunningHub, ann: str) -> None:
    session = await hub.connect(ann)
    answer = await session.ask("refresh", token=signed(claims(ann), STRANGER_PEM, kid=OTHER.kid))
    assert (answer["type"], answer["code"]) == ("error", "invalid_token")


@alone
async def test_a_socket_ends_with_its_token_unless_that_was_refreshed(start_hub: StartHub) -> None:
    hub = await start_hub(token_leeway_s=0)
    short = times(exp=1.5)
    token = {user: jwt.encode(claims(user, **short), PRIVATE_PEM, "ES256") for user in ("kept", "faulty", "renewed")}
    sessions = {user: await hub.connect(user, token=token[user]) for user in token}
    sooner = await hub.connect("sooner")
    faulty = await sessions["faulty"].ask("refresh", token="x.y.z")
    assert faulty["code"] == "invalid_token"
    assert (await sessions["renewed"].ask("refresh", token=hub.token("renewed")))["type"] == "refreshed"
    ends = jwt.encode(claims("sooner", **short), PRIVATE_PEM, "ES256")
    assert (await sooner.ask("refresh", token=ends))["type"] == "refreshed"
    for session in (sessions["kept"], sessions["faulty"], sooner):
        assert await session.close_code() == 4003
        bye = session.frames[-1]
        assert (bye["code"], bye["reconnect"]) == (4003, True)
    assert time.time() >= short["exp"]
    assert (await sessions["renewed"].ask("ping"))["type"] == "pong"
    assert [f["type"] for f in sessions["renewed"].frames].count("expiring") == 1


async def test_the_end_of_a_token_is_announced_60_seconds_before(hub: RunningHub, ann: str) -> None:
    """docs/protocol.md, section 5: "or at once after `welcome` if less is left"."""
    ends = int(time.time()) + 50
    session = await greeted(hub, token=signed(claims(ann, exp=ends)))
    welcome, expiring = await session.next("welcome"), await session.next("expiring")
    assert session.frames == [welcome, expiring]
    assert expiring == {"type": "expiring", "expires_at": welcome["expires_at"]}
    relaxed = await hub.connect(ann)
    await relaxed.ask("ping")
    assert "expiring" not in [frame["type"] for frame in relaxed.frames]


@alone
async def test_a_refresh_to_a_short_token_is_announced_too(start_hub: StartHub) -> None:
    hub = await start_hub()
    session = await hub.connect("ann")
    answer = await session.ask("refresh", token=hub.token("ann", ttl_s=40))
    assert (await session.next("expiring"))["expires_at"] == answer["expires_at"]


# ---- api keys ----------------------------------------------------------------------------------------


async def test_an_unknown_api_key_is_4503_and_401(hub: RunningHub, ann: str) -> None:
    for wrong in ("pk_unknown", "pk_dev", "default", hub.secret, hub.api_key + "x"):
        client = await greeted(hub, api_key=wrong, token=hub.token(ann))
        assert await turned_away(client, 4503) == "unknown api key"
        async with hub.http() as http:
            headers = {"x-notiflows-api-key": wrong, "x-notiflows-user-key": hub.token(ann)}
            answer = await http.get(ENTRIES, headers=headers)
        assert unauthenticated(answer, "api_key") == "unknown api key"


async def test_a_missing_api_key_is_a_wrong_field_of_auth_and_401(hub: RunningHub, ann: str) -> None:
    for missing in (..., None, ""):
        assert "api_key" in await turned_away(await greeted(hub, api_key=missing, token=hub.token(ann)), 4501)
    for headers in ({}, {"x-notiflows-api-key": ""}):
        async with hub.http() as http:
            answer = await http.get(ENTRIES, headers={"x-notiflows-user-key": hub.token(ann)} | headers)
        assert unauthenticated(answer, "api_key") == "x-notiflows-api-key is missing"


async def test_a_token_is_good_only_with_its_own_projects_api_key(hub: RunningHub, ann: str) -> None:
    other = hub.hub.directory.project("other")
    assert other is not None
    assert await turned_away(await greeted(hub, api_key=other.api_key, token=hub.token(ann)), 4501)
    theirs = signed(claims(ann), OTHER_PEM, kid=OTHER.kid)
    session = await greeted(hub, api_key=other.api_key, token=theirs)
    await session.next("welcome")
    await hub.send(ann, "for the user of the same name in `default`")
    assert (await session.ask("list", channel="inbox"))["entries"] == []


@alone
async def test_the_sessions_of_a_project_end_with_it(start_hub: StartHub) -> None:
    hub = await start_hub()
    session = await hub.connect("ann")
    await hub.hub.client.hdel("{bellhub}:projects", "default")
    await hub.hub.store.say("{bellhub}:control", "default")
    assert await session.close_code() == 4503
    assert await turned_away(await greeted(hub, token=hub.token("ann")), 4503) == "unknown api key"


# ---- development mode and what is left of it ---------------------------------------------------------


async def test_a_name_alone_lets_nobody_in_in_secure_mode(hub: RunningHub) -> None:
    words = "sign-in by name alone is for development mode only"
    assert words in await turned_away(await greeted(hub, user="ann"), 4501)
    assert words in unauthenticated(await rest(hub, x_notiflows_user_id="ann"), "user_key")
    async with hub.http() as http:  # nor beside a good token
        headers = hub.user_headers("ann") | {"x-notiflows-user-id": "ann"}
        assert unauthenticated(await http.get(ENTRIES, headers=headers), "user_key")


@alone
async def test_keys_of_development_mode_are_not_left_in_the_store(start_hub: StartHub) -> None:
    development = await start_hub(development=True)
    session = await greeted(development, api_key="pk_dev", user="ann")
    await session.next("welcome")
    development.secret = "sk_dev"
    entry_id = await development.send("ann")
    await development.stop()
    secure = await start_hub()
    (item,) = (await secure.feed("ann"))["items"]
    assert item["id"] == entry_id  # the same store
    for auth in ({"user": "ann"}, {"token": secure.token("ann")}):
        assert await turned_away(await greeted(secure, api_key="pk_dev", **auth), 4503) == "unknown api key"
    assert unauthenticated(await rest(secure, x_notiflows_api_key="pk_dev"), "api_key")
    async with secure.http() as http:
        body = {"category": "a", "target": {"type": "user", "id": "ann"}, "title": "x"}
        sent = await http.post("/v1/messaging/notifications", json=body, headers={"authorization": "Bearer sk_dev"})
    assert sent.status_code == 401


@alone
async def test_development_mode_answers_to_names_of_this_machine_only(start_hub: StartHub) -> None:
    hub = await start_hub(development=True)
    for host, status in {
        "localhost": 200,
        f"LOCALHOST:{hub.port}": 200,
        f"127.0.0.1:{hub.port}": 200,
        f"[::1]:{hub.port}": 200,
        "evil.example": 400,
        f"127.0.0.1.evil.example:{hub.port}": 400,
        "localhost.evil.example": 400,
        "0.0.0.0": 400,
        "": 400,
    }.items():
        for path in ("/", "/healthz", "/static/demo.js"):
            async with hub.http() as http:
                assert (await http.get(path, headers={"host": host})).status_code == status, host
        assert await upgraded(hub, host) == (101 if status == 200 else 400), host


async def upgraded(hub: RunningHub, host: str) -> int:
    """The status that a WebSocket handshake in the name of a host is answered with."""
    headers = {
        "host": host,
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    async with hub.http() as http, http.stream("GET", "/ws/v1", headers=headers) as answer:
        return answer.status_code


@alone
async def test_development_mode_turns_pages_of_other_machines_away(start_hub: StartHub) -> None:
    hub = await start_hub(development=True)
    for origin in ("https://evil.example", "http://localhost.evil.example", "null", "http://192.168.0.7:3000"):
        client = await hub.connect(origin=origin)
        await client.send("auth", api_key="pk_dev", user="ann")
        assert await turned_away(client, 4503) == f"origin {origin!r} is not allowed"
        async with hub.http() as http:
            headers = {"x-notiflows-api-key": "pk_dev", "x-notiflows-user-id": "ann", "origin": origin}
            answer = await http.get(ENTRIES, headers=headers)
            body = {"category": "a", "target": {"type": "user", "id": "ann"}, "title": "x"}
            sending = {"authorization": "Bearer sk_dev", "origin": origin}
            sent = await http.post("/v1/messaging/notifications", json=body, headers=sending)
        assert (answer.status_code, sent.status_code) == (403, 403)
    for origin in ("http://localhost:3000", "https://127.0.0.1", f"http://[::1]:{hub.port}"):
        client = await hub.connect(origin=origin)
        await client.send("auth", api_key="pk_dev", user="ann")
        page = await client.next("welcome")
        assert page["user"] == "ann"
        async with hub.http() as http:
            headers = {"x-notiflows-api-key": "pk_dev", "x-notiflows-user-id": "ann", "origin": origin}
            assert (await http.get(ENTRIES, headers=headers)).json()["items"] == []


# ---- where browsers come from ------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(hub: RunningHub) -> str:
    """An origin that the project allows."""
    await hub.change_project(lambda p: add_origin(p, "https://shop.example"))
    return "https://shop.example"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://shop.example", "https://shop.example:8443", "https://a.shop.example", "null"],
)
@pytest.mark.usefixtures("shop")
async def test_a_refused_origin_is_4503_after_the_handshake(hub: RunningHub, ann: str, origin: str) -> None:
    """docs/protocol.md, section 1: "because browsers hide why a handshake failed"."""
    client = await hub.connect(origin=origin)
    await client.send("auth", api_key=hub.api_key, token=hub.token(ann))
    assert await turned_away(client, 4503) == f"origin {origin!r} is not allowed"


async def test_an_allowed_origin_or_none_comes_in(hub: RunningHub, ann: str, shop: str) -> None:
    for origin in (shop, "HTTPS://Shop.Example:443", None):
        client = await hub.connect(origin=origin)
        await client.send("auth", api_key=hub.api_key, token=hub.token(ann))
        assert (await client.next("welcome"))["user"] == ann


@alone
async def test_without_listed_origins_no_browser_comes_in(start_hub: StartHub) -> None:
    hub = await start_hub()
    client = await hub.connect(origin=f"http://127.0.0.1:{hub.port}")
    await client.send("auth", api_key=hub.api_key, token=hub.token("ann"))
    assert "is not allowed" in await turned_away(client, 4503)
    await until(lambda: not hub.hub.registry.sessions)
