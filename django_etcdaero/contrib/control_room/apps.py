"""The app: ``"django_etcdaero.contrib.control_room"`` in ``INSTALLED_APPS``, before ``"dj_control_room"``."""

from __future__ import annotations

from django.apps import AppConfig

from ..extras import missing


class ControlRoomConfig(AppConfig):
    """Registers the card."""

    name = "django_etcdaero.contrib.control_room"
    label = "etcdaero_control_room"
    verbose_name = "etcdaero in the control room"

    def ready(self) -> None:
        """See the module."""
        try:
            from dj_control_room.registry import registry
        except ImportError as error:
            raise missing(self.name, "dj-control-room", "control-room") from error
        from .panel import EtcdAeroPanel

        registry.register(EtcdAeroPanel, panel_id="etcdaero")
