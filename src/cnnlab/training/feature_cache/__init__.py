"""Features of a frozen trunk, computed once and cached."""
