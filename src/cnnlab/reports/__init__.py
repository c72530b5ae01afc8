"""Documents, figures and pages of results. No torch."""
