"""Thresholds of validators that an operator has changed without a deployment.

Under ``settings/<dataset>/validators`` stands a JSON object: the class of a validator, and the fields that have another
value, such as ``{"MaxShrink": {"fraction": 0.9}}``; ``null`` leaves the validator out. It counts for the refreshes that
begin from then on, until it is deleted. Whatever is wrong with it is told, and the code's own value is used: it must
never be what keeps a dataset from being published.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.stored_value import load_object
from django_etcdaero.datasets.validators import Validator, ValidatorResult
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.system.error_text import message_of
from django_etcdaero.system.interruption import interrupts

logger = logging.getLogger("django_etcdaero.datasets")

_told: dict[str, tuple[str, ...]] = {}
"""What was told of the settings of each dataset, by key."""


class Chosen(NamedTuple):
    """The validators of one refresh."""

    validators: Sequence[Validator]
    overridden: Sequence[Validator]
    """Those of them whose thresholds are not the code's."""
    notes: Sequence[ValidatorResult]
    """What is to be told besides: validators that are left out, settings that make no sense."""


def choose_validators(kv: KV, layout: Layout, declared: Sequence[Validator]) -> Chosen:
    """Return the validators of a dataset with the thresholds that are stored, if any. Raises nothing."""
    if not declared:
        return Chosen(declared, (), ())
    complaints: list[str] = []
    stored = _read(kv, layout, complaints)
    validators: list[Validator] = []
    overridden: list[Validator] = []
    notes: list[ValidatorResult] = []
    names = [type(each).__name__ for each in declared]
    for name, validator in zip(names, declared, strict=True):
        fields = stored.get(name, {})
        if fields is None:
            notes.append(ValidatorResult(name=name, ok=True, text="left out by the settings", overridden=True))
            continue
        if fields != {}:
            try:
                validator = _changed(validator, fields)
                overridden.append(validator)
            except BaseException as error:  # a class of the project checks its fields as it likes
                if interrupts(error):
                    raise
                complaints.append(f"{name}: {message_of(error)}")
        validators.append(validator)
    complaints += [f"{name}: the dataset has no such validator" for name in stored.keys() - set(names)]
    said = tuple(sorted(complaints))
    if said and _told.get(layout.validator_settings) != said:
        logger.warning("%s is ignored: %s", layout.validator_settings, "; ".join(said))
    _told[layout.validator_settings] = said
    notes += [ValidatorResult(name=layout.validator_settings, ok=True, text=f"ignored: {each}") for each in said]
    return Chosen(validators, overridden, notes)


def _read(kv: KV, layout: Layout, complaints: list[str]) -> dict[str, Any]:
    try:
        item = kv.get(layout.validator_settings)
        return {} if item is None else load_object(item.value, "setting of validators")
    except EtcdAeroError as error:
        complaints.append(str(error))
        return {}


def _changed(validator: Any, fields: Any) -> Any:
    if not isinstance(fields, Mapping):
        raise TypeError(f"expected an object of fields, or null, not {fields!r}")
    if not dataclasses.is_dataclass(validator) or isinstance(validator, type):
        raise TypeError("is no dataclass, so it has no fields to change")
    for name, value in fields.items():
        kind = type(getattr(validator, name, value))
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise TypeError(f"{name} is {value!r}, expected a value of the type {kind.__name__}")
    return dataclasses.replace(validator, **fields)
