"""Studies: arms × seeds, carried out once each, and what they say."""
