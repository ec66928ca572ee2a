"""A small model reads the conversations of any model and follows their character."""
