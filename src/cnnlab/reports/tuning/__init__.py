"""A search in tables, figures and a page."""
