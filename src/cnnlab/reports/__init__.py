"""Records to documents, figures and pages. No torch."""
