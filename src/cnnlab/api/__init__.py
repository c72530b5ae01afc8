"""The use cases of `cnnlab` and of its commands."""
