"""What stays on disk: the gridded archive, the observation store, analyses, feedback, provenance; published atomically."""
