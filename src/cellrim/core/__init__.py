"""The small typed values every room speaks: images, label images, normalisation, tiles."""
