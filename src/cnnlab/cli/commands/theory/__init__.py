"""The commands of `cnnlab theory`."""
