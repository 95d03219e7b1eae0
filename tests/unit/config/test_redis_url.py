"""A URL that says where a Redis is: three forms, with TLS or without, and what is wrong with one."""

from __future__ import annotations

import pytest

from proxy.config.redis_url import RedisPlace, Topology, parse_redis_url


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://r", RedisPlace(Topology.STANDALONE, False, (("r", 6379),))),
        ("REDISS://r:7000/3", RedisPlace(Topology.STANDALONE, True, (("r", 7000),), db=3)),
        ("redis://[::1]:7000", RedisPlace(Topology.STANDALONE, False, (("::1", 7000),))),
        (
            "redis://us%40er:p%2Fa:ss@r/0",
            RedisPlace(Topology.STANDALONE, False, (("r", 6379),), user="us@er", password="p/a:ss"),
        ),
        ("redis://:p@r", RedisPlace(Topology.STANDALONE, False, (("r", 6379),), password="p")),
        ("redis://u@r", RedisPlace(Topology.STANDALONE, False, (("r", 6379),), user="u")),
        (
            "redis+sentinel://a,b:7000,[::1]/my-master/2",
            RedisPlace(
                Topology.SENTINEL,
                False,
                (("a", 26379), ("b", 7000), ("::1", 26379)),
                service="my-master",
                db=2,
            ),
        ),
        ("rediss+cluster://a,b:7000", RedisPlace(Topology.CLUSTER, True, (("a", 6379), ("b", 7000)))),
    ],
)
def test_the_parts_of_a_url(url: str, place: RedisPlace) -> None:
    assert parse_redis_url(url) == place


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "begins with"),
        ("redis:r", "begins with"),
        ("redis+other://r", "begins with"),
        ("redis://", "a host has the form"),
        ("redis://r:port", "a host has the form"),
        ("redis://r:0", "between 1 and 65535"),
        ("redis://r:65536", "between 1 and 65535"),
        ("redis://a,b", "several hosts"),
        ("redis://r/name", "the database is a number"),
        ("redis://r?db=1", "no query"),
        ("redis+sentinel://a", "needs the primary's name"),
        ("redis+cluster://a/1", "database 0 only"),
    ],
)
def test_what_is_no_url_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_redis_url(url)


def test_a_place_that_is_shown_shows_no_password() -> None:
    assert "hunter2" not in repr(parse_redis_url("redis://u:hunter2@r"))
