"""API keys, ``ck_ID_SECRET`` with only the secret's SHA-256 kept, and who a request is from.

The secret holds 256 random bits, so a plain digest is as good as a slow one. Without any key the
service answers to loopback alone, and everybody there is the tenant ``local``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.engine import Engine

from crackseg.errors import ConfigError, DataError
from service.database import keys, now
from service.errors import Problem
from service.names import clean_text
from service.settings import LOOPBACK, Settings

SCOPES = ("read", "write", "metrics")
COOKIE = "crackseg_key"
_FORM = re.compile(r"ck_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_DUMMY = hashlib.sha256(b"no such key").hexdigest()
SAFE = ("GET", "HEAD", "OPTIONS")  # methods that change nothing


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request is from."""

    tenant: str
    key_id: str
    scopes: frozenset[str]


LOCAL = Caller("local", "local", frozenset(SCOPES))


def add(engine: Engine, tenant: str, name: str, scopes: tuple[str, ...]) -> str:
    """Make a key and return it; it cannot be shown again.

    Raises:
        ConfigError: a scope or the tenant's name is not allowed.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", tenant):
        raise ConfigError(
            f"`tenant` must be up to 63 letters a-z, digits and hyphens, got `{tenant}`."
        )
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong or not scopes:
        raise ConfigError(f"`scopes` must be some of {', '.join(SCOPES)}, got {wrong or 'none'}.")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = {
        "id": key_id,
        "tenant": tenant,
        "name": clean_text(name),  # it stands on papers beside what its owner said
        "secret_sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "scopes": " ".join(scopes),
        "created_at": now(),
    }
    with engine.begin() as db:
        db.execute(keys.insert().values(row))
    return f"ck_{key_id}_{secret}"


def revoke(engine: Engine, key_id: str) -> None:
    """Make a key invalid from now on.

    Raises:
        DataError: there is no such valid key.
    """
    with engine.begin() as db:
        query = keys.update().where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        if not db.execute(query.values(revoked_at=now())).rowcount:
            raise DataError(f"there is no valid key `{key_id}`; see `crackseg keys list`.")


def list_keys(engine: Engine) -> list[sa.Row[tuple[str, ...]]]:
    """Return all keys, without anything secret."""
    columns = [keys.c[n] for n in ("id", "tenant", "name", "scopes", "created_at", "revoked_at")]
    with engine.connect() as db:
        return list(db.execute(sa.select(*columns).order_by(keys.c.created_at)))


def any_key(engine: Engine) -> bool:
    """Return whether keys are in use: with one, nobody gets in without."""
    with engine.connect() as db:
        return db.scalar(sa.select(keys.c.id).limit(1)) is not None


def verify(engine: Engine, key: str) -> Caller | None:
    """Return whom a key belongs to, or None; an unknown id takes as long as a wrong secret."""
    match = _FORM.fullmatch(key)
    key_id, secret = match.groups() if match else ("", "")
    with engine.connect() as db:
        row = db.execute(sa.select(keys).where(keys.c.id == key_id)).one_or_none()
    expected = row.secret_sha256 if row else _DUMMY
    right = hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), expected)
    if not right or row is None or row.revoked_at:
        return None
    return Caller(row.tenant, row.id, frozenset(row.scopes.split()))


bearer = HTTPBearer(
    auto_error=False, description="`Authorization: Bearer ck_…`, made by `crackseg keys add`."
)


def identify(request: Request) -> Caller:
    """Return whom a request is from.

    Raises:
        Problem: 401 no or a wrong key; 403 another host name where no key protects.
    """
    before: Caller | None = getattr(request.state, "caller", None)
    if before is not None:  # looked at before the body was taken
        return before
    engine: Engine = request.app.state.engine
    header = request.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")
    caller = verify(engine, key) if key else None
    if caller is None and not key and not header and not any_key(engine):
        _require_known_host(request)
        caller = LOCAL
    if caller is None:
        detail = "A valid key is needed: `Authorization: Bearer ck_…`."
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
    request.state.tenant = caller.tenant
    request.state.caller = caller
    return caller


def reader(request: Request, _: object = Depends(bearer)) -> Caller:
    """Return the caller, who must have the scope ``read``."""
    return _require(identify(request), "read")


def writer(request: Request, _: object = Depends(bearer)) -> Caller:
    """Return the caller, who must have the scope ``write``."""
    return _require(identify(request), "write")


def watcher(request: Request, _: object = Depends(bearer)) -> Caller:
    """Return the caller, who must have the scope ``metrics``."""
    return _require(identify(request), "metrics")


def _require(caller: Caller, scope: str) -> Caller:
    if scope not in caller.scopes:
        raise Problem(403, "forbidden", f"This key lacks the scope `{scope}`.")
    return caller


def refuse_foreign_page(request: Request) -> None:
    """Refuse what a browser sends on behalf of another site (its cookie may come along).

    Browsers say themselves whether a page sends to its own site, which holds behind any proxy; they
    do so on https and on this machine. Elsewhere the page's origin must be the host asked for, or
    one of ``allowed_hosts``.

    Raises:
        Problem: 403.
    """
    relation = request.headers.get("sec-fetch-site", "")
    origin = request.headers.get("origin")
    if relation == "same-origin":
        return
    if relation in ("", "none"):
        place = (origin or "").partition("://")[2]
        settings: Settings = request.app.state.settings
        if origin is None or place == request.headers.get("host", ""):
            return
        if {place, place.rpartition(":")[0]} & set(settings.allowed_hosts):
            return
    detail = "A page of another site may not send this; behind a proxy, let it keep the `Host`."
    raise Problem(403, "foreign-origin", detail)


def _require_known_host(request: Request) -> None:
    """Refuse a foreign Host header where no key protects: a web page may point its name at us."""
    settings: Settings = request.app.state.settings
    host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    hosts = {*LOOPBACK, "[::1]", settings.host, *settings.allowed_hosts}
    if host not in hosts:
        raise Problem(403, "unknown-host", "The service does not go by this host name.")
