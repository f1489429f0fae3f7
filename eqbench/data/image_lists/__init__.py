"""Data sets that are published as lists of labelled images: reading, known facts, checks."""
