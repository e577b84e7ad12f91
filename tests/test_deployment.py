"""Units and manifests of the documentation are what systemd and Kubernetes take, as far as it can be told here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages import DOCS, examples

DEPLOYMENT = DOCS / "deployment.rst"
SRV = "/srv/shop/.venv/bin/"
MANIFESTS = [yaml.safe_load(each.text) for each in examples(DEPLOYMENT) if each.kind == "yaml"]


def units() -> dict[str, str]:
    """Return the units by the names that the page gives them."""
    names = re.findall(r"``/etc/systemd/system/([\w-]+\.(?:service|timer))``:", DEPLOYMENT.read_text())
    return dict(zip(names, (each.text for each in examples(DEPLOYMENT) if each.kind == "ini"), strict=True))


def test_each_unit_is_of_the_kind_that_its_name_says() -> None:
    assert units()
    for name, text in units().items():
        assert ("[Service]" in text, "[Timer]" in text) == (name.endswith("service"), name.endswith("timer"))
        assert "WatchdogSec" not in text  # nobody would answer it
        assert "Type=notify" not in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python", "gunicorn"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    paths = []
    for name, text in units().items():
        paths.append(tmp_path / name)
        paths[-1].write_text(text.replace(SRV, f"{programs}/"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "shop" in line]
    assert ours == []


def pods() -> dict[str, Any]:
    """Return the specs of pods by the names of what makes them."""
    found = {}
    for each in MANIFESTS:
        spec = each["spec"]["jobTemplate"]["spec"] if each["kind"] == "CronJob" else each.get("spec")
        if spec is not None:
            found[f"{each['kind']}/{each['metadata']['name']}"] = spec["template"]["spec"]
    return found


def test_each_manifest_says_what_it_is() -> None:
    kinds = {"Secret": "v1", "Deployment": "apps/v1", "CronJob": "batch/v1"}
    assert {each["kind"]: each["apiVersion"] for each in MANIFESTS} == kinds
    assert all(each["metadata"]["name"] for each in MANIFESTS)


def test_deployments_select_their_own_pods_and_leave_time_to_end() -> None:
    deployments = [each["spec"] for each in MANIFESTS if each["kind"] == "Deployment"]
    for spec in deployments:
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= 10
    assert len(deployments) == 2


def test_probes_mounts_and_secrets_name_what_there_is() -> None:
    (secret,) = (each for each in MANIFESTS if each["kind"] == "Secret")
    for spec in pods().values():
        volumes = {each["name"] for each in spec.get("volumes", ())}
        for container in spec["containers"]:
            ports = {each["name"] for each in container.get("ports", ())}
            for name, probe in container.items():
                if name.endswith("Probe"):
                    (how,) = (probe[each] for each in ("httpGet", "tcpSocket") if each in probe)
                    assert how["port"] in ports
            mounts = container.get("volumeMounts", ())
            assert {each["name"] for each in mounts} == volumes
            assert [each["secretRef"]["name"] for each in container["envFrom"]] == [secret["metadata"]["name"]]
            set_here = {each["name"]: each["value"] for each in container["env"]}
            assert {"ETCDAERO_KV", "ETCDAERO_RECORDS", "ETCDAERO_PREFIX"} <= set(set_here)
            assert "@" not in "".join(set_here.values())  # no password where everybody can read it


def test_settings_from_the_manifests_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.test import override_settings

    from django_etcdaero import conf

    (secret,) = (each for each in MANIFESTS if each["kind"] == "Secret")
    for spec in pods().values():
        given = {each["name"]: each["value"] for each in spec["containers"][0]["env"]} | secret["stringData"]
        with monkeypatch.context() as patch, override_settings(ETCDAERO={}):
            for name, value in given.items():
                patch.setenv(name, value)
            assert conf.problems() == ()
