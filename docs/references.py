"""Where cross-references of docstrings lead: to the public name of what they mean.

Docstrings name things where they are defined (``keyvalue.client.lease.Lease.keep_alive``); pages describe them under
the names that users import (``keyvalue.Lease``). What exists in the package and is on no page is shown without a link.
What does not exist has no target, which is a warning.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # tests import this module without Sphinx
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

PACKAGE = "django_etcdaero"


def named(target: str) -> tuple[str, str] | None:
    """Return the module and the rest of a dotted name in the package; ``None`` if there is no such thing."""
    parts = target.split(".")
    for cut in range(len(parts), 0, -1):
        module = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module)
        except ImportError:
            continue
        for part in parts[cut:]:
            annotated = part in getattr(found, "__annotations__", {})
            if not (hasattr(found, part) or annotated):
                return None
            found = getattr(found, part, None)
        return module, ".".join(parts[cut:])
    return None


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Element | None:
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip(".")
    module, owner = node.get("py:module"), node.get("py:class")
    for candidate in (target, f"{module}.{target}", f"{module}.{owner}.{target}"):
        if candidate.startswith(f"{PACKAGE}.") and (found := named(candidate)):
            return _to_page(app, env, node, contnode, found[1]) or contnode
    if node["reftype"] == "class" and target.isidentifier() and _is_a_name_of_ours(target):
        return _to_page(app, env, node, contnode, target) or contnode
    return None


def _is_a_name_of_ours(name: str) -> bool:
    """Tell whether an annotation of a signature, which may name what another module defines, names something at all."""
    ours = [module for path, module in sys.modules.items() if path.startswith(f"{PACKAGE}.")]
    return any(hasattr(module, name) for module in ours)


def _to_page(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement, name: str
) -> nodes.Element | None:
    domain = env.domains.python_domain
    known = [full for full, entry in domain.objects.items() if full.endswith(f".{name}") and not entry.aliased]
    if not name or len(known) != 1:
        return None
    role = str(node["reftype"])
    return domain.resolve_xref(env, node["refdoc"], app.builder, role, known[0], node, contnode)


def default_of_a_field(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Replace what dataclasses show for a default that is made anew: Sphinx takes it for a syntax error."""
    return signature.replace("<factory>", "...") if signature else signature, returns


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out fields of named tuples that have no text of their own: the signature has them."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", default_of_a_field)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
