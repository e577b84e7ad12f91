"""The probes of ``cache_features.py``, and the backends that it looks at."""
