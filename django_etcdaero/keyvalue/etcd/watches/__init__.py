"""The watches of an engine, on one stream."""
