"""Several processes: how they find each other, and what they share."""
