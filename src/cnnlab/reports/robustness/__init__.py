"""Networks under corruptions in tables, figures and sentences."""
