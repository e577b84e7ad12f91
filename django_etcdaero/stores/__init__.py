"""From the URL in the settings to an open store."""
