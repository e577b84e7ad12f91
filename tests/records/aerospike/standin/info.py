"""The text commands: what the client asks about the cluster, and what operators ask and set."""

from __future__ import annotations

from tests.records.aerospike.standin.records import Namespace

BUILD = "8.1.0.3"
NODE = "A1"
ALL_PARTITIONS = "/" * 682 + "8="
SETTINGS = {
    "nsup-period": "nsup_period",
    "default-ttl": "default_ttl",
    "allow-ttl-without-nsup": "allow_ttl_without_nsup",
    "max-record-size": "max_record_size",
}
"""Names of what can be set to attributes of a namespace."""


def answer(space: Namespace, body: bytes, port: int) -> bytes:
    """Return the body of the answer: each command with its value."""
    commands = [command for command in body.decode().split("\n") if command]
    return "".join(f"{command}\t{_value(space, command, port)}\n" for command in commands).encode()


def _value(space: Namespace, command: str, port: int) -> str:
    name, _, rest = command.partition(":")
    arguments = dict(item.partition("=")[::2] for item in rest.split(";"))
    fixed = {
        "node": NODE,
        "partition-generation": "0",
        "peers-generation": "0",
        "build": BUILD,
        "cluster-name": "null",
        "peers-clear-std": f"0,{port},[]",
        "replicas": f"{space.name}:0,1,{ALL_PARTITIONS}",
        "service-clear-std": f"127.0.0.1:{port}",
        "peers-tls-std": f"0,{port},[]",
        "service-tls-std": f"127.0.0.1:{port}",
        "namespaces": space.name,
    }
    if name in fixed:
        return fixed[name]
    if name == "user-agent-set":
        return "ok"
    if name == "truncate":
        if arguments.get("namespace") == space.name:
            with space.lock:
                space.truncate(arguments.get("set", "").encode())
        return "ok"
    if name == "set-config":
        return _configure(space, arguments)
    if name == f"namespace/{space.name}":
        values = {key: str(getattr(space, attribute)).lower() for key, attribute in SETTINGS.items()}
        return ";".join(f"{key}={value}" for key, value in {"objects": str(len(space.records)), **values}.items())
    if name.startswith(f"sets/{space.name}/"):
        return _set_properties(space, name.split("/", 2)[2].encode())
    if name.startswith("sets/"):
        return "ns_type=unknown"
    if name.startswith("namespace/"):
        return "type=unknown"
    return "ERROR:4:unrecognized command"


def _configure(space: Namespace, arguments: dict[str, str]) -> str:
    if "set" in arguments and arguments.get("namespace") == space.name and "stop-writes-count" in arguments:
        space.stop_writes_count[arguments["set"].encode()] = int(arguments["stop-writes-count"])
        return "ok"
    changes = {SETTINGS[key]: value for key, value in arguments.items() if key in SETTINGS}
    if arguments.get("context") != "namespace" or arguments.get("namespace") != space.name or not changes:
        return "ERROR:4:bad parameter"
    for attribute, value in changes.items():
        setattr(space, attribute, value == "true" if value in ("true", "false") else int(value))
    return "ok"


def _set_properties(space: Namespace, set_name: bytes) -> str:
    with space.lock:
        objects = sum(record.set_name == set_name for record in space.records.values())
        if not objects and set_name not in space.truncated:
            return ""
        return f"objects={objects}:tombstones=0:truncate_lut={space.truncated.get(set_name, 0)}:truncating=false;"
