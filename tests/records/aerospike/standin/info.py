"""The text commands: what the client asks about the cluster, and what operators ask and set."""

from __future__ import annotations

from collections import Counter

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


FIGURES = {
    "effective_replication_factor": "1",
    "stop_writes": "false",
    "hwm_breached": "false",
    "data_used_pct": "3",
    "data_avail_pct": "87",
    "evicted_objects": "0",
    "replication-factor": "1",
    "strong-consistency": "false",
}
"""What a namespace tells about itself; tests put others into ``Namespace.figures``."""

TOLD = {
    "statistics": "cluster_size=1;cluster_key=AD3C;cluster_integrity=true;cluster_clock_skew_ms=0;uptime=7200;"
    "migrate_partitions_remaining=0;client_connections=3;client_connections_opened=9",
    "edition": "Aerospike Community Edition",
    "best-practices": "failed_best_practices=none",
    "health-outliers": "",
    "user-agents": "user-agent=MSxweXRob24tMTkuMy4wLHNob3A=:count=2;",
    "latencies": "batch-index:;{test}-read:msec,9.0,1.00,0.50,0.10,0.00,0.00;{test}-write:",
}
CONFIGURED = {
    "network": "heartbeat.interval=150;heartbeat.timeout=10",
    "service": "proto-fd-max=15000",
}
NO_ROLE = 81


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
    if name in space.refused:
        return f"ERROR:{NO_ROLE}:role violation"
    if name in TOLD:
        return TOLD[name]
    if name == "get-config" and arguments.get("context") in CONFIGURED:
        return CONFIGURED[arguments["context"]]
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
        now = str(int(space.clock.now()))
        figures = {"objects": str(len(space.records)), "current_time": now, **FIGURES, **values, **space.figures}
        return ";".join(f"{key}={value}" for key, value in figures.items())
    if name.startswith(f"sets/{space.name}/"):
        return _set_properties(space, name.split("/", 2)[2].encode())
    if name == f"sets/{space.name}":
        return _sets(space)
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


def _sets(space: Namespace) -> str:
    with space.lock:
        counts = Counter(record.set_name for record in space.records.values())
    limits = {name: space.stop_writes_count.get(name, 0) for name in counts}
    return "".join(
        f"ns={space.name}:set={name.decode()}:objects={count}:disable-eviction=false:stop-writes-count={limits[name]};"
        for name, count in counts.items()
    )
