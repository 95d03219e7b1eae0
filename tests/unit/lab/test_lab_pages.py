"""Pages: whole or not, and who pulls which."""

import json

import pytest

from proxy.lab.pages import THREADS, page_body, page_fault, pages_of_pod, shares


def test_page_is_itself() -> None:
    assert page_fault(page_body(3, 20), 3, 20) is None


def test_pages_share_no_record() -> None:
    ids = [record["id"] for page in range(5) for record in json.loads(page_body(page, 7))["records"]]
    assert ids == list(range(35))


def test_every_cut_is_noticed() -> None:
    body = page_body(2, 3)
    assert all(page_fault(body[:length], 2, 3) == "not JSON" for length in range(len(body)))


def altered(change: str) -> bytes:
    told = json.loads(page_body(2, 3))
    if change == "value":
        told["records"][1]["value"] = "00000000"
    elif change == "order":
        told["records"].reverse()
    elif change == "missing":
        told["records"].pop()
    else:
        told = [told]
    return json.dumps(told).encode()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("value", "wrong checksum"),
        ("order", "wrong checksum"),
        ("missing", "wrong checksum"),
        ("list", "another page"),
    ],
)
def test_altered_page_is_noticed(change: str, fault: str) -> None:
    assert page_fault(altered(change), 2, 3) == fault


def test_answer_to_another_question_is_noticed() -> None:
    """Crossed answers are the worst a proxy can do: another page, or another size, with a good checksum."""
    assert page_fault(page_body(4, 3), 2, 3) == "another page"
    assert page_fault(page_body(2, 4), 2, 3) == "wrong records"
    assert page_fault(b'{"error":"overflow"}', 2, 3) == "another page"


@pytest.mark.parametrize("pages", [1, 97, 98, 2000])
def test_every_page_is_pulled_by_exactly_one_pod(pages: int) -> None:
    pulled = [page for pod in range(8) for page in pages_of_pod(pod, pages, THREADS)]
    assert sorted(pulled) == list(range(pages))


def test_pod_pulls_in_proportion_to_its_threads_over_the_whole_range() -> None:
    """No pod gets only the deep pages."""
    for pod, threads in enumerate(THREADS):
        mine = pages_of_pod(pod, 9800, THREADS)
        assert len(mine) == threads * 100
        assert sum(mine) / len(mine) == pytest.approx(4900, rel=0.05)


def test_shares_add_up_and_are_in_proportion() -> None:
    assert shares(32, THREADS) == [2, 2, 3, 4, 4, 5, 6, 6]
    assert sum(shares(32, THREADS)) == 32
    assert shares(98, THREADS) == list(THREADS)


def test_share_is_at_least_one() -> None:
    """A sidecar needs a slot, even where eight of them are more than the upstream bears."""
    assert shares(3, THREADS) == [1] * 8
