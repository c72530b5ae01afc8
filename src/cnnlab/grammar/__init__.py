"""The call grammar, registries, argument types, and TOML read within limits. No torch."""
