"""Where images come from: published data sets, class folders, archives, generated images. No torch."""
