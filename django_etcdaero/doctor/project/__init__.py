"""What is looked at in the project itself: settings, datasets, processes, locks."""
