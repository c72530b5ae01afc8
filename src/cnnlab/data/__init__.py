"""Bytes to batches: catalogue, verified download, folders and archives, splits, batches on the device, augmentation."""
