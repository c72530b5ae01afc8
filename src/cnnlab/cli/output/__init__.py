"""How commands show results, figures and progress."""
