"""Orders in which an epoch visits the training samples, each a pure function of seed and epoch."""
