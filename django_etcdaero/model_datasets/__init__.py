"""Datasets of Django's models: :mod:`.dataset` declares them, :mod:`.changes` asks for loads when objects change."""
