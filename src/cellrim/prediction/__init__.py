"""Image to labels: normalise, scale, tile, network, decode, result."""
