"""All datasets of the process, by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django_etcdaero.exceptions import ConfigurationError, KeyNotFound


class Datasets(dict[str, Any]):
    """The registered datasets. A real ``dict``, because ``datasets["name"]["key"]`` is on the path of every request.

    A type checker does not know which dataset a name stands for, so what comes out is untyped (``Any``). Typed are the
    object that ``@dataset`` makes of a function, and ``Prices.live`` of a class ``Prices``.
    """

    _followers: tuple[Callable[[Any], object], ...] = ()

    def __missing__(self, name: object) -> Any:
        import difflib  # here: importing the package must stay cheap

        close = difflib.get_close_matches(str(name), self, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(self)) or 'none'}"
        raise KeyNotFound(f"there is no dataset {name!r}{hint}")

    def __getattr__(self, name: str) -> Any:
        # The registry stands at `django_etcdaero.datasets`, where the subpackage would be found: it passes on what is
        # asked of the subpackage (`import django_etcdaero.datasets.blocks.codec as codec`, and `mock.patch`).
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return getattr(sys.modules[__package__], name)
        except AttributeError:
            if name in self:
                raise AttributeError(f"datasets are taken by key: write datasets[{name!r}]") from None
            raise

    def follow(self, function: Callable[[Any], object]) -> None:
        """Call ``function`` with each dataset: now with those that there are, later with each before it is added."""
        for dataset in tuple(self.values()):
            function(dataset)
        self._followers = (*self._followers, function)

    def register(self, dataset: Any) -> None:
        """Add a dataset. Raises ``ConfigurationError`` when the name is taken by another declaration."""
        known = self.get(dataset.name)
        if known is not None and known.origin != dataset.origin:
            raise ConfigurationError(
                f"dataset {dataset.name!r} is declared twice: in {known.origin} and in {dataset.origin}"
            )
        for each in self._followers:
            each(dataset)
        self[dataset.name] = dataset

    def clear(self) -> None:
        super().clear()

    def popitem(self) -> tuple[str, Any]:
        return super().popitem()

    # As system.acting marks them, which importing the package does not load: no template calls them.
    clear.alters_data = popitem.alters_data = True  # type: ignore[attr-defined]


datasets = Datasets()


def registered(name: str) -> Any:
    """Return the dataset of that name: what a pickled one is unpickled with. Raises ``KeyNotFound``."""
    return datasets[name]
