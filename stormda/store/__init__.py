"""What stays on disk, published atomically: gridded archive, observation store, analyses, feedback, provenance."""
