"""The commands of `cnnlab inspect`."""
