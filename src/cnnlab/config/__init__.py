"""What the user writes: recipes, studies, searches, and the choices in them. No torch."""
