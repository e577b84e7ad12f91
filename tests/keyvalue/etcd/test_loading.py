"""The package etcd3 is imported next to any protobuf, whoever else has touched it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.keyvalue.etcd.test_life import run

OPEN = """
from django_etcdaero.exceptions import ConfigurationError
try:
    from django_etcdaero.keyvalue.etcd import EtcdEngine
except ConfigurationError as error:
    print(error)
"""
LOAD = """
from django_etcdaero.keyvalue.etcd.messages.loading import load_etcd3
"""


def test_it_is_the_real_package() -> None:
    done = run(
        LOAD + "module = load_etcd3(); assert load_etcd3() is module; print(module.__file__, module.__version__)",
        options=("-W", "error"),
    )
    assert done.returncode == 0, done.stderr
    assert "etcd3/__init__.py 0.12.0" in done.stdout
    assert done.stderr == ""


def test_it_works_after_a_failed_import_by_somebody_else() -> None:
    done = run("try:\n    import etcd3\nexcept TypeError:\n    print('failed')\n" + LOAD + "load_etcd3().Etcd3Client")
    assert (done.returncode, done.stdout) == (0, "failed\n"), done.stderr


def test_messages_of_the_same_names_elsewhere_do_no_harm() -> None:
    done = run(
        "from google.protobuf import descriptor_pb2, descriptor_pool\n"
        "file = descriptor_pb2.FileDescriptorProto(name='kv.proto', package='mvccpb')\n"
        "file.message_type.add(name='KeyValue')\n"
        "descriptor_pool.Default().AddSerializedFile(file.SerializeToString())\n"
        + LOAD
        + "load_etcd3().etcdrpc.KeyValue(key=b'a')"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("installed", [True, False])
def test_another_package_of_the_same_module_name_is_told(tmp_path: Path, installed: bool) -> None:
    (tmp_path / "etcd3").mkdir()
    (tmp_path / "etcd3" / "__init__.py").write_text("class Client: pass\n")
    before = "import etcd3\n" if installed else ""
    done = run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        + before
        + OPEN
        + "assert 'etcd3.etcdrpc' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr
    assert "etcd3-py" in done.stdout


def test_a_missing_package_is_told() -> None:
    done = run(
        "from importlib import metadata\n"
        "def missing(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = missing\n" + OPEN
    )
    assert "pip install etcd3" in done.stdout, done.stderr


def test_a_later_release_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "etcd3").mkdir()
    (tmp_path / "etcd3" / "__init__.py").write_text("class Etcd3Client: pass\n__version__ = '0.13.0'\n")
    (tmp_path / "etcd3-0.13.0.dist-info").mkdir()
    (tmp_path / "etcd3-0.13.0.dist-info" / "METADATA").write_text("Name: etcd3\nVersion: 0.13.0\n")
    done = run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        + LOAD
        + "print(load_etcd3().__version__, 'etcd3.etcdrpc' in sys.modules)"
    )
    assert done.stdout == "0.13.0 False\n", done.stderr


def test_importing_the_engine_of_a_project_without_etcd_imports_no_grpc() -> None:
    done = run("import sys, django_etcdaero.keyvalue.facade, django_etcdaero.schemes; print('grpc' in sys.modules)")
    assert done.stdout == "False\n", done.stderr
