"""Who is speaking: every fault of a token and its answer, keys, roles and origins."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from hypothesis import given
from hypothesis import strategies as st

from hub import auth
from hub.auth import BadToken, check_origin, import_public, origin_allowed, permissions, revoked, secret_key
from hub.errors import Code, Refused
from hub.model import Channel, Claims, Project, SigningKey

NOW = 1_800_000_000.0
LEEWAY = 30


class Signer:
    """One key pair, and tokens made with it."""

    def __init__(self, algorithm: str) -> None:
        self.key, self.pem = auth.new_signing_key(algorithm)
        self.algorithm = algorithm

    def token(self, claims: dict[str, Any], **header: Any) -> str:
        return jwt.encode(claims, self.pem, self.algorithm, headers=header)

    def named(self, claims: dict[str, Any], **header: Any) -> str:
        return self.token(claims, kid=self.key.kid, **header)


RSA, EC, ED = Signer("RS256"), Signer("ES256"), Signer("EdDSA")
STRANGER = Signer("RS256")
GOOD = {"sub": "ann", "iat": NOW - 10, "exp": NOW + 600}


def project(*keys: SigningKey, **fields: Any) -> Project:
    return Project("acme", "Acme", "pk_acme", (Channel("c1", "inbox"),), signing_keys=keys, **fields)


ACME = project(RSA.key, EC.key, ED.key)


def verify(token: str, of: Project = ACME, *, require_exp: bool = False, now: float = NOW) -> Claims:
    return auth.verify(token, of, leeway_s=LEEWAY, require_exp=require_exp, now=now)


def refusal(token: str, of: Project = ACME, *, require_exp: bool = False) -> BadToken:
    with pytest.raises(BadToken) as caught:
        verify(token, of, require_exp=require_exp)
    assert caught.value.code is Code.INVALID_TOKEN
    return caught.value


def part(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], claims: Any = GOOD, secret: bytes | None = None) -> str:
    """A token that no library would make: HS256 with `secret`, or with an empty signature."""
    signed = f"{part(header)}.{part(claims)}"
    mac = b"" if secret is None else hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"


# ---- good tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("signer", [RSA, EC, ED], ids=lambda signer: signer.algorithm)
def test_a_token_of_a_project_key_tells_who_speaks(signer: Signer) -> None:
    claims = verify(signer.named(GOOD))
    assert claims == Claims("acme", "ann", issued_at=int(NOW) - 10, expires_at=NOW + 600)


@pytest.mark.parametrize("signer", [RSA, EC, ED], ids=lambda signer: signer.algorithm)
def test_a_token_without_kid_is_tried_against_keys_of_its_algorithm(signer: Signer) -> None:
    assert verify(signer.token(GOOD)).user == "ann"


def test_during_a_rotation_old_and_new_key_both_sign_with_and_without_kid() -> None:
    old, new = Signer("ES256"), Signer("ES256")
    both = project(old.key, new.key)
    for token in (old.token(GOOD), new.token(GOOD), old.named(GOOD), new.named(GOOD)):
        assert verify(token, both).user == "ann"


def test_of_five_keys_only_the_newest_four_are_tried_without_kid() -> None:
    signers = [Signer("ES256") for _ in range(5)]
    five = project(*(signer.key for signer in signers))
    for signer in signers[1:]:
        assert verify(signer.token(GOOD), five).user == "ann"
    assert refusal(signers[0].token(GOOD), five).message == "signature: does not verify with any of 4 keys"
    assert verify(signers[0].named(GOOD), five).user == "ann"


def test_keys_of_other_algorithms_and_retired_ones_do_not_use_up_the_tries() -> None:
    signer = Signer("EdDSA")
    others = [Signer("ES256").key for _ in range(5)]
    retired = [replace(Signer("EdDSA").key, retired_at="2026-01-01T00:00:00.000Z") for _ in range(5)]
    assert verify(signer.token(GOOD), project(signer.key, *others, *retired)).user == "ann"


def test_a_token_without_exp_passes_and_never_ends() -> None:
    assert verify(RSA.named({"sub": "ann"})) == Claims("acme", "ann", issued_at=None, expires_at=None)


def test_fractions_of_seconds_are_understood() -> None:
    claims = verify(RSA.named({"sub": "ann", "iat": NOW - 0.5, "exp": NOW + 0.5}))
    assert (claims.issued_at, claims.expires_at) == (int(NOW) - 1, NOW + 0.5)


def test_claims_that_mean_nothing_here_are_ignored() -> None:
    assert verify(RSA.named(GOOD | {"iss": "https://id.example", "name": "Ann", "jti": 7}, typ="at+jwt")).user == "ann"


# ---- the clock -----------------------------------------------------------------------------------------


def test_an_expired_token_is_the_only_fault_flagged_as_expired() -> None:
    refused = refusal(RSA.named(GOOD | {"exp": NOW - LEEWAY}))
    assert refused.expired
    assert "claim exp: expired at 2027-01-15T07:59:30.000Z" in refused.message
    assert not refusal(RSA.named({"sub": 5, "exp": NOW - 3600})).expired
    assert not refusal(STRANGER.token({"sub": "ann", "exp": NOW - 3600})).expired


def test_leeway_forgives_clocks_on_both_sides() -> None:
    verify(RSA.named({"sub": "ann", "exp": NOW - LEEWAY + 1}))
    verify(RSA.named({"sub": "ann", "nbf": NOW + LEEWAY, "iat": NOW + LEEWAY}))


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_from_the_future_is_not_yet_valid(claim: str) -> None:
    refused = refusal(RSA.named(GOOD | {claim: NOW + LEEWAY + 1}))
    assert refused.message == f"claim {claim}: not valid before 2027-01-15T08:00:31.000Z"
    assert not refused.expired


def test_without_a_given_time_the_clock_of_this_moment_counts() -> None:
    old, fresh = RSA.named({"sub": "ann", "exp": 1_700_000_000}), RSA.named({"sub": "ann", "exp": 5_000_000_000})
    assert auth.verify(fresh, ACME, leeway_s=LEEWAY, require_exp=False).user == "ann"
    with pytest.raises(BadToken, match="expired"):
        auth.verify(old, ACME, leeway_s=LEEWAY, require_exp=False)


def test_a_missing_exp_is_refused_where_it_is_required() -> None:
    assert "claim exp: missing" in refusal(RSA.named({"sub": "ann", "iat": NOW}), require_exp=True).message
    assert verify(RSA.named(GOOD), require_exp=True).user == "ann"


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", ["1800000600", None, True, [], float("nan"), float("inf"), -1, 10**400, NOW * 1000], ids=repr
)
def test_times_are_finite_numbers_of_seconds(claim: str, value: Any) -> None:
    refused = refusal(RSA.named({"sub": "ann", claim: value}))
    assert refused.message.startswith(f"claim {claim}: not a number of seconds")
    assert not refused.expired


# ---- who it is about -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sub", [None, 7, ["ann"], "", "a" * 257, "an\nn", "an\x7fn", "an\udc80n"], ids=repr)
def test_a_sub_that_is_no_user_name_is_refused(sub: Any) -> None:
    assert refusal(RSA.named({"sub": sub})).message.startswith("claim sub: ")


def test_a_missing_sub_is_refused() -> None:
    assert refusal(RSA.named({"exp": NOW + 60})).message == "claim sub: missing or not a string"


def test_a_sub_of_256_characters_of_any_script_is_accepted() -> None:
    assert verify(RSA.named({"sub": "你" * 256})).user == "你" * 256


def test_a_token_for_another_audience_is_refused() -> None:
    assert "claim aud" in refusal(RSA.named(GOOD | {"aud": "https://other.example"})).message


# ---- forged and foreign tokens -------------------------------------------------------------------------

RETIRED = project(replace(RSA.key, retired_at="2026-01-01T00:00:00.000Z"), EC.key)
OTHER_TENANT = project(STRANGER.key)
STRANGERS_JWK = jwt.get_algorithm_by_name("RS256").to_jwk(
    serialization.load_pem_private_key(STRANGER.pem.encode(), None).public_key(), as_dict=True
)
FAULTS: dict[str, tuple[str, str]] = {
    "empty": ("", "no token"),
    "not three parts": ("abc.def", "three parts"),
    "four parts": (RSA.named(GOOD) + ".e30", "three parts"),
    "foreign letters": ("ä.ö.ü", "three parts"),
    "lone surrogate": ("\udc80.a.b", "three parts"),
    "header not base64": ("!.e30.", "header: not base64url of JSON"),
    "header not JSON": (f"{part('{')}.e30.", "header: not base64url of JSON"),
    "header nested deep": (f"{part('[' * 100_000)}.e30.", "header: not base64url of JSON"),
    "header a list": (f"{part('[]')}.e30.", "header: not a JSON object"),
    "header without alg": (by_hand({"typ": "JWT"}), "algorithm unknown, expected ES256 or EdDSA or RS256"),
    "header with a list as alg": (by_hand({"alg": ["RS256"]}), "algorithm unknown, expected"),
    "alg none": (by_hand({"alg": "none"}), "algorithm none, expected ES256 or EdDSA or RS256"),
    "alg none with kid": (by_hand({"alg": "none", "kid": RSA.key.kid}), "algorithm none, expected RS256"),
    "alg nOnE": (by_hand({"alg": "nOnE"}), "algorithm unknown, expected"),
    "HS256 with the public key": (
        by_hand({"alg": "HS256"}, secret=RSA.key.public_pem.encode()),
        "algorithm HS256, expected ES256 or EdDSA or RS256",
    ),
    "HS256 with the public key and kid": (
        by_hand({"alg": "HS256", "kid": RSA.key.kid}, secret=RSA.key.public_pem.encode()),
        "algorithm HS256, expected RS256",
    ),
    "another algorithm of the same key": (
        jwt.encode(GOOD, RSA.pem, "PS256", headers={"kid": RSA.key.kid}),
        "algorithm PS256, expected RS256",
    ),
    "ES256 under the kid of an RSA key": (EC.token(GOOD, kid=RSA.key.kid), "algorithm ES256, expected RS256"),
    "EdDSA under the kid of an EC key": (ED.token(GOOD, kid=EC.key.kid), "algorithm EdDSA, expected ES256"),
    "claims RS256, signed with ES256": (
        f"{part({'alg': 'RS256', 'kid': RSA.key.kid})}.{EC.token(GOOD).partition('.')[2]}",
        "signature: does not verify with key",
    ),
    "other key": (STRANGER.token(GOOD), "signature: does not verify with key"),
    "other key under a good kid": (STRANGER.token(GOOD, kid=RSA.key.kid), "signature: does not verify with key"),
    "another project's key": (STRANGER.named(GOOD), "no live key of the project has it"),
    "unknown kid": (RSA.token(GOOD, kid="nobody"), "kid 'nobody': no live key of the project has it"),
    "kid with a path": (RSA.token(GOOD, kid="../../x"), "kid: not 1-64 characters"),
    "kid null": (by_hand({"alg": "RS256", "kid": None}), "kid: not 1-64 characters"),
    "kid a list": (by_hand({"alg": "RS256", "kid": ["a"]}), "kid: not 1-64 characters"),
    "jku": (RSA.named(GOOD, jku="https://evil.example/jwks"), "header jku: not followed"),
    "own jwk": (STRANGER.token(GOOD, jwk=STRANGERS_JWK), "header jwk: not followed"),
    "x5u": (RSA.named(GOOD, x5u="https://evil.example/cert"), "header x5u: not followed"),
    "x5c": (RSA.named(GOOD, x5c=["MIIB"]), "header x5c: not followed"),
    "crit": (RSA.named(GOOD, crit=["b64"]), "header crit: not followed"),
    "detached payload": (by_hand({"alg": "RS256", "b64": False}), "signature: does not verify"),
    "changed claims": (
        ".".join((RSA.named(GOOD).split(".")[0], part(GOOD | {"sub": "eve"}), RSA.named(GOOD).split(".")[2])),
        "signature: does not verify with key",
    ),
    "no signature": (RSA.named(GOOD).rpartition(".")[0] + ".", "signature: does not verify with key"),
}


@pytest.mark.parametrize(("token", "message"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_token_is_refused_by_what_is_wrong_with_it(token: str, message: str) -> None:
    refused = refusal(token)
    assert message in refused.message
    assert not refused.expired


@pytest.mark.parametrize("token", [token for token, _ in FAULTS.values()], ids=FAULTS)
def test_a_refusal_repeats_no_part_of_the_token(token: str) -> None:
    refused = refusal(token)
    shown = f"{refused.message} {refused.details}"
    assert not [piece for piece in token.split(".") if len(piece) > 3 and piece in shown]
    # A chained decoder error would carry the text into a traceback.
    assert refused.__cause__ is None
    assert refused.__context__ is None or refused.__suppress_context__


def test_a_retired_key_signs_nothing_any_more() -> None:
    assert "no live key of the project has it" in refusal(RSA.named(GOOD), RETIRED).message
    assert refusal(RSA.token(GOOD), RETIRED).message == "algorithm RS256, expected ES256"


def test_a_key_of_another_project_signs_only_for_that_one_even_under_the_same_kid() -> None:
    here, there = project(replace(RSA.key, kid="main")), project(replace(STRANGER.key, kid="main"))
    assert verify(STRANGER.token(GOOD, kid="main"), there).user == "ann"
    assert "signature" in refusal(STRANGER.token(GOOD, kid="main"), here).message


def test_a_project_without_signing_keys_has_no_users() -> None:
    assert refusal(RSA.named(GOOD), project()).message == "the project has no signing key"


@pytest.mark.parametrize(
    ("claims", "message"),
    [(b"[]", "claims: not a JSON object"), (b"{", "claims: not JSON"), (b"\xff", "claims: not JSON")],
)
def test_signed_claims_that_are_no_object_are_refused(claims: bytes, message: str) -> None:
    token = jwt.PyJWS().encode(claims, RSA.pem, "RS256", headers={"kid": RSA.key.kid})
    assert refusal(token).message == message


def test_claims_nested_too_deep_are_refused() -> None:
    token = jwt.PyJWS().encode(b"[" * 100_000, EC.pem, "ES256", headers={"kid": EC.key.kid})
    assert refusal(token).message == "claims: not JSON"


@given(st.text(), st.recursive(st.none() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2)))
def test_whatever_is_sent_as_a_token_ends_as_a_refusal(text: str, value: Any) -> None:
    for token in (text, f"{text}.{text}.{text}", by_hand({"alg": value, "kid": value}), by_hand({"alg": value})):
        assert refusal(token).code is Code.INVALID_TOKEN


# ---- revoked users -------------------------------------------------------------------------------------


def claims_issued(at: int | None) -> Claims:
    return Claims("acme", "ann", at, None)


def test_a_user_never_revoked_needs_no_iat() -> None:
    assert not revoked(claims_issued(None), None)
    assert not revoked(claims_issued(5), None)


def test_after_a_revoke_only_tokens_issued_since_then_pass() -> None:
    assert revoked(claims_issued(99), 100)
    assert not revoked(claims_issued(100), 100)


def test_after_a_revoke_a_token_without_iat_is_refused() -> None:
    claims = verify(RSA.named({"sub": "ann"}))
    assert not revoked(claims, None)
    assert revoked(claims, 1)


# ---- making keys and tokens ----------------------------------------------------------------------------


@pytest.mark.parametrize("signer", [RSA, EC, ED], ids=lambda signer: signer.algorithm)
def test_a_minted_token_passes_until_its_time_is_over(signer: Signer) -> None:
    token = auth.sign("ann", signer.pem, signer.key.kid, signer.algorithm, 60, NOW)
    assert verify(token) == Claims("acme", "ann", int(NOW), NOW + 60)
    with pytest.raises(BadToken, match="expired"):
        verify(token, now=NOW + 60 + LEEWAY)


def test_minting_refuses_bad_input_without_repeating_the_key() -> None:
    for user, pem, algorithm, ttl in [
        ("", RSA.pem, "RS256", 60),
        ("ann", RSA.pem, "HS256", 60),
        ("ann", RSA.pem, "RS256", 0),
        ("ann", RSA.pem, "ES256", 60),
        ("ann", RSA.pem, "EdDSA", 60),
        ("ann", EC.pem, "RS256", 60),
        ("ann", RSA.key.public_pem, "RS256", 60),
        ("ann", EC.key.public_pem, "ES256", 60),
        ("ann", "sesame", "RS256", 60),
    ]:
        with pytest.raises(Refused) as caught:
            auth.sign(user, pem, "k1", algorithm, ttl, NOW)
        assert caught.value.code is Code.INVALID_REQUEST
        assert "BEGIN" not in caught.value.message


def test_a_new_signing_key_is_rsa_2048_with_a_fresh_id_unless_asked_otherwise() -> None:
    private = serialization.load_pem_private_key(RSA.pem.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.key_size == 2048
    assert RSA.pem.startswith("-----BEGIN PRIVATE KEY-----")
    assert len({RSA.key.kid, STRANGER.key.kid, EC.key.kid, ED.key.kid}) == 4
    assert "PRIVATE" not in RSA.key.public_pem
    with pytest.raises(Refused, match="'HS256' is not one of RS256, ES256, EdDSA"):
        auth.new_signing_key("HS256")


# ---- registering public keys ---------------------------------------------------------------------------


def pem_of(private: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def jwk_of(signer: Signer) -> dict[str, Any]:
    public = serialization.load_pem_public_key(signer.key.public_pem.encode())
    return dict(jwt.get_algorithm_by_name(signer.algorithm).to_jwk(public, as_dict=True))


@pytest.mark.parametrize("signer", [RSA, EC, ED], ids=lambda signer: signer.algorithm)
def test_a_public_key_is_taken_from_pem_and_from_jwk(signer: Signer) -> None:
    for text in (signer.key.public_pem, json.dumps(jwk_of(signer)), "\n " + json.dumps(jwk_of(signer), indent=1)):
        key = import_public(text, "main")
        assert (key.kid, key.algorithm, key.retired_at) == ("main", signer.algorithm, None)
        assert verify(signer.token(GOOD, kid="main"), project(key)).user == "ann"


def test_the_id_is_the_given_one_else_the_jwks_else_the_thumbprint() -> None:
    jwk = jwk_of(RSA) | {"kid": "of-the-jwk"}
    assert import_public(json.dumps(jwk), "given").kid == "given"
    assert import_public(json.dumps(jwk), None).kid == "of-the-jwk"
    del jwk["kid"]
    assert import_public(json.dumps(jwk), None).kid == import_public(RSA.key.public_pem, None).kid


def test_the_thumbprint_is_the_one_of_rfc_7638() -> None:
    """The example of RFC 7638, section 3.1."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256"}
    assert import_public(json.dumps(jwk), None).kid == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


