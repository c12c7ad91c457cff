"""Reports as one HTML file: pictures, charts, plates and the page that holds them.

Knows nothing of predictions or evaluations: they hand over numbers and pictures.
"""
