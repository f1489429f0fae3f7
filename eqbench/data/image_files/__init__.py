"""Image files as they lie on disk: decoding, properties, checking, normalisation."""
