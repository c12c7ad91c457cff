"""Public data sets as they are shipped: files to samples."""