PRIVATE_JWK = json.dumps(
    jwt.get_algorithm_by_name("ES256").to_jwk(serialization.load_pem_private_key(EC.pem.encode(), None), as_dict=True)
)
REFUSED_KEYS = {
    "private PEM": (RSA.pem, "a private key; send its public half only"),
    "private JWK": (PRIVATE_JWK, "a private key; send its public half only"),
    "shared secret": (json.dumps({"kty": "oct", "k": "c2VzYW1l"}), "shared secrets cannot be used"),
    "RSA 1024": (pem_of(rsa.generate_private_key(65537, 1024)), "RSA of 1024 bits"),
    "RSA above 8192": (
        json.dumps({"kty": "RSA", "e": "AQAB", "n": urlsafe_b64encode(b"\xff" * 1025).rstrip(b"=").decode()}),
        "RSA of 8200 bits; accepted are RSA of 2048-8192 bits",
    ),
    "P-384": (pem_of(ec.generate_private_key(ec.SECP384R1())), "EC secp384r1"),
    "secp256k1": (pem_of(ec.generate_private_key(ec.SECP256K1())), "EC secp256k1"),
    "Ed448": (pem_of(ed448.Ed448PrivateKey.generate()), "another kind of key"),
    "not on the curve": (json.dumps(jwk_of(EC) | {"x": jwk_of(EC)["y"]}), "cannot be read as a EC public key"),
    "other alg": (json.dumps(jwk_of(RSA) | {"alg": "RS512"}), "the JWK's alg is not RS256"),
    "for encryption": (json.dumps(jwk_of(RSA) | {"use": "enc"}), "the JWK's use is not sig"),
    "key set": (json.dumps({"keys": [jwk_of(RSA)]}), "of a key set, send one key"),
    "list": ("[]", "not one JWK"),
    "half a JWK": (json.dumps({"kty": "RSA", "e": "AQAB"}), "cannot be read as a RSA public key"),
    "numbers in a JWK": (json.dumps({"kty": "RSA", "e": 3, "n": 5}), "cannot be read as a RSA public key"),
    "broken JSON": ("{", "neither PEM nor JSON"),
    "empty": ("", "cannot be read as a public key"),
    "broken PEM": (RSA.key.public_pem[:100], "cannot be read as a public key"),
    "too long": ("x" * 16_385, "16385 characters, at most 16384"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED_KEYS.values(), ids=REFUSED_KEYS)
def test_keys_that_cannot_be_trusted_with_users_are_refused(text: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        import_public(text, "main")
    assert caught.value.code is Code.INVALID_REQUEST
    assert message in caught.value.message
    assert caught.value.details["fields"][0]["field"] == "public_key"


@pytest.mark.parametrize("kid", ["", "a" * 65, "../../x", "a b", "ключ", "a\n"])
def test_a_key_id_is_a_plain_word(kid: str) -> None:
    with pytest.raises(Refused, match=r"^kid: not 1-64 characters"):
        import_public(RSA.key.public_pem, kid)
    with pytest.raises(Refused, match=r"^kid: not 1-64 characters"):
        import_public(json.dumps(jwk_of(RSA) | {"kid": kid}), None)


# ---- secret keys ---------------------------------------------------------------------------------------


def test_a_secret_key_is_kept_only_as_digest_and_last_characters() -> None:
    key, secret = auth.new_secret_key("sender")
    assert secret.startswith("sk_")
    assert len(secret) >= len("sk_") + 32
    assert key.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert key.redacted == f"sk_…{secret[-4:]}"
    assert secret not in repr(key)
    assert auth.new_secret_key("sender")[1] != secret


def test_a_secret_is_recognised_by_its_own_project_only_until_it_is_retired() -> None:
    (first, secret), (second, other) = auth.new_secret_key("owner"), auth.new_secret_key("reader")
    acme = project(secret_keys=(first, second))
    assert secret_key(acme, secret) == first
    assert secret_key(acme, other) == second
    assert secret_key(project(), secret) is None
    assert secret_key(acme, secret[:-1]) is None
    assert secret_key(acme, first.digest) is None
    retired = project(secret_keys=(replace(first, retired_at="2026-01-01T00:00:00.000Z"), second))
    assert secret_key(retired, secret) is None
    assert secret_key(retired, other) == second


def test_roles_allow_what_the_documents_say() -> None:
    assert permissions("owner") == {"messaging:read", "messaging:update", "alerts:create", "admin"}
    assert permissions("sender") == {"alerts:create"}
    assert permissions("reader") == {"messaging:read"}
    assert permissions("support") == {"messaging:read", "messaging:update"}


def test_a_role_may_be_a_list_of_permissions() -> None:
    assert permissions("messaging:read, alerts:create") == {"messaging:read", "alerts:create"}
    assert auth.new_secret_key("admin")[0].role == "admin"


@pytest.mark.parametrize("role", ["", "root", "owner,sender", "messaging:read,", "messaging:*"])
def test_unknown_roles_are_refused(role: str) -> None:
    with pytest.raises(Refused, match="is not one of owner, sender, reader, support, messaging:read"):
        permissions(role)
    with pytest.raises(Refused):
        auth.new_secret_key(role)


# ---- origins -------------------------------------------------------------------------------------------

SITE = project(
    origins=(
        "https://app.example.com",
        "https://kit.example.com",
        "https://dev.example.com:8443",
        "http://localhost:3000",
    )
)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "https://app.example.com",
        "https://APP.Example.com",
        "https://app.example.com:443",
        "https://dev.example.com:8443",
        "http://localhost:3000",
    ],
)
def test_browsers_of_listed_origins_and_programs_without_one_may_come(origin: str | None) -> None:
    assert origin_allowed(SITE, origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://dev.example.com",
        "https://example.com",
        "https://evil.app.example.com",
        "https://app.example.com.evil.com",
        "https://app.example.com/",
        "https://app.example.com@evil.com",
        "https://app.example.com\n",
        "http://localhost",
        "https://app.example.com:",
        "https://\u212ait.example.com",
    ],
)
def test_all_other_browsers_are_turned_away(origin: str) -> None:
    assert not origin_allowed(SITE, origin)


