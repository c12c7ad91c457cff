"""Image and label files in and out; codecs for RLE, outlines and COCO."""
