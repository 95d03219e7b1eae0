"""A login that an upstream ties to a connection (NTLM, Negotiate) stays with the app's connection that made it."""

from __future__ import annotations

import pytest

from tests.fakes.house import House
from tests.fakes.loop import run, until
from tests.fakes.origin import Asked, Line, Origin, answer


class Door:
    """Remembers who logged in on which connection, as a server does that speaks NTLM."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}

    async def __call__(self, line: Line, asked: Asked) -> None:
        said = (asked.header("authorization") or "").split()
        if len(said) == 2 and said[1] != "first":
            self.known[line.number] = said[1]
        who = self.known.get(line.number)
        if who is None:
            await line.send(answer(401, b"who?", ["WWW-Authenticate: NTLM"]))
        else:
            await line.send(answer(200, who.encode()))


@pytest.mark.parametrize("scheme", ["NTLM", "Negotiate", "ntlm"])
def test_a_login_serves_the_app_that_made_it_and_nobody_else(scheme: str) -> None:
    async def trace() -> None:
        async with House(Origin(then=Door()), retry={"attempts": 1}) as house:
            alice, bob = await house.app(), await house.app()
            assert (await alice.get("/", f"Authorization: {scheme} first")).status == 401
            assert (await alice.get("/", f"Authorization: {scheme} alice")).body == b"alice"
            assert (await alice.get("/")).body == b"alice"
            assert (await bob.get("/")).status == 401
            assert (await bob.get("/", f"Authorization: {scheme} bob")).body == b"bob"
            assert (await alice.get("/")).body == b"alice"
            assert (await bob.get("/")).body == b"bob"
            alice.close()
            await until(lambda: house.sidecar.pool.open_count == 2, "her connection is gone with her")
            assert (await (await house.app()).get("/")).status == 401
            bob.close()
            await until(lambda: house.sidecar.pool.open_count == 1, "and his with him")

    run(trace())


def test_a_bearer_token_ties_nothing() -> None:
    async def trace() -> None:
        async with House(Origin()) as house:
            for _ in range(3):
                assert (await house.get("/", "Authorization: Bearer abc")).status == 200
            assert house.sidecar.pool.open_count == house.sidecar.pool.idle_count == 1

    run(trace())
