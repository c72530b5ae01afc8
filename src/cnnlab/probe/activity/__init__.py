"""What layers make of images: maps of one image, units over a data set, the patches that excite a filter."""
