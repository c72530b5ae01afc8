"""The use cases behind `cnnlab` and its commands."""