def test_a_project_without_origins_lets_no_browser_in() -> None:
    assert not origin_allowed(project(), "https://app.example.com")
    assert origin_allowed(project(), None)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("https://App.Example.com", "https://app.example.com"),
        ("HTTPS://app.example.com:443", "https://app.example.com"),
        ("https://app.example.com:08443", "https://app.example.com:8443"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("https://[2001:DB8::1]:9000", "https://[2001:db8::1]:9000"),
    ],
)
def test_an_origin_is_stored_as_browsers_send_it(text: str, stored: str) -> None:
    assert check_origin(text) == stored
    assert origin_allowed(project(origins=(stored,)), text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "null",
        "app.example.com",
        "https://",
        "https://*.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?x=1",
        "https://app.example.com#x",
        "https://ann:pw@app.example.com",
        "https://app..example.com",
        "https://app.example.com:0",
        "https://app.example.com:65536",
        "https://app.example.com:x",
        "https://[::zz]",
        "https://münchen.example",
        "https://a b",
        "ftp://app.example.com",
        "file://",
        "http://app.example.com",
        "http://localhost.example.com",
        "http://127.0.0.2",
    ],
)
def test_what_is_no_safe_origin_is_refused_by_name(text: str) -> None:
    with pytest.raises(Refused) as caught:
        check_origin(text)
    assert caught.value.code is Code.INVALID_REQUEST
    assert repr(text) in caught.value.message


def test_pages_of_this_machine_are_told_apart() -> None:
    for origin in ("http://localhost:8080", "https://127.0.0.1", "http://[::1]:3000"):
        assert auth.loopback_origin(origin)
    for origin in ("null", "https://localhost.example.com", "http://127.0.0.1.example.com", "http://10.0.0.1"):
        assert not auth.loopback_origin(origin)
