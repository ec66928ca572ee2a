"""The persona posterior: P(context | text), by a reader's own likelihood of the text under every context."""
