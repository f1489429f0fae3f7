"""Long-tailed classification from image files: lists of paths and labels, augmentation, mixing, groups."""
