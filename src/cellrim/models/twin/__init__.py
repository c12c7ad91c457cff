"""The network's twin in 8-bit integers: made by quantising, then rewritten to run faster."""
