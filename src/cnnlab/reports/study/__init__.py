"""A study in tables, figures and a page."""
