"""Sources that fail or give what cannot be published: what readers have stays, and everybody is told why."""

from __future__ import annotations

import json

import pytest

from tests.processes.site import Site

MODES = {
    "raise": "OSError: the source is away",
    "none": "EncodeError: load() of dataset 'prices' returned None; expected a mapping or an iterable of (key, row)",
    "models": "EncodeError: load() of dataset 'prices' gave shop.datasets.Model as item 1; expected a (key, row) pair",
    "no pairs": "EncodeError: load() of dataset 'prices' gave builtins.str as item 1; expected a (key, row) pair",
    "duplicates": "DuplicateKey: load() of dataset 'prices' gave the key 'a' twice",
    "empty": "ValidationFailed: MinRows: 0 rows, and at least 1 are required",
}


@pytest.mark.files_only("what a source does wrong is found before a store is asked")
def test_whatever_is_wrong_with_the_source_the_old_version_stays(site: Site) -> None:
    reader = site.agent()
    site.publish()
    before = site.state()
    records = site.stored()
    for failures, (mode, error) in enumerate(MODES.items(), start=1):
        site.mode(mode)
        result = site.refresh("--force")
        assert (result["code"], result["outcome"], result["version"]) == (1, "failed", 1)
        assert result["error"].startswith(error)
        state = site.state()
        assert state.attempt is not None
        assert (state.attempt.failures, state.attempt.error) == (failures, result["error"])
        assert (state.current_revision, state.checked) == (before.current_revision, before.checked)
    assert site.stored() == records
    assert reader.ask("read")["rows"] == {"a": 1, "b": {"price": 2}, "c": [3]}


@pytest.mark.files_only("what a source does wrong is found before a store is asked")
def test_the_error_for_a_row_that_cannot_be_stored_names_its_key_the_place_and_the_type(site: Site) -> None:
    site.mode("unencodable")
    ended = site.run("etcdaero_refresh")
    assert ended.code == 1
    for part in ("prices: failed, no version yet: EncodeError: ", "'odd one'", "['inside'][0]", "shop.datasets.Model"):
        assert part in ended.output


def test_a_failure_holds_all_nodes_back_until_somebody_forces_a_load(site: Site) -> None:
    site.publish()
    site.mode("raise")
    for _ in range(3):  # one failure holds back for 5 seconds only, which a busy machine may need for what follows
        failed = site.run("etcdaero_refresh", "--force")
        assert failed.code == 1
        assert "prices: failed, version 1 stays: OSError: the source is away" in failed.output
        assert "OSError" in failed.errors  # an error of the source is logged with its traceback

    (told,) = site.status()["datasets"]
    assert told["failure"]["error"] == "OSError: the source is away"
    assert told["failure"]["failures"] == 3
    assert told["held_back_until"] > told["failure"]["at"]
    text = site.run("etcdaero_status")
    assert text.code == 0
    assert "(3 in a row): OSError: the source is away" in text.output

    loads = len(site.loads())
    other = site.refresh()
    assert (other["code"], other["outcome"], other["version"]) == (0, "backoff", 1)
    assert "OSError: the source is away" in other["error"]
    assert len(site.loads()) == loads

    site.mode("")
    forced = site.refresh("--force")
    assert (forced["code"], forced["outcome"]) == (0, "unchanged")
    (told,) = site.status()["datasets"]
    assert (told["failure"], told["held_back_until"]) == (None, None)
    assert site.refresh()["outcome"] == "fresh"


def test_a_first_load_that_fails_leaves_nothing_but_the_reason(site: Site) -> None:
    reader = site.agent(SHOP_PATIENCE="0.5")
    site.mode("raise")
    assert site.run("etcdaero_refresh").code == 1
    assert reader.ask("read")["raised"] == "DatasetNotReady"
    (told,) = json.loads(site.run("etcdaero_status", "--json").output)["datasets"]
    assert (told["version"], told["current"]) == (None, None)
    assert told["failure"]["error"] == "OSError: the source is away"
    assert site.stored() == {}
